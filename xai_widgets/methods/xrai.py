"""XRAI: integrated gradients, collected by regions that are picked one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from xai_widgets.methods._paths import Moves, line_integral, straight
from xai_widgets.problem import Estimate, Problem, Steps
from xai_widgets.registry import MethodInfo, Param

if TYPE_CHECKING:
    from scipy.sparse import csr_array
    from torch import Tensor

_SCALES = (50, 100, 150, 250, 500, 1200)
_SIDE = 224
"""The authors cut pictures at this size, and their other numbers are meant for it."""


def xrai(problem: Problem, *, n_steps: int = 50) -> Steps:
    """Mean attribution of the region that a pixel came in with (Kapishnikov et al. 2019, algorithm 1).

    Integrated gradients from a black and from a white picture are averaged, and of a pixel's channels the largest
    counts, as in the authors' code. Overlapping regions come from Felzenszwalb's segmentation at six scales, each grown
    by 5 pixels. The one with the highest mean over what it adds comes in first, then the next best, until the picture
    is covered; every pixel gets the mean of the piece that it came in with. The largest channel is seldom negative, so
    it is the order of the regions that counts, not the sign. All sizes are theirs at 224 pixels, and in proportion at
    others.

    Proof: equals the authors' implementation (saliency 0.2.1), regions and values, to 1e-9 on the same attribution
    (tests/test_gradients.py).
    """
    done, total = 0, 2 * n_steps
    for sums, attribution in line_integral(problem, _from_both(problem, n_steps)):
        done += len(sums)
        step = Estimate(done=done, total=total, n_forward=done)
        yield step if done < total else _collected(problem, attribution, step)


def _collected(problem: Problem, attribution: Tensor, step: Estimate) -> Estimate:
    """The last step: with the map."""
    from xai_widgets.gradients import flat

    flat(attribution)  # says so if it is not finite
    pixels = attribution.amax(0).cpu().double().numpy()
    image = problem.view.image
    if np.ptp(image) == 0:
        values = np.full(pixels.shape, pixels.mean(), np.float32)
        return replace(step, values=values, warnings=("The picture has one colour, so it has no regions.",))
    return replace(step, values=gains(pixels, regions(image)).astype(np.float32))


def _from_both(problem: Problem, n_steps: int) -> Moves:
    from xai_widgets.gradients import wide

    planes, end = problem.view.planes, wide(problem.inputs)
    both = (problem.view.encode(np.full_like(planes, level)) for level in (0, 255))
    paths = (straight(wide(problem.classifier.tensor(start)), end, n_steps) for start in both)
    return ((point, step / 2) for point, step in chain.from_iterable(paths))


def regions(image: np.ndarray) -> csr_array:
    """Overlapping regions of a picture uint8 (h, w, 3): one row each, one column a pixel."""
    from scipy.sparse import csr_array
    from skimage.segmentation import felzenszwalb
    from skimage.transform import resize

    shape, low = image.shape[:2], image.min()
    levels = (image - low.astype(float)) / np.ptp(image) * 2 - 1
    small = resize(levels, (_SIDE, _SIDE), order=3, mode="constant", anti_aliasing=True)
    reach = max(1, round(5 * min(shape) / _SIDE))
    members = []
    for scale in _SCALES:
        labels = felzenszwalb(small, scale=scale, sigma=0.8, min_size=150)
        enlarged = resize(labels, shape, order=0, mode="constant", preserve_range=True, anti_aliasing=False)
        members += list(_grown(enlarged.astype(int), reach))
    columns = np.concatenate(members)
    starts = np.cumsum([0, *map(len, members)])
    return csr_array((np.ones(len(columns)), columns, starts), shape=(len(members), shape[0] * shape[1]))


def _grown(labels: np.ndarray, reach: int) -> Iterator[np.ndarray]:
    """The flat pixel numbers of each label's region, grown by a disk."""
    from scipy.ndimage import binary_dilation, find_objects
    from skimage.morphology import disk

    footprint = disk(reach)
    for label, box in enumerate(find_objects(labels + 1)):
        if box is None:  # too small to survive the change of size
            continue
        rows, cols = (slice(max(0, side.start - reach), side.stop + reach) for side in box)
        y, x = np.nonzero(binary_dilation(labels[rows, cols] == label, footprint))
        yield (y + rows.start) * labels.shape[1] + x + cols.start


def gains(pixels: np.ndarray, members: csr_array) -> np.ndarray:
    """Take in regions, the highest mean of what is new first, and give each new piece that mean; (h, w) → (h, w).

    A region that would add next to nothing is left out. What is covered by none in the end gets its own mean.
    """
    least = max(1.0, 50 * pixels.size / _SIDE**2)
    values, left = pixels.ravel(), np.ones(pixels.size, bool)
    found = np.empty(pixels.size)
    by_pixel = members.tocsc()
    counts, sums = members.sum(1), members @ values
    while (counts >= least).any():
        means = np.divide(sums, counts, out=np.full(len(counts), -np.inf), where=counts >= least)
        best = int(means.argmax())
        piece = members.indices[members.indptr[best] : members.indptr[best + 1]]
        piece = piece[left[piece]]
        found[piece], left[piece] = values[piece].mean(), False
        counts -= by_pixel[:, piece].sum(1)
        sums -= by_pixel[:, piece] @ values[piece]
    if left.any():
        found[left] = values[left].mean()
    return found.reshape(pixels.shape)


INFO = MethodInfo(
    name="xrai",
    label="XRAI",
    family="gradient",
    summary="Integrated gradients gathered into regions, best first. "
    "Read the ranking; its crisp borders are the picture's.",
    run=xrai,
    params=(
        Param(
            "n_steps",
            int,
            50,
            "Points on the way from black, and again from white. The authors took 100 even steps; these are placed "
            "better (Gauss-Legendre).",
            2,
            2000,
        ),
    ),
    needs="gradients",
    space="logit",
    cost=lambda problem, n_steps=50: 2 * n_steps,
    source="Kapishnikov et al., XRAI: Better Attributions Through Regions, ICCV 2019",
    quick={"n_steps": 4},
)
