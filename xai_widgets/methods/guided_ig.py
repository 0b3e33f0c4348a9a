"""Guided integrated gradients: a way from the baseline to the picture that keeps away from steep places."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from xai_widgets.methods._paths import balance
from xai_widgets.problem import Estimate, Problem, Steps
from xai_widgets.registry import MethodInfo, Param

if TYPE_CHECKING:
    from torch import Tensor


def guided_ig(problem: Problem, *, n_steps: int = 200, fraction: float = 0.25, max_dist: float = 0.02) -> Steps:
    """Gradients along a path that first changes what the score reacts to least (Kapishnikov et al. 2021, algorithm 1).

    Each step shortens the L1 distance to the picture by one `n_steps`-th. It moves the `fraction` of the inputs with
    the smallest gradients, none further than `max_dist` from the straight line (the paper's anchors, as a band). So
    steep spots far from both ends, whose gradients are noise, weigh less. The path and its defaults are those of the
    authors' code. The integral along it is not: they take each step times the gradient before it, by which the inputs
    were just picked for being small, so what they miss is no accident (1.5 of 2.8 on EfficientNet-Lite0 and a photo);
    here it is the mean of the gradients before and after (0.08). The path depends on the class, so a contrast is not
    the difference of two maps. Pictures are asked one by one, for each step needs the last.

    Proof: the path is that of the authors' implementation (saliency 0.2.1) to 1e-9 at every step, and its gradients
    summed their way are its map to 1e-6; with ``max_dist=0`` it is integrated gradients by the trapezoid rule
    (tests/test_gradients.py).
    """
    import torch

    from xai_widgets.gradients import flat, gradient, wide

    start, end = (wide(picture).cpu().double().numpy() for picture in (problem.off_inputs, problem.inputs))
    across = end - start
    progress = np.zeros_like(across)  # from 0 at the baseline to 1 at the picture, for each input by itself
    slope, move, attribution = np.zeros_like(across), np.zeros_like(across), np.zeros_like(across)
    scores = []
    for step in range(n_steps + 1):
        found = gradient(problem, torch.from_numpy(start + progress * across).to(problem.inputs))
        scores.append(float(found.scores))
        before, slope = slope, _finite(wide(found.gradients[0]))
        attribution += (before + slope) / 2 * move
        count = step + 1
        if step < n_steps:
            moved = _advance(progress, slope, np.abs(across), count / n_steps, fraction, max_dist)
            progress, move = moved, (moved - progress) * across
            yield Estimate(done=count, total=n_steps + 1, n_forward=count)
    values = flat(torch.from_numpy(attribution))
    report = balance(problem, values, scores[-1], scores[0], f"Take smaller steps: n_steps={4 * n_steps}")
    yield Estimate(values=values, done=count, total=count, n_forward=count, **report)


def _finite(slope: Tensor) -> np.ndarray:
    from xai_widgets.gradients import flat

    flat(slope)  # says so if it is not; no path could be found then
    return slope.cpu().double().numpy()


def _advance(
    progress: np.ndarray, slope: np.ndarray, length: np.ndarray, share: float, fraction: float, max_dist: float
) -> np.ndarray:
    """The next point: `share` of the way on average over inputs, each weighted by the `length` it has to go."""
    low, high = max(share - max_dist, 0.0), min(share + max_dist, 1.0)
    target = (1 - share) * length.sum()
    progress = np.maximum(progress, low)  # what fell behind the band catches up
    steepness, rank = np.abs(slope), math.floor(fraction * (slope.size - 1))
    while True:
        left = float((length * (1 - progress)).sum())
        free = (progress < high) & (length > 0)
        if math.isclose(left, target, rel_tol=1e-9, abs_tol=1e-9) or not free.any():
            return progress
        ranked = np.where(free, steepness, np.inf)
        chosen = ranked <= np.partition(ranked, rank, axis=None)[rank]
        reach = float((length * (high - progress))[chosen].sum())
        if reach > left - target:
            return np.where(chosen, progress + (left - target) / reach * (high - progress), progress)
        progress = np.where(chosen, high, progress)


INFO = MethodInfo(
    name="guided_ig",
    label="Guided IG",
    family="gradient",
    summary="Integrated gradients on a way around steep places: less speckle. It adds up; slow, step waits for step.",
    run=guided_ig,
    params=(
        Param("n_steps", int, 200, "Steps on the way; the authors' default.", 2, 5000),
        Param("fraction", float, 0.25, "Share of the inputs that a step may move; the authors' default.", 0.01, 1),
        Param(
            "max_dist",
            float,
            0.02,
            "How far the way may leave the straight line, as a share of it; the authors' default. 0 is the straight "
            "line, 1 sets no limit.",
            0,
            1,
        ),
    ),
    needs="gradients",
    space="logit",
    cost=lambda problem, n_steps=200, fraction=0.25, max_dist=0.02: n_steps + 1,
    source="Kapishnikov et al., Guided Integrated Gradients, CVPR 2021",
    quick={"n_steps": 8},
)
