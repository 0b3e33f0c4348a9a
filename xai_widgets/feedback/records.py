"""One judgement of an explanation, as a value: what was judged, by whom, of which picture and model.

A record says everything needed to use it later without the widget, the picture or the model at hand: the place as
pixels, how these lie on the source picture, and what made the map. Needs numpy only.
"""

from __future__ import annotations

import json
import math
import operator
import uuid
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from xai_widgets.errors import ArgumentError, InputError, nearest
from xai_widgets.protocol import VERDICTS, Judgement

SCHEMA_VERSION: Final = 1
SCOPES: Final = ("regions", "map", "mask")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True, kw_only=True, eq=False)
class Feedback:
    """A judgement of one explanation, or of places in it. Frozen; equal to another if every field is.

    Parameters
    ----------
    schema_version : int
        Version of this record's fields.
    id : str
        32 hexadecimal digits, unique.
    created : str
        ISO 8601 with a time zone; kept in UTC with milliseconds.
    annotator : str
        Who judged; may be empty.
    verdict : {"mattered", "must_not_matter", "unsure"} or None
        None where only a rating, a label or a comment was given.
    scope : {"regions", "map", "mask"}
        Judged were regions of the segmentation, the whole map, or a place drawn by hand.
    regions : tuple of int
        Indices into the segmentation, sorted; only where the scope is "regions".
    mask : bool (H, W) or None
        The place judged, on the explanation's grid; None for the whole map. Kept for regions too: their indices mean
        nothing without the segmentation. A read-only copy.
    rating : int or None
        1 (poor) to 5 (good).
    label, comment : str
        Any text, kept as it is.
    picture_id, model_id, model_name : str
        Hash of the picture's pixels; hash of the model's structure and weights; its class.
    target, target_name : int or None, str
        The class that was explained; None where it was no single class.
    method, params : str, dict
        What made the map.
    explanation : dict
        Its provenance: seed, baseline, hash of the segments, versions.
    to_source : (a, b, c, d, e, f) or None
        Pixel centre (column, row) of the grid lies at (a·column + b·row + c, d·column + e·row + f) of the source
        picture. None where no such map exists.
    source_size : (width, height) or None
        Of the source picture, in pixels.

    Raises
    ------
    ArgumentError
        If a field has the wrong type.
    InputError
        If a field has an impossible value, fields contradict each other, or nothing was said.

    Notes
    -----
    ``params`` and ``explanation`` are kept as JSON: numpy scalars and arrays become numbers and lists, tuples lists.
    """

    schema_version: int = SCHEMA_VERSION
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: str = field(default_factory=_now)
    annotator: str = ""
    verdict: str | None = None
    scope: str = "map"
    regions: tuple[int, ...] = ()
    mask: np.ndarray | None = None
    rating: int | None = None
    label: str = ""
    comment: str = ""
    picture_id: str = ""
    model_id: str = ""
    model_name: str = ""
    target: int | None = None
    target_name: str = ""
    method: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    explanation: dict[str, Any] = field(default_factory=dict)
    to_source: tuple[float, float, float, float, float, float] | None = None
    source_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for name in _TEXTS:
            _validate_text(name, getattr(self, name))
        clean = {
            "schema_version": _whole("schema_version", self.schema_version, low=1),
            "id": _id(self.id),
            "created": _utc(self.created),
            "verdict": _one_of("verdict", self.verdict, VERDICTS) if self.verdict is not None else None,
            "scope": _one_of("scope", self.scope, SCOPES),
            "regions": tuple(sorted({_whole("regions", i, low=0) for i in _sequence("regions", self.regions)})),
            "mask": _mask(self.mask),
            "rating": _whole("rating", self.rating, low=1, high=5) if self.rating is not None else None,
            "target": _whole("target", self.target, low=0) if self.target is not None else None,
            "params": _json_dict("params", self.params),
            "explanation": _json_dict("explanation", self.explanation),
            "to_source": _affine(self.to_source),
            "source_size": _size(self.source_size),
        }
        for name, value in clean.items():
            object.__setattr__(self, name, value)  # the dataclass is frozen, also to itself
        _validate_place(self.scope, self.regions, self.mask)
        if self.verdict is None and self.rating is None and not self.label and not self.comment:
            raise InputError(
                "This judgement says nothing: verdict and rating are None, label and comment are empty. "
                f"Give one of them, for example verdict={VERDICTS[0]!r}."
            )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Feedback):
            return NotImplemented
        mine, theirs = self.mask, other.mask
        same_mask = np.array_equal(mine, theirs) if mine is not None and theirs is not None else mine is theirs
        names = (f.name for f in fields(self) if f.name != "mask")
        return same_mask and all(getattr(self, name) == getattr(other, name) for name in names)

    def __hash__(self) -> int:
        return hash(self.id)

    def to_judgement(self) -> Judgement:
        """The part of this record that the browser shows, ready for JSON."""
        return Judgement(
            id=self.id,
            verdict=self.verdict or "",
            regions=list(self.regions),
            rating=self.rating,
            label=_sendable(self.label),
            comment=_sendable(self.comment),
            annotator=_sendable(self.annotator),
            created=self.created,
            method=_sendable(self.method),
        )


