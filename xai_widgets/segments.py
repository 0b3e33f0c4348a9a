"""Cut a picture into regions: the units that are switched on and off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from xai_widgets.errors import ArgumentError, InputError, nearest
from xai_widgets.images import to_numpy
from xai_widgets.views import View

MAX_SEGMENTS = 65_535
"""Labels travel to the browser as uint16."""

LARGEST_CUT = 768
"""Longer side, in pixels, at which the segmenters work at most."""

TINY = 32
"""Longer side, in pixels, up to which a segmenter made for photos may find hardly any region."""

Segmenter = Callable[[np.ndarray, int], np.ndarray]


def slic(image: np.ndarray, n_segments: int) -> np.ndarray:
    """SLIC superpixels (Achanta et al. 2012), scikit-image, compactness 10 and sigma 1 as in its examples.

    SLIC merges what comes out too small, up to half of it; then it is asked again for so many more, and the better of
    the two is taken.
    """
    from skimage.segmentation import slic as skimage_slic

    def cut(n: int) -> np.ndarray:
        return skimage_slic(image, n_segments=n, compactness=10, sigma=1, start_label=0, channel_axis=-1)

    first = cut(n_segments)
    found = int(first.max()) + 1
    if found > 0.85 * n_segments or found < 4:
        return first
    return min(
        first, cut(round(n_segments**2 / found)), key=lambda labels: abs(np.log((labels.max() + 1) / n_segments))
    )


def grid(image: np.ndarray, n_segments: int) -> np.ndarray:
    """Rectangles as square as they go, `n_segments` or a few more."""
    height, width = image.shape[:2]
    n_cols = max(1, min(width, round((n_segments * width / height) ** 0.5)))
    n_rows = max(1, min(height, -(-n_segments // n_cols)))
    rows = np.arange(height) * n_rows // height
    cols = np.arange(width) * n_cols // width
    return rows[:, None] * n_cols + cols[None, :]


def felzenszwalb(image: np.ndarray, n_segments: int) -> np.ndarray:
    """Felzenszwalb and Huttenlocher's (2004) graph segmentation; the scale is searched for about `n_segments`."""
    from skimage.segmentation import felzenszwalb as skimage_felzenszwalb

    smallest = max(4, image.shape[0] * image.shape[1] // (n_segments * 8))
    return _search(lambda s: skimage_felzenszwalb(image, scale=s, min_size=smallest), n_segments, 1.0, 3000.0)


def quickshift(image: np.ndarray, n_segments: int) -> np.ndarray:
    """Quick shift (Vedaldi and Soatto 2008), LIME's default with ratio 0.2; kernel size searched for `n_segments`."""
    from skimage.segmentation import quickshift as skimage_quickshift

    return _search(
        lambda k: skimage_quickshift(image, kernel_size=k, max_dist=200, ratio=0.2, rng=0), n_segments, 1, 12
    )


SEGMENTERS: dict[str, Segmenter] = {
    "slic": slic,
    "grid": grid,
    "felzenszwalb": felzenszwalb,
    "quickshift": quickshift,
}


def segment(view: View, segments: Any = "slic", n_segments: int = 50) -> tuple[np.ndarray, tuple[str, ...]]:
    """Cut a view into regions.

    Parameters
    ----------
    view : View
    segments : str, array of int or callable
        A name of `SEGMENTERS`; a label map on the view's grid (h, w) or on the whole picture's (H, W), any integers;
        or ``f(image)`` → such a map, with the view as uint8 (h, w, 3).
    n_segments : int
        How many regions to aim for; the segmenters come near it.

    Returns
    -------
    labels : ndarray of int32, shape (h, w)
        0-based and contiguous.
    warnings : tuple of str
    """
    check(segments, n_segments)
    if isinstance(segments, str):
        if segments == "grid":
            return contiguous(grid(view.image, int(n_segments))), ()
        if np.ptp(view.planes, axis=(0, 1)).max() == 0:
            why = "The picture has one colour, so there is no structure to segment: a plain grid is used."
            return _plain(view, n_segments), (why,)
        labels = contiguous(_cut(view.image, SEGMENTERS[segments], int(n_segments)))
        count = int(labels.max()) + 1
        if count < min(16 if max(view.shape) <= TINY else 4, int(n_segments), labels.size):
            why = f"{segments} found {count} region(s) here, so a plain grid is used instead."
            return _plain(view, n_segments), (why,)
        return labels, ()
    found = segments(view.image.copy()) if callable(segments) else segments
    try:
        labels = np.asarray(to_numpy(found))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"segments must be a label map, a name or a callable; got {type(segments).__name__}."
        ) from error
    if labels.dtype.kind not in "iub" or labels.ndim != 2:
        raise InputError(f"A label map holds whole numbers in two axes; got {labels.dtype}, shape {labels.shape}.")
    if labels.shape != view.shape:
        if labels.shape != view.source.pixels.shape[:2]:
            raise InputError(
                f"The label map has shape {labels.shape}; the model sees {view.shape} and the picture has "
                f"{view.source.pixels.shape[:2]}. Pass a map of one of these shapes."
            )
        labels = view.sample(labels)
    return contiguous(labels), ()


