"""Numbers of any type and range → levels between black and white, 8 bits where that says it all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from xai_widgets.errors import InputError

_BLOCK = 1 << 20
"""Values handled at once, so that a picture of many megapixels needs no second copy of itself in floats."""

_UNCLEAR = 8.0
"""Floats above 1 and up to this are 0–1 with overshoot, or normalised, or 0–255 and very dark: nothing tells which."""

_OVERSHOOT = 0.1
"""How far beyond black and white, as a share of what is between, sharp resizing goes; that much is clipped."""

_NOISE = 1e-6
"""The same of rounding, which is not worth a word."""


class Span(NamedTuple):
    """The lowest and the highest value of all the pictures whose range is one, and whose they are in words."""

    low: float
    high: float
    whose: str = "The picture"
    loose: bool = False
    """Whether they are a list, so that they may come from different places."""

    @property
    def unit(self) -> bool:
        """Whether they look like 0–1, with some overshoot."""
        return self.low >= -_OVERSHOOT and self.high <= 1 + _OVERSHOOT


def levels(
    array: np.ndarray,
    value_range: tuple[float, float] | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    many: bool,
    span: Span | None,
) -> tuple[np.ndarray, list[str]]:
    """Any numbers (H, W, C) as uint8 where that says it all, else as float32 with black 0 and white 1; and notes."""
    if array.dtype == np.uint8 and value_range is None:
        return array, []
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255), ["true and false shown as white and black"]
    # Channel by channel, for numpy reduces over a short last axis slowly.
    planes = [array[..., channel] for channel in range(array.shape[-1])]
    lows, highs = (np.array([float(getattr(plane, end)()) for plane in planes]) for end in ("min", "max"))
    if not np.isfinite(lows).all() or not np.isfinite(highs).all():
        _refuse_nan(array)
    low, high = lows.min(), highs.max()
    notes = []
    if value_range is None:
        span = span or Span(low, high)
        _refuse_mixture(array, Span(low, high), span)
        undone = _undoing(lows, highs, span, array.dtype, mean, std)
        if undone is not None:
            return _scaled(array, *undone), ["normalisation undone with the given mean and std"]
        value_range, note = _guess_range(array.dtype, span, many)
        notes.append(note)
    try:
        black, white = map(float, value_range)
    except (TypeError, ValueError):
        black = white = math.nan
    if not (white > black and math.isfinite(white - black)):
        raise InputError(f"value_range={value_range!r} must be two numbers, (black, white), with black < white.")
    beyond = max(black - low, high - white) / (white - black)
    if beyond > _NOISE and many:
        # What is measured has no white: a cloud reflects more than 1, and the model was trained on such values.
        notes.append(f"values from {low:.4g} to {high:.4g} go beyond the range given, and are shown cut off at it")
    elif beyond > _OVERSHOOT:
        raise InputError(
            f"Values from {low:.4g} to {high:.4g} do not fit value_range=({black:g}, {white:g}). "
            f"Pass the true range: value_range=({low:.4g}, {high:.4g})"
        )
    elif beyond > _NOISE:
        array = np.clip(array, black, white)
        notes.append(f"values from {low:.4g} to {high:.4g} clipped to {black:g}–{white:g}")
    return _scaled(array, 1 / (white - black), -black / (white - black)), notes


def _undoing(
    lows: np.ndarray,
    highs: np.ndarray,
    span: Span,
    dtype: np.dtype,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> tuple[np.ndarray, np.ndarray] | None:
    """What to multiply with and to add where mean and std are to be undone; None where they are for the model only."""
    if mean is None or std is None:
        return None
    positive = span.low >= -_NOISE
    if positive and (dtype.kind != "f" or not 1 + _NOISE < span.high <= _UNCLEAR):
        return None
    try:
        scale, shift = (np.broadcast_to(np.asarray(v, float), lows.shape) for v in (std, mean))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"mean={mean!r} and std={std!r} must hold a number for each of {len(lows)} channels ({error})."
        ) from error
    low, high = (lows * scale + shift).min(), (highs * scale + shift).max()
    fits = low >= -0.02 and high <= 1.02
    if fits and not span.unit:
        return scale, shift
    if fits and (low, high) != (lows.min(), highs.max()):  # where undoing changes nothing there is no doubt
        raise InputError(
            f"{span.whose} holds values from {span.low:.3g} to {span.high:.3g}, which may be 0–1 with some overshoot, "
            f"or normalised with mean={mean}, std={std}. Say that it is 0–1: value_range=(0, 1), or pass the picture "
            "before normalisation."
        )
    if positive or span.unit:
        return None
    raise InputError(
        f"Undoing mean={mean}, std={std} gives values from {low:.3g} to {high:.3g}, outside 0 to 1. "
        "Check mean and std, or pass the picture before normalisation."
    )


def _scaled(array: np.ndarray, scale: Any, shift: Any) -> np.ndarray:
    """``array * scale + shift``, as float32, or as uint8 levels if every value lies on one of them."""
    levels: np.ndarray | None = np.empty(array.shape, np.uint8)
    for rows in blocks(array):
        exact = (array[rows].astype(np.float64) * scale + shift) * 255
        rounded = np.rint(exact)
        # 2e-4 of a level is what float32 loses on the way through a normalisation and back.
        if np.abs(exact - rounded).max() > 2e-4 or rounded.min() < 0 or rounded.max() > 255:
            break
        levels[rows] = rounded
    else:
        return levels
    del levels
    values = np.empty(array.shape, np.float32)
    for rows in blocks(array):
        values[rows] = array[rows].astype(np.float64) * scale + shift
    return values


def to_uint8(values: np.ndarray) -> np.ndarray:
    """Floats with black 0 and white 1 as 8-bit levels."""
    levels = np.empty(values.shape, np.uint8)
    for rows in blocks(values):
        levels[rows] = np.rint(np.clip(values[rows], 0, 1) * np.float32(255))
    return levels


def on_white(rgba: np.ndarray) -> np.ndarray:
    """RGBA, uint8 or floats of 0 to 1, as float32 RGB on the same scale, not rounded."""
    white = np.float32(255 if rgba.dtype == np.uint8 else 1)
    alpha = np.clip(rgba[..., 3:] / white, 0, 1)
    return rgba[..., :3] * alpha + white * (1 - alpha)


def blocks(array: np.ndarray) -> Iterator[slice]:
    """The rows of an array, so many at a time as hold about `_BLOCK` values."""
    height = array.shape[0]
    step = max(1, _BLOCK // max(1, array[0].size)) if height else 1
    return (slice(start, min(start + step, height)) for start in range(0, height, step))


def _refuse_nan(array: np.ndarray) -> None:
    bad, first = 0, None
    for rows in blocks(array):
        wrong = ~np.isfinite(array[rows])
        bad += int(wrong.sum())
        if first is None and wrong.any():
            row, column = np.argwhere(wrong)[0][:2]
            first = rows.start + int(row), int(column)
    assert first is not None
    raise InputError(
        f"The picture holds {bad:,} values that are NaN or infinite, the first at row {first[0]}, column {first[1]}. "
        "Repair it first, for example with numpy.nan_to_num(image)."
    )


def _refuse_mixture(array: np.ndarray, own: Span, span: Span) -> None:
    """Refuse a picture of 0–1 in a list of others that are not; whole numbers are those of a dark one of 0–255."""
    if not (span.loose and own.unit and not span.unit) or array.dtype.kind != "f":
        return
    if any((array[rows] % 1).any() for rows in blocks(array)):
        raise InputError(
            f"This picture holds values from {own.low:.3g} to {own.high:.3g}, the list together from {span.low:.3g} to "
            f"{span.high:.3g}, and a list is read with one range. Bring all of them to 0–1 first, or if this one is "
            "only dark say what is black and white in all of them: value_range=(0, 255)"
        )


def _guess_range(dtype: np.dtype, span: Span, many: bool) -> tuple[tuple[float, float], str]:
    if dtype == np.uint16 and many:
        raise InputError(
            f"The picture holds 16-bit bands with values up to {span.high:,.0f}; what is white? Say it as in training: "
            "value_range=(0, 10000) for reflectances of Sentinel-2, value_range=(0, 65535) for the full range."
        )
    if dtype == np.uint16:
        return (0.0, 65535.0), "16 bits, 65,535 taken as white"
    whose, (low, high) = span.whose, span[:2]
    floats = dtype.kind == "f"
    if floats and span.unit:
        return (0.0, 1.0), f"{dtype.name} values taken as 0–1"
    if low < 0:
        raise InputError(
            f"{whose} holds values from {low:.3g} to {high:.3g}: it seems to be normalised already. Pass mean= and "
            "std= so that this can be undone, or value_range=(black, white), or the picture before normalisation."
        )
    if floats and high <= _UNCLEAR:
        raise InputError(
            f"{whose} holds {dtype.name} values from {low:.3g} to {high:.3g}: too high for 0–1, and almost black as "
            f"0–255. Say which it is: value_range=(0, 255), value_range=(0, {high:.4g}), image=image.clip(0, 1) if it "
            "only overshoots, or the mean= and std= with which it was normalised."
        )
    if high <= 255:
        return (0.0, 255.0), f"{dtype.name} values taken as 0–255"
    raise InputError(
        f"{whose} holds {dtype.name} values up to {high:.4g}; what is white? Pass value_range=(0, {high:.4g})"
    )
