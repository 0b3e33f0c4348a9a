"""Which preprocessing a picture gets: what the user says, else what the model declares, else next to nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xai_widgets.errors import ArgumentError
from xai_widgets.views import Preprocess

if TYPE_CHECKING:
    from xai_widgets.classifiers import Classifier
    from xai_widgets.images import Picture

LARGEST = 512
"""Longer side, in pixels, of a picture that is used at its own size because nothing says another."""

UNNORMALISED = (
    "The picture was only scaled to 0–1. If the model was trained on normalised pictures pass "
    "preprocess=weights.transforms(), or mean=…, std=…; if not, say so with mean=0, std=1."
)


@dataclass(frozen=True)
class Preparation:
    """A preprocessing, and where it comes from in words."""

    preprocess: Callable[[Any], Any]
    note: str
    warnings: tuple[str, ...] = ()


def prepare(
    classifier: Classifier, picture: Picture, *, preprocess: Any = None, mean: Any = None, std: Any = None,
    size: Any = None,
) -> Preparation:  # fmt: skip
    """Choose the preprocessing of a picture; parameters are those of `xai_widgets.explain`.

    Raises
    ------
    ArgumentError
        If they contradict each other or are not what they must be.
    """
    declared = classifier.declared
    if preprocess is not None:
        if any(option is not None for option in (mean, std, size)):
            raise ArgumentError("preprocess= already says everything; leave out mean=, std= and size=.")
        if not callable(preprocess):
            raise ArgumentError(f"preprocess={preprocess!r} must be a callable, such as weights.transforms().")
        return Preparation(preprocess, "prepared by preprocess=")
    if mean is None and std is None and size is None and declared.preprocess is not None:
        return Preparation(declared.preprocess, "prepared by the model's own preprocess")
    channels = len(picture.data) if picture.bands else classifier.channels or 3
    sized, size_note, size_warning = _size(size, declared, picture.size)
    if mean is None and std is None and declared.mean and declared.std and len(declared.mean) == channels:
        mean, std, scale_note = declared.mean, declared.std, "mean/std as the model declares"
    elif mean is not None or std is not None:
        scale_note = "mean/std given"
    else:
        scale_note = "not normalised: no preprocess=, mean= or std= was given"
    made = Preprocess(sized, _floats("mean", mean, channels), _floats("std", std, channels), channels)
    warnings = [size_warning, UNNORMALISED if scale_note.startswith("not") else ""]
    note = ", ".join(part for part in (size_note, "scaled to 0–1", scale_note) if part)
    return Preparation(made, note, tuple(words for words in warnings if words))


def _size(size: Any, declared: Any, own: tuple[int, int]) -> tuple[int | tuple[int, int] | None, str, str]:
    """The size to bring a picture of width and height `own` to, a note and a warning."""
    if isinstance(size, (tuple, list)) and len(size) == 2 and all(isinstance(side, int) and side > 1 for side in size):
        return (size[0], size[1]), f"size {size[0]} × {size[1]} given", ""
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 2):
        raise ArgumentError(f"size={size!r} must be a whole number or (height, width).")
    if size is not None:
        return size, f"size {size} given", ""
    if declared.size:
        height, width = declared.size
        if (width, height) == own:
            return None, "", ""
        note = f"brought to {width} × {height}, the size that the model declares"
        return (height if height == width else (height, width)), note, ""
    if declared.best_size and min(own) > declared.best_size:
        return declared.best_size, f"reduced to {declared.best_size} pixels, the size that the model declares", ""
    if max(own) > LARGEST:
        width, height = (max(2, round(side * LARGEST / max(own))) for side in own)
        words = (
            f"Nothing says at which size the model sees pictures, and {own[0]} × {own[1]} pixels are many: it was "
            f"asked about {width} × {height}. Pass preprocess=weights.transforms(), or size=224."
        )
        return (height, width), f"reduced to {width} × {height}", words
    return None, "", ""


def _floats(name: str, values: Any, channels: int) -> tuple[float, ...] | None:
    if values is None:
        return None
    try:
        numbers = tuple(float(v) for v in np.ravel(values))
    except (TypeError, ValueError):
        raise ArgumentError(f"{name}={values!r} must hold numbers, one a channel.") from None
    if len(numbers) not in (1, channels) or (name == "std" and min(numbers) <= 0):
        raise ArgumentError(f"{name}={values!r} must hold {channels} numbers" + (" above 0." if name == "std" else "."))
    return numbers if len(numbers) == channels else numbers * channels
