"""Any picture → one canonical form, and what the model sees of it, with the exact way back to the picture's pixels.

Two values matter. A `Picture` is what the user handed in, as upright 8-bit RGB. A `View` is what the model sees after
preprocessing: the numbers that go in, the same as a picture a person can look at, and the affine map from its pixels
to the picture's. Everything the rest of the package draws, segments or switches off lives on the view.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from xai_widgets.errors import InputError

LAYOUTS = ("HW", "HWC", "CHW", "NCHW")


@dataclass(frozen=True)
class Picture:
    """A picture as handed in: upright, 8 bits, RGB.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (H, W, 3)
        Read-only.
    notes : tuple of str
        What was done to get here, in plain words, for the input chip.
    """

    pixels: np.ndarray
    notes: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """What a picture is known by: SHA-256 of its shape and pixels, as 64 hex digits."""
        hashed = hashlib.sha256(repr(self.pixels.shape).encode())
        hashed.update(np.ascontiguousarray(self.pixels))
        return hashed.hexdigest()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]


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


# ---------------------------------------------------------------------------------------------------------------------
# Reading
# ---------------------------------------------------------------------------------------------------------------------


def read(
    image: Any,
    *,
    layout: str | None = None,
    value_range: tuple[float, float] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Picture:
    """Read a picture from whatever holds one.

    Parameters
    ----------
    image : path, PIL.Image.Image, ndarray or tensor
        Arrays are uint8, uint16, bool or float; (H, W), (H, W, C), (C, H, W) or (1, C, H, W) with 1, 3 or 4 channels.
    layout : {"HW", "HWC", "CHW", "NCHW"}, optional
        Needed only where the shape can be read in two ways.
    value_range : (float, float), optional
        The values of black and white. Default: 0–255 for uint8, 0–65535 for uint16, 0–1 for floats that stay within
        it, 0–255 for floats that stay within that.
    mean, std : sequence of float, optional
        Undo ``(x - mean) / std`` of an array that is already normalised, that is, one with negative values.

    Raises
    ------
    InputError
        What was seen, why it cannot be a picture, and what to pass.
    """
    if image is None:
        raise InputError("There is no image. Pass a path, a PIL image, an array or a tensor: xw.explain(model, image)")
    if isinstance(image, (str, os.PathLike)):
        image = _open(image)
    if isinstance(image, Image.Image):
        return _from_pil(image, value_range)
    try:
        array = to_numpy(image)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"A {type(image).__name__} is no picture ({error}). Pass a path, a PIL image, an array or a tensor."
        ) from error
    if array.dtype.kind not in "uifb" or array.ndim == 0:
        raise InputError(
            f"A {type(image).__name__} is no picture. Pass a path, a PIL image, an array of shape (H, W, 3) or a "
            "tensor of shape (3, H, W)."
        )
    hwc = _channels_last(array, layout)
    values, notes = _to_uint8(hwc, value_range, mean, std)
    pixels, more = _to_rgb(values)
    return _picture(pixels, *notes, *more)


def to_numpy(data: Any) -> np.ndarray:
    """An array of anything that holds one; tensors are detached and brought to the CPU without importing torch."""
    if hasattr(data, "detach"):
        data = data.detach()
        if str(data.dtype) == "torch.bfloat16":  # numpy has no such type
            data = data.float()
        return data.cpu().numpy()
    return np.asarray(data)


def _open(path: str | os.PathLike) -> Image.Image:
    where = os.fspath(path)
    try:
        with Image.open(where) as opened:
            opened.load()
            return opened
    except FileNotFoundError:
        raise InputError(f"There is no file {where!r} (looked in {os.getcwd()!r}).") from None
    except IsADirectoryError:
        raise InputError(f"{where!r} is a folder, not a picture.") from None
    except UnidentifiedImageError:
        raise InputError(f"{where!r} is not a picture that Pillow can read.") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{where!r} cannot be read as a picture: {error}.") from error


def _from_pil(image: Image.Image, value_range: tuple[float, float] | None) -> Picture:
    notes = []
    turned = image.getexif().get(0x0112, 1) != 1
    upright = ImageOps.exif_transpose(image)
    if turned:
        notes.append("turned upright as its EXIF tag says")
    if upright.mode.startswith("I") or upright.mode == "F":
        # Pillow's own convert("RGB") would clip everything above 255 to white.
        plane = np.asarray(upright)
        if upright.mode.startswith("I;16") or image.format == "PNG":  # older Pillows open 16-bit PNGs as 32-bit "I"
            plane = plane.astype(np.uint16)
        values, more = _to_uint8(plane[..., None], value_range, None, None)
        return _picture(_to_rgb(values)[0], *notes, *more)
    if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
        upright = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
        notes.append("transparency laid on white")
    elif upright.mode not in ("RGB", "L"):
        notes.append(f"{upright.mode} converted to RGB")
    return _picture(np.array(upright.convert("RGB")), *notes)


def _picture(pixels: np.ndarray, *notes: str) -> Picture:
    height, width = pixels.shape[:2]
    if height < 2 or width < 2:
        raise InputError(f"The picture is {width}×{height} pixels; there is nothing in it to explain.")
    pixels = np.array(pixels, order="C")  # a copy: the user's array stays theirs to write
    pixels.setflags(write=False)
    return Picture(pixels, notes)


def _channels_last(array: np.ndarray, layout: str | None) -> np.ndarray:
    """Bring any layout to (H, W, C)."""
    shape = array.shape
    if layout is None:
        layout = _guess_layout(shape)
    elif layout not in LAYOUTS:
        raise InputError(f"layout={layout!r} is not one of {', '.join(LAYOUTS)}.")
    elif len(layout) != array.ndim:
        raise InputError(f"layout={layout!r} has {len(layout)} axes, the array of shape {shape} has {array.ndim}.")
    if layout == "NCHW":
        if shape[0] != 1 or (shape[1] not in (1, 3, 4) and shape[3] in (1, 3, 4)):
            raise InputError(
                f"This is a batch of {shape[0]} picture(s), shape {shape}; one is explained at a time, and a batch of "
                "one is read as (1, channels, height, width). Pass one of them: image=batch[0]"
            )
        array, layout = array[0], "CHW"
    if layout == "HW":
        array = array[..., None]
    elif layout == "CHW":
        array = np.moveaxis(array, 0, -1)
    if 0 in array.shape:
        raise InputError(f"An array of shape {shape} is empty; there is no picture in it.")
    if array.shape[-1] not in (1, 3, 4):
        raise InputError(
            f"Shape {shape} is read as a picture of {array.shape[0]}×{array.shape[1]} pixels with {array.shape[-1]} "
            "channels; 1 (grey), 3 (RGB) or 4 (RGBA) are known."
        )
    return array


def _guess_layout(shape: tuple[int, ...]) -> str:
    if len(shape) == 2:
        return "HW"
    if len(shape) == 4:
        return "NCHW"
    if len(shape) != 3:
        raise InputError(f"An array of shape {shape} is no picture: two, three or four axes are needed.")
    first, last = shape[0] in (1, 3, 4), shape[2] in (1, 3, 4)
    if first and last:
        raise InputError(f'Shape {shape} could be channels first or last. Say which: layout="CHW" or layout="HWC"')
    if not first and not last:
        raise InputError(f"Shape {shape} has no axis of 1, 3 or 4 channels, so it is no picture.")
    return "CHW" if first else "HWC"


def _to_uint8(
    array: np.ndarray,
    value_range: tuple[float, float] | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> tuple[np.ndarray, list[str]]:
    if array.dtype == np.uint8 and value_range is None:
        return array, []
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255), ["true and false shown as white and black"]
    finite = np.isfinite(array) if array.dtype.kind == "f" else None
    if finite is not None and not finite.all():
        bad = int(finite.size - finite.sum())
        row, col = np.argwhere(~finite)[0][:2]
        raise InputError(
            f"The picture holds {bad:,} values that are NaN or infinite, the first at row {row}, column {col}. "
            "Repair it first, for example with numpy.nan_to_num(image)."
        )
    values = array.astype(np.float64)
    notes = []
    low, high = float(values.min()), float(values.max())
    if low < 0 and value_range is None and mean is not None and std is not None:
        try:
            values = values * np.asarray(std, float) + np.asarray(mean, float)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"mean={mean!r} and std={std!r} must hold a number for each of {array.shape[-1]} channels ({error})."
            ) from error
        low, high = float(values.min()), float(values.max())
        if low < -0.02 or high > 1.02:
            raise InputError(
                f"Undoing mean={mean}, std={std} gives values from {low:.3g} to {high:.3g}, outside 0 to 1. "
                "Check mean and std, or pass the picture before normalisation."
            )
        notes.append("normalisation undone with the given mean and std")
        value_range = (0.0, 1.0)
    if value_range is None:
        value_range, note = _guess_range(array.dtype, low, high)
        notes += note
    try:
        black, white = map(float, value_range)
    except (TypeError, ValueError):
        black = white = math.nan
    if not white > black:
        raise InputError(f"value_range={value_range!r} must be two numbers, (black, white), with black < white.")
    scaled = (values - black) * (255.0 / (white - black))
    if scaled.min() < -1 or scaled.max() > 256:
        raise InputError(
            f"Values from {low:.4g} to {high:.4g} do not fit value_range=({black:g}, {white:g}). "
            f"Pass the true range: value_range=({low:.4g}, {high:.4g})"
        )
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8), notes


def _guess_range(dtype: np.dtype, low: float, high: float) -> tuple[tuple[float, float], list[str]]:
    if dtype == np.uint16:
        return (0.0, 65535.0), ["16 bits scaled to 8"]
    if low < 0:
        raise InputError(
            f"The picture holds values from {low:.3g} to {high:.3g}: it seems to be normalised already. Pass mean= and "
            "std= so that this can be undone, or value_range=(black, white), or the picture before normalisation."
        )
    if dtype.kind == "f" and high <= 1.0 + 1e-6:
        return (0.0, 1.0), ["values 0–1 scaled to 0–255"]
    if high <= 255:
        return (0.0, 255.0), [f"{dtype.name} values taken as 0–255"]
    raise InputError(
        f"The picture holds {dtype.name} values up to {high:.4g}; what is white? Pass value_range=(0, {high:.4g})"
    )


def _to_rgb(hwc: np.ndarray) -> tuple[np.ndarray, list[str]]:
    channels = hwc.shape[-1]
    if channels == 1:
        return np.repeat(hwc, 3, axis=-1), []
    if channels == 4:
        alpha = hwc[..., 3:].astype(np.float32) / 255
        return np.rint(hwc[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8), ["transparency laid on white"]
    return hwc, []


# ---------------------------------------------------------------------------------------------------------------------
# What the model sees
# ---------------------------------------------------------------------------------------------------------------------


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
