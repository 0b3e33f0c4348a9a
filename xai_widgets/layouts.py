"""Which axis of an array is what: rows, columns, channels, pictures of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xai_widgets.errors import InputError

LAYOUTS = ("HW", "HWC", "CHW", "NCHW", "NHWC")

USUAL_CHANNELS = (1, 3, 4)
"""Grey, RGB, RGBA: what an axis of this length is taken for where nothing else is known."""


def channels_last(array: np.ndarray, layout: str | None, channels: int | None) -> np.ndarray:
    """Bring any layout to (H, W, C)."""
    shape = array.shape
    layout = layout_of(shape, layout, channels)
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


def layout_of(shape: tuple[int, ...], layout: str | None, channels: int | None) -> str:
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


def shown_bands(bands: Sequence[int] | None, count: int) -> tuple[int, ...]:
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
