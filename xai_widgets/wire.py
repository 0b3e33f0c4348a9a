"""From results to what travels to the browser: the values of `protocol`, made of numpy arrays and nothing else."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from xai_widgets import protocol
from xai_widgets.explanation import Explanation

MAX_SIDE = 1024
"""Longer pictures are reduced for the screen; the map and the regions keep their numbers."""

THUMB_SIDE = 96
"""Of the small pictures of a batch: 48 pixels on the page, sharp on a dense screen."""


def floats(values: np.ndarray | None) -> bytes:
    """Little-endian float32, or nothing."""
    return b"" if values is None else np.ascontiguousarray(values, "<f4").tobytes()


def picture(image: np.ndarray, off_image: np.ndarray) -> protocol.Picture:
    """Photo and switched-off photo, uint8 (H, W, 3), encoded for the browser."""
    mime = "image/png" if max(image.shape) <= 512 else "image/jpeg"
    shown, off = (_encode(_reduce(Image.fromarray(pixels)), mime) for pixels in (image, off_image))
    height, width = _reduced_shape(image.shape[:2])
    return {"width": width, "height": height, "mime": mime, "data": shown, "off": off}


def regions(labels: np.ndarray) -> protocol.Regions:
    """A label map, int32 (H, W), reduced like the picture by taking the nearest label."""
    height, width = _reduced_shape(labels.shape)
    rows = (np.arange(height) + 0.5) * labels.shape[0] / height
    cols = (np.arange(width) + 0.5) * labels.shape[1] / width
    small = labels[rows.astype(int)[:, None], cols.astype(int)[None, :]]
    return {
        "width": width,
        "height": height,
        "count": int(labels.max()) + 1,
        "labels": small.astype("<u2").tobytes(),
    }


def heat(
    explanation: Explanation, number: int, label: str, *, partial: bool = False, preview: bool = False
) -> protocol.Heat:
    """A map; one number a region where that is all there is, else the field at its own resolution."""
    by_region = explanation.segment_values is not None
    no_map = explanation.pictures is not None and not explanation.values.any()
    field = np.zeros((0, 0), np.float32)
    if not by_region:
        field = explanation.coarse if explanation.coarse is not None else _reduce_field(explanation.values)
    return {
        "id": number,
        "method": explanation.method,
        "label": label,
        "target": explanation.target,
        "target_name": explanation.target_name,
        "kind": "none" if no_map else "regions" if by_region else "pixels",
        "width": field.shape[1],
        "height": field.shape[0],
        "pixels": floats(field),
        "regions": floats(explanation.region_values),
        "errors": floats(explanation.std_error),
        "signed": explanation.signed,
        "additive": explanation.additive,
        "unit": _unit(explanation),
        "partial": partial,
        "preview": preview,
        "n_forward": explanation.n_forward,
        "seconds": round(explanation.seconds, 3),
        "note": " ".join(explanation.warnings),
    }


def thumb(image: np.ndarray | None, label: str, answer: str = "") -> protocol.Thumb:
    """A picture of a batch, uint8 (H, W, 3), small; None while it has not been looked at."""
    data = b""
    if image is not None:
        small = Image.fromarray(image)
        small.thumbnail((THUMB_SIDE, THUMB_SIDE), Image.Resampling.LANCZOS)
        data = _encode(small, "image/jpeg")
    return {"mime": "image/jpeg", "data": data, "label": label, "answer": answer}


def gallery(explanation: Explanation) -> list[protocol.Plate]:
    """The pictures that the method made, with their captions."""
    pictures = () if explanation.pictures is None else explanation.pictures
    return [
        {"mime": "image/png", "data": _encode(_reduce(Image.fromarray(pixels)), "image/png"), "caption": caption}
        for pixels, caption in zip(pictures, explanation.captions, strict=True)
    ]


def prediction(before: np.ndarray, now: np.ndarray, off: Sequence[int]) -> protocol.Prediction:
    """Probabilities (C,) of the whole picture and of the one with the regions `off` switched off."""
    return {"before": floats(before), "now": floats(now), "off": [int(i) for i in off]}


def _unit(explanation: Explanation) -> str:
    """Only a map of differences is in points of probability; a gradient or a weighted layer is a score of its own."""
    return explanation.space if explanation.signed else "score"


def _encode(image: Image.Image, mime: str) -> bytes:
    buffer = io.BytesIO()
    if mime == "image/png":
        image.save(buffer, "PNG")
    else:
        image.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def _reduced_shape(shape: Sequence[int]) -> tuple[int, int]:
    factor = min(1.0, MAX_SIDE / max(shape))
    return max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))


def _reduce(image: Image.Image) -> Image.Image:
    height, width = _reduced_shape((image.height, image.width))
    return image if (width, height) == image.size else image.resize((width, height), Image.Resampling.LANCZOS)


def _reduce_field(values: np.ndarray) -> np.ndarray:
    height, width = _reduced_shape(values.shape)
    if (height, width) == values.shape:
        return values
    return np.asarray(Image.fromarray(values, "F").resize((width, height), Image.Resampling.BOX))