def check(segments: Any, n_segments: int) -> None:
    """Refuse an unknown segmenter, or a number of regions that cannot be."""
    if isinstance(n_segments, bool) or not isinstance(n_segments, (int, np.integer)) or not 2 <= n_segments <= 5000:
        raise ArgumentError(f"n_segments={n_segments!r} must be a whole number from 2 to 5000.")
    if isinstance(segments, str) and segments not in SEGMENTERS:
        raise InputError(
            f"There is no segmenter {segments!r}; there are {', '.join(SEGMENTERS)}.{nearest(segments, SEGMENTERS)}"
        )


def _plain(view: View, n_segments: int) -> np.ndarray:
    """A grid of 16 rectangles or more, where a segmenter has nothing to go by."""
    return contiguous(grid(view.image, max(16, int(n_segments))))


def _cut(image: np.ndarray, segmenter: Segmenter, n_segments: int) -> np.ndarray:
    """Cut a picture, a large one at reduced size: regions need no finer borders, and six megapixels take 20 s."""
    height, width = image.shape[:2]
    if max(height, width) <= LARGEST_CUT:
        return segmenter(image, n_segments)
    factor = LARGEST_CUT / max(height, width)
    small = Image.fromarray(image).resize(
        (max(2, round(width * factor)), max(2, round(height * factor))), Image.Resampling.BOX
    )
    labels = segmenter(np.asarray(small), n_segments)
    rows = np.arange(height) * labels.shape[0] // height
    cols = np.arange(width) * labels.shape[1] // width
    return labels[rows[:, None], cols[None, :]]


def contiguous(labels: np.ndarray) -> np.ndarray:
    """Renumber any integer labels to 0 … S-1, keeping their order, as int32."""
    names, inverse = np.unique(labels, return_inverse=True)
    if len(names) > MAX_SEGMENTS:
        raise InputError(f"{len(names):,} regions are too many; at most {MAX_SEGMENTS:,} can be shown.")
    return inverse.reshape(labels.shape).astype(np.int32)


def region_means(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean of a map over each region: (h, w) or (h, w, C) → float64 (S,) or (S, C)."""
    flat = labels.ravel()
    area = np.bincount(flat)
    planes = values.reshape(flat.size, -1).astype(np.float64)
    means = np.stack([np.bincount(flat, planes[:, i]) / area for i in range(planes.shape[1])], axis=-1)
    return means[:, 0] if values.ndim == 2 else means


def _search(cut: Callable[[float], np.ndarray], wanted: int, low: float, high: float) -> np.ndarray:
    """Bisect a scale on which the number of regions falls, for the labels closest to `wanted` regions."""
    best: tuple[float, np.ndarray] | None = None
    for _ in range(8):
        middle = (low * high) ** 0.5
        labels = cut(middle)
        count = len(np.unique(labels))
        if best is None or abs(np.log(count / wanted)) < best[0]:
            best = abs(np.log(count / wanted)), labels
        if count == wanted:
            break
        low, high = (middle, high) if count > wanted else (low, middle)
    assert best is not None
    return best[1]
