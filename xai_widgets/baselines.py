"""What a switched-off region looks like: a whole picture from which the region's pixels are taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xai_widgets.errors import InputError, nearest
from xai_widgets.images import read
from xai_widgets.levels import to_uint8
from xai_widgets.segments import region_means
from xai_widgets.views import View


def mean(image: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """Each region's own average colour (the fill of LIME's image explainer, Ribeiro et al. 2016)."""
    return region_means(image, labels)[labels]


def blur(image: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """Gaussian blur, standard deviation 10 pixels at 224 (Fong and Vedaldi 2017), in proportion at other sizes."""
    from scipy.ndimage import gaussian_filter

    sigma = 10 * min(image.shape[:2]) / 224
    return gaussian_filter(image.astype(np.float32), (sigma, sigma, 0))


def grey(image: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """Middle grey, 128 of 255."""
    return np.full(image.shape, 128.0)


def black(image: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """Black pixels: 0 of 255 in the picture, not 0 after normalisation."""
    return np.zeros(image.shape)


def noise(image: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """Independent uniform noise, 0 to 255, from `seed`."""
    return np.random.default_rng(seed).integers(0, 256, image.shape).astype(np.float64)


BASELINES: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    "mean": mean,
    "blur": blur,
    "grey": grey,
    "black": black,
    "noise": noise,
}
WORDS = {
    "mean": "its own average colour",
    "blur": "blurred",
    "grey": "middle grey",
    "black": "black",
    "noise": "random noise",
}
"""How each baseline is called in front of a reader, after "a switched-off region is …"."""


def baseline_picture(view: View, labels: np.ndarray, baseline: Any = "mean", seed: int = 0) -> np.ndarray:
    """The view with every region switched off.

    It is rounded to 8 bits, so that the picture on the screen is exactly the one the model was asked about.

    Parameters
    ----------
    view : View
    labels : ndarray of int32, shape (h, w)
    baseline : str, picture or callable
        A name of `BASELINES`; a picture of the view's size or the original's; or ``f(planes)`` → array of the same
        shape, values 0–255, with the view as uint8 (h, w, 3), or (h, w, K) if it has K bands. Where the view's colours
        are stretched there is no black, grey or noise, and a picture must be of the original's size.
    seed : int
        Of the noise.

    Returns
    -------
    ndarray of uint8, shape (h, w, K)
        Planes like the view's own: ``view.show`` makes a picture of them, ``view.encode`` the model's input.
    """
    planes = view.planes
    if view.stretched and isinstance(baseline, str) and baseline in ("grey", "black", "noise"):
        raise InputError(
            f"What {WORDS[baseline]} is cannot be known behind this preprocessing, for it cannot be undone. Let the "
            'picture itself say how a switched-off region looks: baseline="mean" or baseline="blur"'
        )
    if isinstance(baseline, str) and baseline in BASELINES:
        made = BASELINES[baseline](planes, labels, seed)
    elif isinstance(baseline, str):
        raise InputError(
            f"There is no baseline {baseline!r}; there are {', '.join(BASELINES)}, or pass a picture or a callable."
            f"{nearest(baseline, BASELINES)}"
        )
    elif callable(baseline):
        made = np.asarray(baseline(planes.copy()))
    else:
        made = _stretched(view, baseline) if view.stretched else _laid(view, baseline)
    if made.shape != planes.shape or made.dtype.kind not in "uif" or not np.isfinite(made).all():
        what = "the picture" if view.bands is None else f"all {planes.shape[-1]} bands of the picture"
        raise InputError(
            f"The baseline has shape {made.shape}, {made.dtype}; finite values 0–255 of shape {planes.shape} are "
            f"needed, {what} as the model sees it."
        )
    return np.clip(np.rint(made), 0, 255).astype(np.uint8)


def _laid(view: View, baseline: Any) -> np.ndarray:
    """A picture of the view's size or the original's, as planes."""
    given = read(baseline, channels=None if view.bands is None else view.planes.shape[-1])
    many = view.bands is not None and given.data is not None
    made = to_uint8(np.moveaxis(given.data, 0, -1)) if many else given.pixels
    if made.shape[:2] != view.shape and made.shape[:2] == view.source.pixels.shape[:2]:
        made = np.stack([view.sample(made[..., plane]) for plane in range(made.shape[-1])], axis=-1)
    return made


def _stretched(view: View, baseline: Any) -> np.ndarray:
    """A picture like the original, prepared as it was and with its colours stretched as the view's are."""
    source = view.source
    count = 3 if source.bands is None or source.data is None else len(source.data)
    given = read(baseline, channels=None if source.bands is None else count)
    found = given.pixels.shape[-1] if given.bands is None or given.data is None else len(given.data)
    if (given.size, found) != (source.size, count):
        raise InputError(
            f"The baseline has shape {(*given.pixels.shape[:2], found)}. It goes through the same preprocessing as the "
            f"picture, and must be as large, before it: {(*source.pixels.shape[:2], count)}."
        )
    try:
        return view.stretch(given)
    except InputError as error:
        raise InputError(
            f"This picture cannot be the baseline. {error} Let the picture itself say how a "
            'switched-off region looks: baseline="mean" or baseline="blur"'
        ) from error


def name_of(baseline: Any) -> str:
    """What an explanation records as its baseline."""
    if isinstance(baseline, str):
        return baseline
    return getattr(baseline, "__name__", "callable") if callable(baseline) else "picture"
