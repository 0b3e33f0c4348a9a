"""What somebody else's preprocessing does, measured with test pictures: its scaling, its padding, and the way back.

A black and a white picture tell its scaling and padding; ramps tell which pixel of the picture each pixel of its output
came from, coarse ones first, then fine ones. So nothing has to be declared twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from PIL import Image

_STEPS = 16
"""Length of the fine ramps in pixels of the view: short enough for 256 levels to resolve a sixteenth of a pixel."""

_BENT = "The preprocessing is no plain crop or resize, so the map cannot be laid back on the original."
_RANDOM = (
    "The preprocessing is random: the same picture comes out differently each time. One that is meant for training "
    "crops and flips by chance; pass the one for testing."
)

Call = Callable[[Image.Image], np.ndarray]
"""The preprocessing of a test picture → float32 (C, h, w)."""


class UnclearError(Exception):
    """The test pictures do not tell what a preprocessing does, and why."""


@dataclass(frozen=True)
class Way:
    """What a preprocessing does to pictures of one size.

    Attributes
    ----------
    offset, scale : ndarray of float64, shape (C,)
        What it makes of black, and of white less that.
    to_source, notes, warnings
        As a `View` has them.
    mark : bytes
        A hash of what it made of a test picture, by which one that has changed is told.
    """

    offset: np.ndarray
    scale: np.ndarray
    to_source: tuple[float, ...] | None
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    mark: bytes


_ways: WeakKeyDictionary[Any, dict[Any, Way]] = WeakKeyDictionary()


def known_way(
    preprocess: Any, call: Call, again: Callable[[], np.ndarray], size: tuple[int, int], inputs: np.ndarray
) -> Way:
    """What `measure` found, now or when a picture of this size went the same way before."""
    key = size, inputs.shape
    try:
        found = _ways.setdefault(preprocess, {})
    except TypeError:  # it cannot be held weakly, or has no hash
        found = {}
    fresh = key not in found or found[key].mark != _mark(call, size)
    if fresh:
        found[key] = measure(call, size, inputs)
    way = found[key]
    # A flip by chance may come out the same once.
    if all(np.array_equal(again(), inputs) for _ in range(1 + fresh)):
        return way
    return replace(way, to_source=None, warnings=(_RANDOM,))


def measure(call: Call, size: tuple[int, int], inputs: np.ndarray) -> Way:
    """Find out what a preprocessing does.

    Parameters
    ----------
    call : callable
        Makes a test picture ready.
    size : (int, int)
        Width and height of the pictures.
    inputs : ndarray, shape (C, h, w)
        What it made of the real picture.

    Raises
    ------
    UnclearError
        If the test pictures do not tell.
    """
    width, height = size
    whole = "The preprocessing depends on the picture as a whole"

    def probe(line: np.ndarray) -> np.ndarray:
        """What becomes of a picture whose rows, or columns, are all this line of grey levels."""
        grey = Image.fromarray(np.rint(line).astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
        made = call(grey.convert("RGB")).astype(np.float64)
        if made.shape != inputs.shape:
            raise UnclearError(whole)
        # Per-picture standardisation divides a one-colour probe by zero; that makes the view an opaque one.
        return np.nan_to_num(made, posinf=0.0, neginf=0.0)

    black, white = probe(np.zeros((1, 1))), probe(np.full((1, 1), 255.0))
    spread = white - black
    inside = np.abs(spread).min(0) > 1e-6  # elsewhere is padding: black and white pictures give the same there
    if inside.any():
        usual = np.median(spread[:, inside], axis=1)[:, None, None]
        inside &= (np.abs(spread - usual) <= 0.01 * np.abs(usual)).all(0)  # not where picture and padding blend
    if inside.mean() < 0.01:
        raise UnclearError(whole)
    offset, scale = (np.median(x[:, inside], axis=1) for x in (black, spread))
    if np.abs(black[:, inside] - offset[:, None]).max() > 1e-3 * np.abs(scale).max():
        raise UnclearError(whole)

    def seen(line: np.ndarray) -> np.ndarray:
        """Where on a scale from black to white each pixel of the output is, (h, w)."""
        return ((probe(line) - offset[:, None, None]) / scale[:, None, None]).mean(0)

    along_x = _fit_line(lambda line: seen(line[None]), width, inside)
    along_y = _fit_line(lambda line: seen(line[:, None]), height, inside)
    to_source = _snap(along_x, along_y, max(inside.shape)) if along_x is not None and along_y is not None else None
    warnings = () if to_source is not None else (_BENT,)
    notes = () if inside.all() else ("padded",)
    return Way(offset, scale, to_source, notes, warnings, _mark(call, size))


def _mark(call: Call, size: tuple[int, int]) -> bytes:
    """Of a picture that looks different in every place."""
    across, down = (Image.linear_gradient("L").rotate(turn).resize(size) for turn in (90, 0))
    return sha256(call(Image.merge("RGB", (across, down, Image.new("L", size, 255)))).tobytes()).digest()


def _fit_line(seen: Callable[[np.ndarray], np.ndarray], length: int, inside: np.ndarray) -> np.ndarray | None:
    """Where on an axis of the picture the pixels of the output come from: (per column, per row, at 0), or None.

    `seen` tells how bright the output is everywhere, 0 to 1, for grey levels along this axis. A ramp over the whole
    axis tells the place roughly: one of its 256 levels may be many pixels wide. Then ramps of a few pixels, up and down
    in turn so that they have no jump, tell it finely.
    """
    places = np.arange(length, dtype=float)
    rows, cols = _middle(inside)
    if len(rows) < 3:
        return None
    design = np.column_stack([cols, rows, np.ones(len(cols))]).astype(float)
    found = seen(places * (255 / (length - 1)))[rows, cols] * (length - 1)
    # Rounding, here and in the output, is half a level each; no more than three are put down to it.
    rough = _least_squares(design, found, 3 * max(1.0, length / 255))
    if rough is None:
        return None
    step = max(1.0, math.hypot(rough[0], rough[1]))
    stretch = math.ceil(max(_STEPS * step, 4 * length / 255))
    if stretch >= length - 1:  # a picture of a few pixels: the whole ramp was fine already
        return rough
    number, part = np.divmod(places, stretch)
    value = seen(255 * np.where(number % 2, stretch - part, part) / stretch)[rows, cols]
    number, part = np.divmod(design @ rough, stretch)
    # Filters round the ramps off where they turn.
    clean = (np.abs(value - 0.5) < 0.3) & (np.abs(part / stretch - 0.5) < 0.4)
    found = (number + np.where(number % 2, 1 - value, value)) * stretch
    return _least_squares(design[clean], found[clean], step) if clean.sum() >= 3 else rough


def _middle(inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns to fit to: the middle four fifths, for resampling bends the ramps at the border."""
    rows, cols = np.nonzero(inside)
    if len(rows) == 0:
        return rows, cols
    margin = [(v.max() - v.min()) * 0.1 for v in (rows, cols)]
    keep = (
        (rows >= rows.min() + margin[0]) & (rows <= rows.max() - margin[0])
        & (cols >= cols.min() + margin[1]) & (cols <= cols.max() - margin[1])
    )  # fmt: skip
    if keep.sum() >= 16:  # a picture of a few pixels has no middle
        rows, cols = rows[keep], cols[keep]
    step = max(1, len(rows) // 200_000)
    return rows[::step], cols[::step]


def _least_squares(design: np.ndarray, found: np.ndarray, tolerance: float) -> np.ndarray | None:
    """The line through what was found, or None where it misses a point by more than `tolerance`."""
    solution, *_ = np.linalg.lstsq(design, found, rcond=None)
    return solution if np.abs(design @ solution - found).max() <= tolerance else None


def _snap(along_x: np.ndarray, along_y: np.ndarray, side: int) -> tuple[float, ...]:
    """Remove the fits' noise: a coefficient within it is exactly 0 or 1, and a crop moves by whole pixels."""
    lines = []
    for line in (along_x, along_y):
        a, b, c = (float(v) for v in line)
        a, b = (float(round(v)) if abs(v - round(v)) < 0.1 / side else v for v in (a, b))
        if {abs(a), abs(b)} == {0.0, 1.0} and abs(c - round(c)) < 0.1:
            c = float(round(c))
        lines += [a, b, c]
    return tuple(lines)
