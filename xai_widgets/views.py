"""What the model sees of a picture: the numbers that go in, the same to look at, and the way back to its pixels.

Everything the rest of the package draws, segments or switches off lives on this view.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from xai_widgets.errors import InputError
from xai_widgets.images import Picture, read, to_numpy
from xai_widgets.levels import to_uint8
from xai_widgets.ways import UnclearError, known_way

GREY = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey, ITU-R BT.601, which Pillow and torchvision use."""


@dataclass(frozen=True)
class View:
    """What the model sees of a picture.

    Attributes
    ----------
    inputs : ndarray of float32, shape (C, h, w)
        The model's input, exactly as the preprocessing gave it.
    planes : ndarray of uint8, shape (h, w, K)
        The same as levels of 0 to 255: ``inputs`` with the preprocessing's scaling undone. K is 3 for an ordinary
        picture, also where the model takes grey, and the number of bands where there are more.
    offset, scale : ndarray of float32, shape (C,)
        ``inputs ≈ offset + scale * planes / 255``, channel by channel.
    to_source : tuple of 6 float or None
        ``(a, b, c, d, e, f)``: the centre of view pixel (column, row) lies at column ``a·col + b·row + c`` and row
        ``d·col + e·row + f`` of the picture. None where the preprocessing is not a crop, flip, pad or resize.
    source : Picture
    notes : tuple of str
    warnings : tuple of str
    bands : tuple of int or None
        Which of the planes are looked at; None for an ordinary picture.
    opaque : callable or None
        The preprocessing, where its scaling cannot be undone: the planes are then stretched to be seen at all, and 0
        and 255 are the least and the most of this picture, not black and white.
    """

    inputs: np.ndarray
    planes: np.ndarray
    offset: np.ndarray
    scale: np.ndarray
    to_source: tuple[float, ...] | None
    source: Picture
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    bands: tuple[int, ...] | None = None
    opaque: Callable[[Any], Any] | None = None

    @property
    def stretched(self) -> bool:
        """Whether what is black and white in the planes is not known."""
        return self.opaque is not None

    @cached_property
    def image(self) -> np.ndarray:
        """What there is to see, uint8 (h, w, 3): `planes` themselves, or the bands that are shown."""
        return self.show(self.planes)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the view in pixels."""
        return self.planes.shape[0], self.planes.shape[1]

    def show(self, planes: np.ndarray) -> np.ndarray:
        """Planes like this view's, (h, w, K), as a picture to look at, (h, w, 3)."""
        if self.bands is None:
            return planes
        return np.repeat(planes[..., list(self.bands)], 3 // len(self.bands), axis=-1)

    def encode(self, planes: np.ndarray) -> np.ndarray:
        """Turn planes on this view's grid into model input: uint8 (h, w, K) → float32 (C, h, w)."""
        channels = np.moveaxis(planes.astype(np.float32), -1, 0) / np.float32(255)
        if len(self.scale) == 1:
            channels = channels.mean(0, keepdims=True)
        return self.offset[:, None, None] + self.scale[:, None, None] * channels

    def stretch(self, picture: Picture) -> np.ndarray:
        """Another picture through the same opaque preprocessing, as planes like this view's: uint8 (h, w, K)."""
        assert self.opaque is not None
        inputs = _first_call(picture, self.opaque)
        if inputs.shape != self.inputs.shape:
            raise InputError(
                f"The preprocessing makes shape {inputs.shape} of the other picture and {self.inputs.shape} of this "
                "one; they must be alike."
            )
        levels = (inputs - self.offset[:, None, None]) / self.scale[:, None, None]
        if not (levels.min() >= -1 / 255 and levels.max() <= 1 + 1 / 255):  # NaN too
            raise InputError(
                f"Prepared for the model the other picture goes from {inputs.min():.3g} to {inputs.max():.3g}, in some "
                f"channel beyond this one, which goes from {self.inputs.min():.3g} to {self.inputs.max():.3g}."
            )
        return _planes(levels, self.bands)[0]

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
    channels : int
        1 converts to grey first; other numbers than 1 and 3 take a picture of so many bands.
    """

    size: int | tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channels: int = 3

    def __call__(self, image: Any) -> np.ndarray:
        """Picture, or whatever `images.read` takes → float32 (C, h, w)."""
        return self.normalised(self.levels(image if isinstance(image, Picture) else read(image)))

    def levels(self, picture: Picture) -> np.ndarray:
        """The picture resized and cropped, (C, h, w): uint8, or float32 of 0 to 1 where it has more than 8 bits."""
        return np.stack([self._resized(plane, picture.size) for plane in self._planes(picture)])

    def normalised(self, levels: np.ndarray) -> np.ndarray:
        """What `levels` returned, as the model's input: float32 (C, h, w)."""
        chw = levels / np.float32(255) if levels.dtype == np.uint8 else levels
        if self.mean is not None:
            chw = chw - np.float32(self.mean).reshape(-1, 1, 1)
        if self.std is not None:
            chw = chw / np.float32(self.std).reshape(-1, 1, 1)
        return np.ascontiguousarray(chw)

    def to_source(self, size: tuple[int, int]) -> tuple[float, ...]:
        """`View.to_source` for a picture of this (width, height): the centre of pixel i lies at i + ½."""
        (left, top, right, bottom), (width, height) = self._box(size)
        a, e = (right - left) / width, (bottom - top) / height
        return (a, 0.0, left + a / 2 - 0.5, 0.0, e, top + e / 2 - 0.5)

    def _box(self, size: tuple[int, int]) -> tuple[tuple[float, float, float, float], tuple[int, int]]:
        """Which part of a picture of this (width, height) is used, and the (width, height) it is brought to."""
        width, height = size
        if not isinstance(self.size, int):
            return (0, 0, width, height), (self.size[1], self.size[0]) if self.size else size
        side = min(size)
        left, top = (width - side) / 2, (height - side) / 2
        return (left, top, left + side, top + side), (self.size, self.size)

    def _resized(self, plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        if self.size is None:
            return plane
        box, wanted = self._box(size)
        # Plane by plane, because Pillow keeps RGB in four bytes a pixel.
        return np.asarray(Image.fromarray(plane).resize(wanted, Image.Resampling.BILINEAR, box=box))

    def _planes(self, picture: Picture) -> list[np.ndarray]:
        data = picture.data
        if data is None:
            if self.channels == 1:
                return [np.asarray(Image.fromarray(picture.pixels).convert("L"))]
            data = np.moveaxis(picture.pixels, -1, 0)
        if len(data) == self.channels:
            return list(data)
        if len(data) == 1 and self.channels == 3:
            return [data[0]] * 3
        if len(data) == 3 and self.channels == 1:
            return [sum(share * plane for share, plane in zip(np.float32(GREY), data, strict=True))]
        raise InputError(
            f"The picture has {len(data)} channels, the model takes {self.channels}. Pass an array with all "
            f"{self.channels}: shape ({self.channels}, height, width)"
        )


def view(picture: Picture, preprocess: Callable[[Any], Any]) -> View:
    """Run the preprocessing and find out what it did.

    What `Preprocess` does is known. Any other callable is sent test pictures: a black and a white one tell its scaling
    and padding; ramps tell which pixel of the picture each pixel of its output came from, coarse ones first, then fine
    ones. So nothing has to be declared twice.

    Parameters
    ----------
    picture : Picture
    preprocess : callable
        PIL image (or uint8 array (H, W, 3)) → array or tensor (C, h, w) or (1, C, h, w). Of a multi-band picture it
        gets the float32 array (H, W, K) with values 0 to 1. Where it cannot handle the test pictures the view is an
        opaque one, and says so.

    Raises
    ------
    InputError
        If it raises, or returns something else.
    """
    if isinstance(preprocess, Preprocess):
        return _known_view(picture, preprocess)
    inputs = _first_call(picture, preprocess)
    if not np.isfinite(inputs).all():
        bad = int((~np.isfinite(inputs)).sum())
        raise InputError(
            f"preprocess returned {bad:,} values that are NaN or infinite for this picture. Does it divide by the "
            "picture's own spread, and has the picture only one colour?"
        )
    if picture.bands is not None:
        return _opaque_view(picture, preprocess, inputs, "What the preprocessing does to the bands is not known")
    try:
        return _measured_view(picture, preprocess, inputs)
    except UnclearError as error:
        return _opaque_view(picture, preprocess, inputs, str(error))


def _measured_view(picture: Picture, preprocess: Callable[[Any], Any], inputs: np.ndarray) -> View:
    """A view of a preprocessing found out with test pictures; `inputs` is what it made of the real one."""

    def call(test: Image.Image) -> np.ndarray:
        try:
            return _call(preprocess, test)
        except InputError as error:  # such as one that crops to what is not black
            cause = type(error.__cause__ or error).__name__
            raise UnclearError(f"The preprocessing fails on plain test pictures ({cause})") from error

    def again() -> np.ndarray:
        return _first_call(picture, preprocess)

    way = known_way(preprocess, call, again, picture.size, inputs)
    decoded = (inputs - way.offset[:, None, None]) / way.scale[:, None, None]
    planes, bands = _planes(decoded)
    offset, scale = way.offset.astype(np.float32), way.scale.astype(np.float32)
    return View(inputs, planes, offset, scale, way.to_source, picture, way.notes, way.warnings, bands)


def _known_view(picture: Picture, preprocess: Preprocess) -> View:
    levels = preprocess.levels(picture)
    count = len(levels)
    std = np.ones(count) if preprocess.std is None else np.broadcast_to(preprocess.std, count).astype(float)
    mean = np.zeros(count) if preprocess.mean is None else np.broadcast_to(preprocess.mean, count).astype(float)
    planes, bands = _planes(levels, picture.bands)
    return View(
        preprocess.normalised(levels),
        planes,
        (-mean / std).astype(np.float32),
        (1 / std).astype(np.float32),
        preprocess.to_source(picture.size),
        picture,
        bands=bands,
    )


def _opaque_view(picture: Picture, preprocess: Callable[[Any], Any], inputs: np.ndarray, why: str) -> View:
    """A view of a preprocessing whose scaling cannot be undone: its colours are stretched to be seen at all."""
    count = len(inputs)
    # Red, green and blue are stretched alike, to stay colours; bands may be of different units.
    axes = None if count in (1, 3) else (1, 2)
    low, high = (np.broadcast_to(end(inputs, axis=axes), count).astype(np.float32) for end in (np.min, np.max))
    scale = np.maximum(high - low, 1e-12).astype(np.float32)
    planes, bands = _planes((inputs - low[:, None, None]) / scale[:, None, None], picture.bands)
    warning = f"{why}, so colours here are stretched, not true."
    return View(inputs, planes, low, scale, None, picture, (), (warning,), bands, preprocess)


def _planes(channels: np.ndarray, bands: tuple[int, ...] | None = None) -> tuple[np.ndarray, tuple[int, ...] | None]:
    """`View.planes` and `View.bands` of (C, h, w): levels, or floats with black 0 and white 1."""
    planes = np.moveaxis(channels, 0, -1)
    planes = np.ascontiguousarray(planes if planes.dtype == np.uint8 else to_uint8(planes))
    count = len(channels)
    if count in (1, 3):
        return np.repeat(planes, 3 // count, axis=-1), None
    if bands is None or max(bands) >= count:
        bands = (0, 1, 2) if count > 3 else (0,)
    return planes, bands


def _first_call(picture: Picture, preprocess: Callable[[Any], Any]) -> np.ndarray:
    if picture.bands is None or picture.data is None:
        return _call(preprocess, Image.fromarray(picture.pixels))
    return _call(preprocess, np.moveaxis(picture.data, 0, -1).copy())


def _call(preprocess: Callable[[Any], Any], image: Image.Image | np.ndarray) -> np.ndarray:
    given = "a PIL image" if isinstance(image, Image.Image) else f"a float array of shape {image.shape}"
    try:
        result = preprocess(image)
    except Exception as first:  # noqa: BLE001 - a callable of the user's may raise anything
        try:
            if isinstance(image, np.ndarray):
                raise
            result = preprocess(np.array(image))
        except Exception:  # noqa: BLE001 - the first error is the one to report
            raise InputError(
                f"preprocess raised {type(first).__name__}: {first}. It is called with {given} and must return a "
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
    channels_last = array.ndim == 3 and array.shape[0] not in (1, 3) and array.shape[2] in (1, 3, 4)
    if array.ndim != 3 or 0 in array.shape or channels_last or array.dtype.kind not in "fui":
        seen = f"shape {array.shape}, {array.dtype}" if array.dtype.kind != "O" else type(result).__name__
        raise InputError(f"preprocess returned {seen}; it must return a float tensor of shape (3, height, width).")
    return np.ascontiguousarray(array, np.float32)
