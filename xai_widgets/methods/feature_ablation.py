"""Feature ablation: switch off one region at a time, and see how far the answer falls."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xai_widgets.problem import Estimate, Problem, Steps
from xai_widgets.registry import MethodInfo

_CHUNK = 64
"""Masks made at once, so that they need no memory of their own however many regions there are."""


def _masks(n_segments: int) -> Iterator[np.ndarray]:
    """All on, then each region off alone."""
    yield np.ones((1, n_segments), bool)
    for start in range(0, n_segments, _CHUNK):
        off = np.arange(start, min(start + _CHUNK, n_segments))
        yield off[:, None] != np.arange(n_segments)


def feature_ablation(problem: Problem) -> Steps:
    """``f(x) - f(x with the region off)`` for each region, alone: Zeiler and Fergus's (2014, §4.2) over regions.

    Nothing is drawn, so the standard errors are zero: the numbers are what was measured. Regions that stand in for each
    other come out small, since each is missed only once the others are off, too. A region not asked about yet is 0.

    Proof: equals captum's FeatureAblation on the same regions and baseline to 1e-6; a linear model gives each region's
    share (tests/test_perturbation.py).
    """
    n_segments = problem.n_segments
    falls, whole, done = np.zeros(n_segments), None, 0
    for _, answers in problem.perturb(_masks(n_segments)):
        scores = problem.target.of(answers)
        if whole is None:
            whole, scores = float(scores[0]), scores[1:]
            done += 1
        falls[done - 1 : done - 1 + len(scores)] = whole - scores
        done += len(scores)
        yield Estimate(
            regions=falls.copy() if done > 1 else None,
            std_error=np.zeros(n_segments) if done == n_segments + 1 else None,
            done=done,
            total=n_segments + 1,
            n_forward=done,
        )


INFO = MethodInfo(
    name="feature_ablation",
    label="Feature ablation",
    family="perturbation",
    summary="Switches off one region at a time and measures the fall. Direct; misses regions that work together.",
    run=feature_ablation,
    additive=True,
    linear=True,
    cost=lambda problem: problem.n_segments + 1,
    source="Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014",
)
