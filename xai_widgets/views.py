"""What the model sees of a picture: the numbers that go in, the same to look at, and the way back to its pixels.

Everything the rest of the package draws, segments or switches off lives on this view.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from xai_widgets.errors import InputError
from xai_widgets.images import Picture, to_numpy


@dataclass(frozen=True)
class View:
    """What the model sees of a picture.

    Attributes
    ----------
    inputs : ndarray of float32, shape (C, h, w)
        The model's input, exactly as the preprocessing gave it.
    image : ndarray of uint8, shape (h, w, 3)
        The same as a picture: ``inputs`` with the preprocessing's scaling undone.
    offset, scale : ndarray of float32, shape (C,)
        ``inputs ≈ offset + scale * image / 255``, channel by channel.
    to_source : tuple of 6 float or None
        ``(a, b, c, d, e, f)``: the centre of view pixel (column, row) lies at column ``a·col + b·row + c`` and row
        ``d·col + e·row + f`` of the picture. None where the preprocessing is not a crop, flip, pad or resize.
    source : Picture
    notes : tuple of str
    warnings : tuple of str
    """

    inputs: np.ndarray
    image: np.ndarray
    offset: np.ndarray
    scale: np.ndarray
    to_source: tuple[float, ...] | None
    source: Picture
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default=())

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the view in pixels."""
        return self.image.shape[0], self.image.shape[1]

    def encode(self, image: np.ndarray) -> np.ndarray:
        """Turn a picture on this view's grid into model input: uint8 (h, w, 3) → float32 (C, h, w)."""
        channels = np.moveaxis(image.astype(np.float32), -1, 0) / np.float32(255)
        if len(self.scale) == 1:
            channels = channels.mean(0, keepdims=True)
        return self.offset[:, None, None] + self.scale[:, None, None] * channels

    def sample(self, source_map: np.ndarray) -> np.ndarray:
        """Look up a map on the picture's grid, (H, W), at the view's pixel centres, nearest neighbour, as (h, w)."""
        if self.to_source is None:
            raise InputError(
                "This map lies on the whole picture, but the preprocessing does not say which pixel of the picture a "
                f"pixel of its output is. Pass the map on the model's own grid instead: shape {self.shape}."
            )
        a, b, c, d, e, f = self.to_source
        rows, cols = np.indices(self.shape)
        height, width = source_map.shape
        x = np.clip(np.rint(a * cols + b * rows + c), 0, width - 1).astype(int)
        y = np.clip(np.rint(d * cols + e * rows + f), 0, height - 1).astype(int)
        return source_map[y, x]


@dataclass(frozen=True)
class Preprocess:
    """The preprocessing used when none is given: resize, crop, scale to 0–1, normalise.

    Parameters
    ----------
    size : int, (int, int) or None
        An int scales the shorter side to it and cuts the middle square; ``(height, width)`` scales both sides, which
        may change the proportions; None keeps the picture's size. Bilinear with antialiasing, as torchvision does.
    mean, std : tuple of float or None
        ``(x - mean) / std`` per channel, after scaling to 0–1. None leaves 0–1.
    channels : {1, 3}
        1 converts to grey first.
    """

    size: int | tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channels: int = 3

    def __call__(self, image: Image.Image) -> np.ndarray:
        """PIL image → float32 (C, h, w)."""
        if self.channels == 1:
            image = image.convert("L")
        if isinstance(self.size, int):
            image = ImageOps.fit(image, (self.size, self.size), Image.Resampling.BILINEAR)
        elif self.size is not None:
            image = image.resize((self.size[1], self.size[0]), Image.Resampling.BILINEAR)
        chw = np.asarray(image, np.float32) / np.float32(255)
        chw = chw[None] if chw.ndim == 2 else np.moveaxis(chw, -1, 0)
        if self.mean is not None:
            chw = chw - np.float32(self.mean).reshape(-1, 1, 1)
        if self.std is not None:
            chw = chw / np.float32(self.std).reshape(-1, 1, 1)
        return np.ascontiguousarray(chw)


