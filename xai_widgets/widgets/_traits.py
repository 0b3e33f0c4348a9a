"""Traits whose Python value is an array or a record and whose wire value is plain JSON and bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import traitlets

from xai_widgets import wire
from xai_widgets.errors import ArgumentError


class _Differences(np.ndarray):
    """Where two arrays differ; true if they do anywhere."""

    def __bool__(self) -> bool:
        return bool(np.any(self.view(np.ndarray)))


class Linkable(np.ndarray):
    """An array of which ``if a != b`` may be asked, as traitlets' ``link`` does; else an array like any other."""

    def __ne__(self, other: object) -> Any:
        return np.asarray(np.asarray(self) != np.asarray(other)).view(_Differences)

    __hash__ = None  # type: ignore[assignment]


def _frozen(array: np.ndarray) -> np.ndarray:
    array = array.copy().view(Linkable)
    array.setflags(write=False)
    return array


class ActiveRegions(traitlets.TraitType):
    """Which regions are on: read-only bool (S,); on the wire a list of 0 and 1.

    It is replaced, never changed in place, because a change in place would not reach the browser.
    """

    info_text = "a bool array with one value a region"
    default_value = None

    def __init__(self, **metadata: Any) -> None:
        super().__init__(allow_none=False, **metadata)
        self.tag(
            sync=True,
            to_json=lambda value, widget: [int(on) for on in value],
            from_json=lambda value, widget: np.array(value, bool),
        )

    def make_dynamic_default(self) -> np.ndarray:
        return _frozen(np.ones(0, bool))

    def validate(self, obj: Any, value: Any) -> np.ndarray:
        array = np.array(value)
        count = obj.n_segments
        if array.dtype.kind not in "bui" or array.shape != (count,) or not np.isin(array, (0, 1)).all():
            raise ArgumentError(
                f"active must be a bool array of shape ({count},), one a region; got {array.dtype}, {array.shape}. "
                "To switch one region use w.toggle(i)"
            )
        return _frozen(array.astype(bool, copy=False))


class Answer(traitlets.TraitType):
    """Probabilities with the regions on that are on now: read-only float32 (C,); on the wire `protocol.Prediction`."""

    info_text = "probabilities"
    default_value = None

    def __init__(self, **metadata: Any) -> None:
        super().__init__(allow_none=True, read_only=True, **metadata)
        self.tag(sync=True, to_json=self._to_json)

    def validate(self, obj: Any, value: np.ndarray) -> np.ndarray:
        return _frozen(value)

    @staticmethod
    def _to_json(value: np.ndarray | None, widget: Any) -> dict[str, Any]:
        return {} if value is None else wire.prediction(widget.before, value, widget.answered_off)


class Records(traitlets.TraitType):
    """Stored judgements: a tuple of `Feedback`; on the wire a list of `protocol.Judgement`."""

    info_text = "a tuple of Feedback"
    default_value = ()

    def __init__(self, **metadata: Any) -> None:
        super().__init__(read_only=True, **metadata)
        self.tag(sync=True, to_json=lambda value, widget: [record.to_judgement() for record in value])
