"""Any picture → one canonical form: upright 8-bit RGB, with a note of everything that was done to get there."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
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