def view(picture: Picture, preprocess: Callable[[Any], Any]) -> View:
    """Run the preprocessing and find out what it did, by sending four test pictures through it.

    A black and a white picture tell its scaling and padding; a horizontal and a vertical ramp tell which pixel of
    the picture each pixel of its output came from. So any callable will do, and nothing has to be declared twice.

    Parameters
    ----------
    picture : Picture
    preprocess : callable
        PIL image (or uint8 array (H, W, 3)) → array or tensor (C, h, w) or (1, C, h, w), with 1 or 3 channels.

    Raises
    ------
    InputError
        If it raises, or returns something else.
    """
    inputs = _call(preprocess, picture.pixels)
    if not np.isfinite(inputs).all():
        bad = int((~np.isfinite(inputs)).sum())
        raise InputError(
            f"preprocess returned {bad:,} values that are NaN or infinite for this picture. Does it divide by the "
            "picture's own spread, and has the picture only one colour?"
        )
    height, width = picture.pixels.shape[:2]

    def probe(plane: np.ndarray) -> np.ndarray:
        pixels = np.broadcast_to(np.rint(plane).astype(np.uint8)[..., None], (height, width, 3))
        # Per-picture standardisation divides a one-colour probe by zero; that makes the view an opaque one.
        return np.nan_to_num(_call(preprocess, np.ascontiguousarray(pixels)).astype(np.float64), posinf=0.0, neginf=0.0)

    black, white = probe(np.zeros((height, width))), probe(np.full((height, width), 255.0))
    if not black.shape == white.shape == inputs.shape:
        return _opaque_view(picture, inputs)
    spread = white - black
    inside = np.abs(spread).min(0) > 1e-6  # elsewhere is padding: black and white pictures give the same there
    if inside.any():
        usual = np.median(spread[:, inside], axis=1)[:, None, None]
        inside &= (np.abs(spread - usual) <= 0.01 * np.abs(usual)).all(0)  # not where picture and padding blend
    notes: list[str] = []
    if inside.mean() < 0.01:
        return _opaque_view(picture, inputs)
    offset, scale = (np.median(x[:, inside], axis=1) for x in (black, spread))
    if np.abs(black[:, inside] - offset[:, None]).max() > 1e-3 * np.abs(scale).max():
        return _opaque_view(picture, inputs)

    def position(plane: np.ndarray, length: int) -> np.ndarray:
        seen = ((probe(plane) - offset[:, None, None]) / scale[:, None, None]).mean(0)
        return seen * (length - 1)

    # A ramp of 256 grey levels is a staircase; dithering it lets the fit average far below one level.
    dither = np.random.default_rng(0).uniform(-1.5, 1.5, (height, width))
    ramp_x = np.clip(np.linspace(0, 255, width) + dither, 0, 255)
    ramp_y = np.clip(np.linspace(0, 255, height)[:, None] + dither, 0, 255)
    to_source = _fit_affine(position(ramp_x, width), position(ramp_y, height), inside, width, height)
    decoded = (inputs - offset[:, None, None]) / scale[:, None, None] * 255
    image = np.clip(np.rint(np.moveaxis(decoded, 0, -1)), 0, 255).astype(np.uint8)
    warnings = []
    if to_source is None:
        warnings.append("The preprocessing is no plain crop or resize, so the map cannot be laid back on the original.")
    if not inside.all():
        notes.append("padded")
    return View(
        inputs,
        np.ascontiguousarray(np.repeat(image, 3 // image.shape[-1], axis=-1)),
        offset.astype(np.float32),
        scale.astype(np.float32),
        to_source,
        picture,
        tuple(notes),
        tuple(warnings),
    )


def _call(preprocess: Callable[[Any], Any], pixels: np.ndarray) -> np.ndarray:
    try:
        result = preprocess(Image.fromarray(pixels))
    except Exception as first:  # noqa: BLE001 - a callable of the user's may raise anything
        try:
            result = preprocess(np.array(pixels))
        except Exception:  # noqa: BLE001 - the first error is the one to report
            raise InputError(
                f"preprocess raised {type(first).__name__}: {first}. It is called with a PIL image and must return a "
                "tensor of shape (C, height, width)."
            ) from first
    if isinstance(result, Mapping) and "pixel_values" in result:
        result = result["pixel_values"]
    try:
        array = to_numpy(result)
    except (TypeError, ValueError) as error:
        raise InputError(f"preprocess returned a {type(result).__name__}, not a tensor ({error}).") from error
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 3 or array.shape[0] not in (1, 3) or array.dtype.kind not in "fui":
        seen = f"shape {array.shape}, {array.dtype}" if array.dtype.kind != "O" else type(result).__name__
        raise InputError(f"preprocess returned {seen}; it must return a float tensor of shape (3, height, width).")
    return np.ascontiguousarray(array, np.float32)


def _opaque_view(picture: Picture, inputs: np.ndarray) -> View:
    """A view of a preprocessing whose scaling cannot be undone: its colours are stretched to be seen at all."""
    low, high = float(inputs.min()), float(inputs.max())
    scale = max(high - low, 1e-12)
    image = np.rint((np.moveaxis(inputs, 0, -1) - low) / scale * 255).astype(np.uint8)
    channels = inputs.shape[0]
    return View(
        inputs,
        np.ascontiguousarray(np.repeat(image, 3 // image.shape[-1], axis=-1)),
        np.full(channels, low, np.float32),
        np.full(channels, scale, np.float32),
        None,
        picture,
        (),
        ("The preprocessing depends on the picture as a whole, so colours here are stretched, not true.",),
    )


def _fit_affine(x: np.ndarray, y: np.ndarray, inside: np.ndarray, width: int, height: int) -> tuple[float, ...] | None:
    """Least-squares map from output pixels to picture pixels, or None where it is not affine."""
    rows, cols = np.nonzero(inside)
    # Resampling filters bend the ramps at the border, so the fit looks at the middle four fifths.
    margin = [(v.max() - v.min()) * 0.1 for v in (rows, cols)]
    keep = (
        (rows >= rows.min() + margin[0]) & (rows <= rows.max() - margin[0])
        & (cols >= cols.min() + margin[1]) & (cols <= cols.max() - margin[1])
    )  # fmt: skip
    if keep.sum() >= 16:  # a picture of a few pixels has no middle
        rows, cols = rows[keep], cols[keep]
    if len(rows) < 3:
        return None
    step = max(1, len(rows) // 200_000)
    rows, cols = rows[::step], cols[::step]
    design = np.column_stack([cols, rows, np.ones(len(cols))]).astype(float)
    coefficients = []
    for seen, length in ((x, width), (y, height)):
        solution, *_ = np.linalg.lstsq(design, seen[rows, cols], rcond=None)
        error = np.abs(design @ solution - seen[rows, cols]).max()
        # One grey level of the ramp is length / 255 pixels; dither and rounding stay within three of them.
        if error > 3.0 * max(1.0, length / 255):
            return None
        coefficients += [float(v) for v in solution]
    if not all(map(math.isfinite, coefficients)):
        return None
    return tuple(_snap(coefficients, max(inside.shape)))


def _snap(coefficients: list[float], side: int) -> list[float]:
    """Remove the fit's noise: an off-diagonal or unit coefficient within it is exactly 0 or 1."""
    a, b, c, d, e, f = coefficients
    tolerance = min(2e-3, 0.5 / side)  # moves no pixel by more than a quarter
    a, b, d, e = (round(v) if abs(v - round(v)) < tolerance else v for v in (a, b, d, e))
    return [float(a), float(b), c, float(d), float(e), f]
