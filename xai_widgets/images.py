"""Any picture → one canonical form: upright RGB and what 8 bits cannot hold, with a note of everything done to it."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from xai_widgets.errors import InputError

LAYOUTS = ("HW", "HWC", "CHW", "NCHW", "NHWC")

USUAL_CHANNELS = (1, 3, 4)
"""Grey, RGB, RGBA: what an axis of this length is taken for where nothing else is known."""

_BLOCK = 1 << 20
"""Values handled at once, so that a picture of many megapixels needs no second copy of itself in floats."""

_UNCLEAR = 8.0
"""Floats above 1 and up to this are 0–1 with overshoot, or normalised, or 0–255 and very dark: nothing tells which."""

_OVERSHOOT = 0.1
"""How far beyond black and white, as a share of what is between, sharp resizing goes; that much is clipped."""

_NOISE = 1e-6
"""The same of rounding, which is not worth a word."""


@dataclass(frozen=True)
class Picture:
    """A picture as handed in: upright, and in a form that everything here understands.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (H, W, 3)
        The picture to look at. Read-only.
    notes : tuple of str
        What was done to get here, in plain words, for the input chip.
    data : ndarray of float32, shape (C, H, W), or None
        All that was handed in, black 0 and white 1, where `pixels` does not hold it exactly: pictures of 16 bits or
        of floats between the 256 levels, with C of 1 or 3, and every band of a multi-band picture. Read-only.
    bands : tuple of int or None
        Which bands of `data` are shown as red, green and blue (or one of them as grey); None for an ordinary picture.
    """

    pixels: np.ndarray
    notes: tuple[str, ...] = ()
    data: np.ndarray | None = None
    bands: tuple[int, ...] | None = None

    @cached_property
    def digest(self) -> str:
        """What a picture is known by: SHA-256 of its shape and pixels, or of its bands, as 64 hex digits."""
        content = self.pixels if self.bands is None or self.data is None else self.data
        hashed = hashlib.sha256(repr(content.shape).encode())
        for plane in content:  # row by row or band by band: neither needs a copy of the whole
            hashed.update(np.ascontiguousarray(plane))
        return hashed.hexdigest()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]


class _Span(NamedTuple):
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


@dataclass(frozen=True)
class _Member:
    """A picture of a batch, and what is needed to take its values as those of the others are taken."""

    image: Any
    span: _Span


def read(
    image: Any,
    *,
    layout: str | None = None,
    value_range: tuple[float, float] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    channels: int | None = None,
    bands: Sequence[int] | None = None,
) -> Picture:
    """Read a picture from whatever holds one.

    Parameters
    ----------
    image : path, PIL.Image.Image, ndarray or tensor
        Arrays are of bool, whole numbers or floats; (H, W), (H, W, C), (C, H, W) or a batch of one of these, with 1
        (grey), 3 (RGB) or 4 (RGBA) channels, or with as many as the model takes. Red comes first; of a picture that
        OpenCV has read pass ``image[..., ::-1]``.
    layout : {"HW", "HWC", "CHW", "NCHW", "NHWC"}, optional
        Needed only where the shape can be read in two ways.
    value_range : (float, float), optional
        The values of black and white. Default: 0–255 for uint8, 0–65535 for uint16, 0–1 for floats that stay within
        it, 0–255 for other whole numbers that stay within that, and for floats that do and go beyond 8. Floats that go
        a little beyond 0–1, as after sharp resizing, are clipped, with a note; what lies between is asked about. The
        pictures of a batch are taken alike.
    mean, std : sequence of float, optional
        Undo ``(x - mean) / std`` of an array that is already normalised: one with negative values, or with floats up
        to 8, from which that makes 0–1.
    channels : int, optional
        How many channels the model takes, if that is known. It settles which axis holds them. An array with so many
        channels that are neither 1 nor 3, or with more than four, is a multi-band picture.
    bands : sequence of int, optional
        Which one or three bands of a multi-band picture to look at, red first. Default: the first three, or the first.

    Raises
    ------
    InputError
        What was seen, why it cannot be a picture, and what to pass.
    """
    span = None
    if isinstance(image, _Member):
        image, span = image.image, image.span
    if image is None:
        raise InputError("There is no image. Pass a path, a PIL image, an array or a tensor: xw.explain(model, image)")
    if isinstance(image, (str, os.PathLike)):
        return _from_file(image, value_range, channels, bands)
    if isinstance(image, Image.Image):
        return _from_pil(image, value_range, channels, bands)
    if isinstance(image, (bytes, bytearray, memoryview)):
        raise InputError(
            f"These are {len(image):,} bytes of {type(image).__name__}, not a picture yet. Open them first: "
            "image=PIL.Image.open(io.BytesIO(data))"
        )
    if hasattr(image, "read") and not hasattr(image, "__array__"):
        raise InputError(f"A {type(image).__name__} is an open file. Open the picture: image=PIL.Image.open(file)")
    if np.ma.isMaskedArray(image) and np.ma.getmaskarray(image).any():
        masked = int(np.ma.getmaskarray(image).sum())
        raise InputError(
            f"{masked:,} values of this array are masked, and a model needs a value everywhere. Fill them: "
            "image=image.filled(0)"
        )
    try:
        array = to_numpy(image)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"A {type(image).__name__} is no picture ({error}). Pass a path, a PIL image, an array or a tensor."
        ) from error
    if array.dtype.kind not in "uifb" or array.ndim == 0:
        what = f"{type(image).__name__} of {array.dtype}" if array.ndim else type(image).__name__
        raise InputError(
            f"A {what} is no picture. Pass a path, a PIL image, an array of shape (H, W, 3) or a "
            "tensor of shape (3, H, W)."
        )
    array = _channels_last(array, layout, channels)
    return _from_array(array, value_range, mean, std, channels, bands, span=span)


def split(image: Any, *, layout: str | None = None, channels: int | None = None) -> list[Any] | None:
    """Take a batch apart, so that one of its pictures can be chosen; nothing here picks the first in silence.

    Parameters
    ----------
    image
        Whatever `read` takes, or more than one of it: an array or tensor (N, C, H, W) or (N, H, W, C), or a list or
        tuple of paths, PIL images, arrays or tensors.
    layout, channels
        As for `read`.

    Returns
    -------
    list or None
        The pictures, each of which `read` takes with the same `channels`, and with `layout` without its N. None if
        it is one picture and no list. Arrays among them bring along what the values of all span together, so that
        `read` takes a dark one as it takes the others.

    Raises
    ------
    InputError
        If the batch is empty, or a list holds pictures and something else.
    """
    if isinstance(image, (list, tuple)):
        if not image:
            raise InputError("The list of images is empty. Pass one picture or more: image=[…]")
        known = [_is_picture(item) for item in image]
        if not any(known):
            return None  # nested lists of numbers are one picture
        if not all(known):
            wrong = known.index(False)
            raise InputError(
                f"Number {wrong} of the {len(image)} images is a {type(image[wrong]).__name__}, which is no picture. "
                "Of a batch with labels pass the pictures alone: image=batch[0]"
            )
        return _together(image, loose=True)
    shape = _shape(image)
    if len(shape) != 4:
        return None
    _layout(shape, layout, channels)
    if shape[0] == 0:
        raise InputError(f"The batch of shape {shape} is empty; there is no picture in it.")
    return None if shape[0] == 1 else _together([image[i] for i in range(shape[0])], loose=False)


def to_numpy(data: Any) -> np.ndarray:
    """An array of anything that holds one; tensors are detached and brought to the CPU without importing torch."""
    if hasattr(data, "detach"):
        data = data.detach()
        if getattr(data, "is_quantized", False):
            data = data.dequantize()
        if str(getattr(data, "layout", "torch.strided")) != "torch.strided":
            data = data.to_dense()
        if str(data.dtype).startswith(("torch.bfloat16", "torch.float8")):  # numpy has no such types
            data = data.float()
        return data.cpu().numpy()
    array = np.asarray(data)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


# ---- where pictures come from --------------------------------------------------------------------------------------


def _from_file(path: str | os.PathLike, *options: Any) -> Picture:
    where = os.fspath(path)
    if isinstance(where, str) and re.match(r"[a-zA-Z][\w+.-]+://|data:", where):
        raise InputError(
            f"{where[:80]!r} is an address, and nothing is fetched here. Save the picture and pass its path: "
            'image="picture.jpg"'
        )
    try:
        with Image.open(where) as opened:
            return _from_pil(opened, *options)
    except InputError as error:
        raise InputError(f"{where!r}: {error}") from error.__cause__
    except FileNotFoundError:
        raise InputError(f"There is no file {where!r} (looked in {os.getcwd()!r}).") from None
    except IsADirectoryError:
        raise InputError(
            f"{where!r} is a folder, not a picture. Pass a file in it, or all of them: "
            f"image=sorted(Path({where!r}).glob('*.jpg'))"
        ) from None
    except UnidentifiedImageError:
        raise InputError(f"{where!r} is not a picture that Pillow can read.") from None
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{where!r} is too large for Pillow's guard: {error} If you trust the file: "
            "PIL.Image.MAX_IMAGE_PIXELS = None"
        ) from error
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(f"{where!r} cannot be read as a picture: {error}.") from error


def _from_pil(
    image: Image.Image,
    value_range: tuple[float, float] | None,
    channels: int | None,
    bands: Sequence[int] | None,
) -> Picture:
    try:
        image.load()
        turned = image.getexif().get(0x0112, 1) in range(2, 9)
        upright = ImageOps.exif_transpose(image) if turned else image
    except Exception as error:  # a damaged file makes Pillow's readers raise anything
        raise InputError(
            f"This {image.mode} image cannot be read: {error}. Is its file whole, and still open?"
        ) from error
    _refuse_specks(*upright.size)
    notes = []
    with contextlib.suppress(Exception):  # to count frames the file must still be open
        frames = getattr(image, "n_frames", 1)
        if frames > 1:
            notes.append(f"frame {image.tell() + 1} of {frames}")
    if turned:
        notes.append("turned upright as its EXIF tag says")
    mode = upright.mode
    if channels not in (None, 1, 3) and len(upright.getbands()) == channels:
        return _from_array(np.asarray(upright), value_range, None, None, channels, bands, notes)
    if mode.startswith("I") or mode == "F":
        # Pillow's own convert("RGB") would clip everything above 255 to white.
        plane = to_numpy(upright)
        if mode == "I" and image.format in ("PNG", "PPM"):  # 16 bits, which some Pillows open as 32
            plane = plane.astype(np.uint16)
        return _from_array(plane[..., None], value_range, None, None, channels, bands, notes)
    transparent = mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in upright.info
    if transparent:
        notes.append("transparency laid on white")
    elif mode not in ("RGB", "L"):
        notes.append(f"{mode} converted to RGB")
    pixels = _rgb(upright, transparent)
    if value_range is not None or bands is not None:
        return _from_array(pixels, value_range, None, None, channels, bands, notes)
    return _picture(pixels, notes)


def _rgb(image: Image.Image, transparent: bool) -> np.ndarray:
    """Any 8-bit image as uint8 (H, W, 3), a strip at a time: Pillow's own way holds three copies of it."""
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    convert = Image.Image.convert
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        turn = ImageCms.buildTransform(lab, srgb, "LAB", "RGB")
        convert = lambda strip, _: ImageCms.applyTransform(strip, turn)  # noqa: E731
    for rows in _blocks(pixels):
        strip = image.crop((0, rows.start, width, rows.stop))
        if strip.mode == "La":
            strip = strip.convert("LA")
        strip = np.asarray(convert(strip, "RGBA" if transparent else "RGB"))
        pixels[rows] = np.rint(_on_white(strip)) if transparent else strip
    return pixels