_TEXTS = ("annotator", "label", "comment", "picture_id", "model_id", "model_name", "target_name", "method")


def _sendable(text: str) -> str:
    """`text` with lone surrogates (half an emoji, cut by some script) replaced: a message cannot carry them."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _validate_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        hint = f' Type {name}="" to leave it empty.' if value is None else f" Type {name}=str(...)."
        raise ArgumentError(f"{name} must be a str, not {type(value).__name__}.{hint}")


def _whole(name: str, value: object, low: int, high: int | None = None) -> int:
    """`value` as an int from `low` to `high`."""
    span = f"from {low} to {high}" if high is not None else f"of {low} or more"
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)  # numpy's integers pass, 2.5 and "2" do not
    except TypeError:
        raise ArgumentError(f"{name} must hold whole numbers {span}, not {value!r} ({type(value).__name__}).") from None
    if number < low or (high is not None and number > high):
        raise InputError(f"{name} must hold whole numbers {span}; {number} is none.")
    return number


def _sequence(name: str, value: object) -> list[Any]:
    if isinstance(value, str):
        raise ArgumentError(f"{name} must be a sequence of numbers, not the text {value!r}.")
    try:
        return list(value)
    except TypeError:
        raise ArgumentError(
            f"{name} must be a sequence of numbers, not {type(value).__name__}. Type {name}=[{value!r}]."
        ) from None


def _id(value: object) -> str:
    _validate_text("id", value)
    try:
        return uuid.UUID(value).hex
    except ValueError:
        raise InputError(
            f"id must be 32 hexadecimal digits, as uuid.uuid4().hex gives; {value!r} is not. Leave it out to get one."
        ) from None


def _utc(value: object) -> str:
    _validate_text("created", value)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise InputError(f"created must be an ISO 8601 time, such as {_now()!r}; {value!r} is not.") from None
    if moment.tzinfo is None:
        raise InputError(
            f"created={value!r} has no time zone, so it is no moment. Type {value + '+00:00'!r} if it is UTC."
        )
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


def _one_of(name: str, value: object, known: tuple[str, ...]) -> str:
    if value not in known:
        raise InputError(f"{name}={value!r} is unknown.{nearest(value, known)} It is one of {', '.join(known)}.")
    return value


def _mask(value: Any) -> np.ndarray | None:
    if value is None:
        return None
    array = np.asarray(value)
    if array.dtype != bool and not (array.dtype.kind in "iu" and np.isin(array, (0, 1)).all()):
        raise ArgumentError(f"mask must be bool, or hold only 0 and 1, not {array.dtype}. Type mask=values > 0.5.")
    if array.ndim != 2:
        raise InputError(f"mask must have the shape (height, width) of the explanation, not {array.shape}.")
    if not array.any():
        raise InputError(f"mask ({array.shape[1]} × {array.shape[0]}) marks no pixel, so no place is judged.")
    mask = np.array(array, bool, order="C")
    mask.setflags(write=False)
    return mask


def _validate_place(scope: str, regions: tuple[int, ...], mask: np.ndarray | None) -> None:
    """The scope, the regions and the mask must tell the same story."""
    if (scope == "regions") != bool(regions):
        told = "no region" if not regions else f"{len(regions)} region(s)"
        raise InputError(f'scope={scope!r} with {told}. Type scope="regions", regions=[...] to judge regions.')
    if (scope == "map") != (mask is None):
        told = "without a mask" if mask is None else "with a mask"
        raise InputError(
            f"scope={scope!r} {told}. The whole map is judged without a mask, regions and drawn places with one: type "
            'scope="mask", mask=..., or for regions mask=np.isin(explanation.segments, regions).'
        )


def _json_dict(name: str, value: object) -> dict[str, Any]:
    """`value` as JSON would give it back."""
    if not isinstance(value, dict):
        raise ArgumentError(f"{name} must be a dict, not {type(value).__name__}.")
    try:
        return json.loads(json.dumps(value, default=_plain))
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{name} must hold only what JSON can: numbers, text, lists and dicts. {error}") from error


def _plain(value: object) -> Any:
    """What numpy calls a number, as Python does."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"A {type(value).__name__} cannot be kept; type str(...) to keep its text.")


def _affine(value: object) -> tuple[float, ...] | None:
    if value is None:
        return None
    try:
        numbers = tuple(float(x) for x in _sequence("to_source", value))
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != 6 or not all(map(math.isfinite, numbers)):
        raise InputError(f"to_source must be six finite numbers (a, b, c, d, e, f), or None; seen: {value!r}.")
    return numbers


def _size(value: object) -> tuple[int, int] | None:
    if value is None:
        return None
    size = tuple(_whole("source_size", x, low=1) for x in _sequence("source_size", value))
    if len(size) != 2:
        raise InputError(f"source_size must be (width, height), or None; seen: {value!r}.")
    return size
