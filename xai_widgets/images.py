"""Any picture → one canonical form: upright RGB and what 8 bits cannot hold, with a note of everything done to it."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from xai_widgets.errors import InputError
from xai_widgets.layouts import USUAL_CHANNELS, channels_last, layout_of, shown_bands
from xai_widgets.levels import Span, blocks, levels, on_white, to_uint8


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


@dataclass(frozen=True)
class _Member:
    """A picture of a batch, and what is needed to take its values as those of the others are taken."""

    image: Any
    span: Span


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
    array = channels_last(array, layout, channels)
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
    layout_of(shape, layout, channels)
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
    for rows in blocks(pixels):
        strip = image.crop((0, rows.start, width, rows.stop))
        if strip.mode == "La":
            strip = strip.convert("LA")
        strip = np.asarray(convert(strip, "RGBA" if transparent else "RGB"))
        pixels[rows] = np.rint(on_white(strip)) if transparent else strip
    return pixels


def _from_array(
    array: np.ndarray,
    value_range: tuple[float, float] | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    channels: int | None,
    bands: Sequence[int] | None,
    notes: Sequence[str] = (),
    span: Span | None = None,
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
    values, more = levels(array, value_range, mean, std, many, span)
    notes = [*notes, *more]
    if many:
        shown = shown_bands(bands, count)
        if values.dtype == np.uint8:
            values = values / np.float32(255)
        pixels = to_uint8(values[..., list(shown)])
        notes.append(f"{count} bands, of which {', '.join(map(str, shown))} are shown")
        return _picture(np.repeat(pixels, 3 // len(shown), axis=-1), notes, values, shown)
    if count == 4:
        notes.append("transparency laid on white")
        flat = np.empty((*values.shape[:2], 3), values.dtype)
        for rows in blocks(values):
            laid = on_white(values[rows])
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
    spans: dict[str, Span] = {}
    for kind, low, high in filter(None, ends):
        known = spans.get(kind, Span(low, high))
        whose = f"The batch of {len(images)} pictures"
        spans[kind] = Span(min(low, known.low), max(high, known.high), whose, loose)
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