def _from_array(
    array: np.ndarray,
    value_range: tuple[float, float] | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    channels: int | None,
    bands: Sequence[int] | None,
    notes: Sequence[str] = (),
    span: _Span | None = None,
) -> Picture:
    """A picture of an array (H, W, C) of numbers."""
    height, width, count = array.shape
    _refuse_specks(width, height)
    many = count not in USUAL_CHANNELS or (count == 4 and channels == 4)
    if many and channels not in (None, count):
        raise InputError(
            f"The picture has {count} channels, shape {array.shape}; the model takes {channels}. "
            f"Pass the {channels} that it was trained on, or say where they are: layout=…"
        )
    if bands is not None and not many:
        raise InputError(
            f"bands={bands!r} says what to show of a multi-band picture; this one has {count} channels. Leave it out."
        )
    values, more = _levels(array, value_range, mean, std, many, span)
    notes = [*notes, *more]
    if many:
        shown = _bands(bands, count)
        if values.dtype == np.uint8:
            values = values / np.float32(255)
        pixels = to_uint8(values[..., list(shown)])
        notes.append(f"{count} bands, of which {', '.join(map(str, shown))} are shown")
        return _picture(np.repeat(pixels, 3 // len(shown), axis=-1), notes, values, shown)
    if count == 4:
        notes.append("transparency laid on white")
        flat = np.empty((*values.shape[:2], 3), values.dtype)
        for rows in _blocks(values):
            laid = _on_white(values[rows])
            flat[rows] = np.rint(laid) if values.dtype == np.uint8 else laid
        values = flat
    pixels = values if values.dtype == np.uint8 else to_uint8(values)
    if pixels.shape[-1] == 1 or np.may_share_memory(pixels, array):  # the user's array stays theirs to write
        pixels = np.array(np.broadcast_to(pixels, (*pixels.shape[:2], 3)), order="C")
    return _picture(pixels, notes, None if values.dtype == np.uint8 else values)


def _picture(
    pixels: np.ndarray,
    notes: Sequence[str],
    values: np.ndarray | None = None,
    bands: tuple[int, ...] | None = None,
) -> Picture:
    pixels = np.ascontiguousarray(pixels)
    pixels.setflags(write=False)
    if values is not None:
        values.setflags(write=False)
        values = np.moveaxis(values, -1, 0)
    return Picture(pixels, tuple(notes), values, bands)


def _refuse_specks(width: int, height: int) -> None:
    if height < 2 or width < 2:
        raise InputError(f"The picture is {width}×{height} pixels; there is nothing in it to explain.")


def _is_picture(item: Any) -> bool:
    return isinstance(item, (str, os.PathLike, Image.Image)) or len(_shape(item)) >= 2


def _shape(item: Any) -> tuple[int, ...]:
    """The shape of an array or tensor of any library; nothing for what has none."""
    try:
        return tuple(int(side) for side in getattr(item, "shape", ()))
    except (TypeError, ValueError):  # a class has the attribute too, and a graph's tensor knows no numbers
        return ()


def _together(images: Sequence[Any], *, loose: bool) -> list[Any]:
    """The pictures of a batch; an array whose range has to be guessed knows what it and the like span together."""
    if len(images) == 1:
        return list(images)
    ends = [_ends(image) for image in images]
    spans: dict[str, _Span] = {}
    for kind, low, high in filter(None, ends):
        known = spans.get(kind, _Span(low, high))
        whose = f"The batch of {len(images)} pictures"
        spans[kind] = _Span(min(low, known.low), max(high, known.high), whose, loose)
    return [image if own is None else _Member(image, spans[own[0]]) for image, own in zip(images, ends, strict=True)]


def _ends(image: Any) -> tuple[str, float, float] | None:
    """Kind, lowest and highest value of an array whose type does not tell its range; None of anything else."""
    if isinstance(image, (str, os.PathLike, Image.Image)):
        return None
    try:
        array = to_numpy(image)
    except (TypeError, ValueError, RuntimeError):
        return None  # `read` says why
    if array.dtype.kind not in "uif" or array.dtype in (np.uint8, np.uint16) or array.size == 0:
        return None
    low, high = float(array.min()), float(array.max())
    kind = "floats" if array.dtype.kind == "f" else array.dtype.name
    return (kind, low, high) if math.isfinite(low) and math.isfinite(high) else None


# ---- layouts -------------------------------------------------------------------------------------------------------


def _channels_last(array: np.ndarray, layout: str | None, channels: int | None) -> np.ndarray:
    """Bring any layout to (H, W, C)."""
    shape = array.shape
    layout = _layout(shape, layout, channels)
    if 0 in shape:
        raise InputError(f"An array of shape {shape} is empty; there is no picture in it.")
    if layout[0] == "N":
        if shape[0] != 1:
            raise InputError(
                f"This is a batch of {shape[0]} pictures, shape {shape}; one is explained at a time. Pass one of them: "
                "image=batch[0]"
            )
        array, layout = array[0], layout[1:]
    if layout == "HW":
        return array[..., None]
    return np.moveaxis(array, 0, -1) if layout == "CHW" else array


def _layout(shape: tuple[int, ...], layout: str | None, channels: int | None) -> str:
    """The layout of an array of this shape, as given or else by the length of its axes."""
    if layout is not None:
        if layout not in LAYOUTS:
            raise InputError(f"layout={layout!r} is not one of {', '.join(LAYOUTS)}.")
        if len(shape) == 4 and len(layout) == 3:  # of one of a list of batches of one
            layout = "N" + layout
        if len(layout) != len(shape):
            raise InputError(f"layout={layout!r} has {len(layout)} axes, the array of shape {shape} has {len(shape)}.")
        return layout
    if len(shape) == 2:
        return "HW"
    if len(shape) not in (3, 4):
        raise InputError(f"An array of shape {shape} is no picture: two, three or four axes are needed.")
    batch = "N" * (len(shape) - 3)
    ends = shape[-3], shape[-1]
    fits = [end == channels for end in ends]
    if not any(fits):
        fits = [end in USUAL_CHANNELS for end in ends]
    first, last = fits
    if first and last:
        raise InputError(
            f'Shape {shape} could be channels first or last. Say which: layout="{batch}CHW" or layout="{batch}HWC"'
        )
    if not first and not last:
        takes = "" if channels in (None, *USUAL_CHANNELS) else f", nor of the {channels} that the model takes"
        told = f"; the model takes {channels}" if channels in USUAL_CHANNELS else ""
        raise InputError(
            f"Shape {shape} has no axis of 1, 3 or 4 channels{takes}{told}. If it is a picture of more bands say where "
            f'they are: layout="{batch}HWC" or layout="{batch}CHW"'
        )
    return batch + ("CHW" if first else "HWC")


def _bands(bands: Sequence[int] | None, count: int) -> tuple[int, ...]:
    if bands is None:
        return (0, 1, 2) if count >= 3 else (0,)
    try:
        shown = tuple(int(band) for band in bands if not isinstance(band, (bool, str)) and int(band) == band)
        right = len(shown) == len(bands) and len(shown) in (1, 3) and all(0 <= band < count for band in shown)
    except (TypeError, ValueError):
        right = False
    if not right:
        example = "(0,)" if count < 3 else f"({min(2, count - 1)}, 1, 0)"
        raise InputError(
            f"bands={bands!r} must be one or three whole numbers from 0 to {count - 1}, such as bands={example}."
        )
    return shown


# ---- values --------------------------------------------------------------------------------------------------------


def _levels(
    array: np.ndarray,
    value_range: tuple[float, float] | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    many: bool,
    span: _Span | None,
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
        span = span or _Span(low, high)
        _refuse_mixture(array, _Span(low, high), span)
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
    span: _Span,
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
    for rows in _blocks(array):
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
    for rows in _blocks(array):
        values[rows] = array[rows].astype(np.float64) * scale + shift
    return values


def to_uint8(values: np.ndarray) -> np.ndarray:
    """Floats with black 0 and white 1 as 8-bit levels."""
    levels = np.empty(values.shape, np.uint8)
    for rows in _blocks(values):
        levels[rows] = np.rint(np.clip(values[rows], 0, 1) * np.float32(255))
    return levels


def _on_white(rgba: np.ndarray) -> np.ndarray:
    """RGBA, uint8 or floats of 0 to 1, as float32 RGB on the same scale, not rounded."""
    white = np.float32(255 if rgba.dtype == np.uint8 else 1)
    alpha = np.clip(rgba[..., 3:] / white, 0, 1)
    return rgba[..., :3] * alpha + white * (1 - alpha)


def _blocks(array: np.ndarray) -> Iterator[slice]:
    """The rows of an array, so many at a time as hold about `_BLOCK` values."""
    height = array.shape[0]
    step = max(1, _BLOCK // max(1, array[0].size)) if height else 1
    return (slice(start, min(start + step, height)) for start in range(0, height, step))


def _refuse_nan(array: np.ndarray) -> None:
    bad, first = 0, None
    for rows in _blocks(array):
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


def _refuse_mixture(array: np.ndarray, own: _Span, span: _Span) -> None:
    """Refuse a picture of 0–1 in a list of others that are not; whole numbers are those of a dark one of 0–255."""
    if not (span.loose and own.unit and not span.unit) or array.dtype.kind != "f":
        return
    if any((array[rows] % 1).any() for rows in _blocks(array)):
        raise InputError(
            f"This picture holds values from {own.low:.3g} to {own.high:.3g}, the list together from {span.low:.3g} to "
            f"{span.high:.3g}, and a list is read with one range. Bring all of them to 0–1 first, or if this one is "
            "only dark say what is black and white in all of them: value_range=(0, 255)"
        )


def _guess_range(dtype: np.dtype, span: _Span, many: bool) -> tuple[tuple[float, float], str]:
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
