"""LIME: a weighted linear model of the answer over regions that are on or off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from xai_widgets.problem import Estimate, Pace, Problem, Steps
from xai_widgets.registry import MethodInfo, Param


def paired_masks(rng: np.random.Generator, n_samples: int, n_segments: int, chunk: int = 64) -> Iterator[np.ndarray]:
    """LIME's masks: all on first, then fair coins, each followed by its complement.

    Pairs halve the samples needed for the same error from about 300 on (measured in the project's reference, part F)
    and leave each mask distributed as in LIME.
    """
    yield np.ones((1, n_segments), bool)
    left = n_samples - 1
    while left > 0:
        half = rng.random((min(chunk, left + 1) // 2 or 1, n_segments)) < 0.5
        pairs = np.stack([half, ~half], axis=1).reshape(-1, n_segments)[:left]
        left -= len(pairs)
        yield pairs


def cosine_distances(masks: np.ndarray) -> np.ndarray:
    """Cosine distance of each mask to all-on, as LIME measures it; the empty mask is at distance 1."""
    return 1 - np.sqrt(masks.mean(axis=1))


def lime(problem: Problem, *, n_samples: int = 1000, kernel_width: float = 0.25) -> Steps:
    """The weights of lime's own ridge regression on our stream of masks (Ribeiro, Singh and Guestrin 2016, equation 2).

    Defaults are those of ``lime.lime_image`` 0.2.0.1: 1000 samples, kernel width 0.25, cosine distance, Ridge(1).
    Standard errors are those of the weighted ridge estimator, robust to unequal variance and clustered by pair; they
    cover the sampling of the masks, not what a linear model cannot say.

    Proof: weights equal lime's on the same masks and distances to 1e-6; an additive model is recovered; the errors
    match the spread over seeds (tests/test_methods.py).
    """
    n_samples = max(n_samples, 4)
    masks: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    done, pace, estimate = 0, Pace(), None
    for batch, answers in problem.perturb(paired_masks(problem.rng(), n_samples, problem.n_segments)):
        masks.append(batch)
        scores.append(problem.target.of(answers))
        done += len(batch)
        if done == n_samples or (done >= 4 and pace.due()):
            estimate = _fit(np.concatenate(masks), np.concatenate(scores), kernel_width, done, n_samples)
        yield replace(estimate or Estimate(total=n_samples), done=done, n_forward=done)


def _fit(masks: np.ndarray, scores: np.ndarray, kernel_width: float, done: int, total: int) -> Estimate:
    from xai_widgets.guard import same_randomness

    with same_randomness():  # scikit-learn draws as it is imported
        from lime.lime_base import LimeBase

    def kernel(distances: np.ndarray) -> np.ndarray:
        return np.sqrt(np.exp(-(distances**2) / kernel_width**2))

    rows = masks.astype(np.float64)
    distances = cosine_distances(rows)
    intercept, ranked, r2, _ = LimeBase(kernel, random_state=0).explain_instance_with_data(
        rows, scores[:, None], distances, 0, rows.shape[1], feature_selection="none"
    )
    weights = np.zeros(rows.shape[1])
    weights[[int(region) for region, _ in ranked]] = [weight for _, weight in ranked]
    sample_weights = kernel(distances)
    effective = float(sample_weights.sum() ** 2 / (sample_weights**2).sum())
    estimate = Estimate(regions=weights, done=done, total=total)
    if effective < 2 * rows.shape[1]:
        # With about as many weights as samples the fit is close whatever is true, so it says nothing about itself.
        few = f"{done} altered pictures are too few for {rows.shape[1]} regions to say how sure these weights are."
        return replace(estimate, checks={"effective_samples": (effective, "few")}, warnings=(few,))
    return replace(
        estimate,
        std_error=_ridge_errors(rows, scores, weights, float(intercept), sample_weights),
        checks={
            "fidelity_r2": (float(r2), "good" if r2 >= 0.6 else "rough"),
            "effective_samples": (effective, "good"),
        },
    )


def _ridge_errors(
    masks: np.ndarray, scores: np.ndarray, weights: np.ndarray, intercept: float, sample_weights: np.ndarray
) -> np.ndarray:
    """Sandwich standard errors of Ridge(1) with an unpenalised intercept, clustered by mask and complement."""
    n, n_segments = masks.shape
    centre = np.average(masks, axis=0, weights=sample_weights)
    centred = masks - centre
    bread = np.linalg.inv((centred * sample_weights[:, None]).T @ centred + np.eye(n_segments))
    residuals = scores - (masks @ weights + intercept)
    pulls = centred * (sample_weights * residuals)[:, None]
    # Row 0 is the whole picture; then every two rows are a mask and its complement.
    cluster = np.concatenate([[0], 1 + np.arange(n - 1) // 2])
    summed = np.zeros((cluster[-1] + 1, n_segments))
    np.add.at(summed, cluster, pulls)
    meat = summed.T @ summed
    # HC1-like correction for the parameters that were fitted.
    used = float(np.sum(bread * ((centred * sample_weights[:, None]).T @ centred))) + 1
    correction = n / max(1.0, n - used)
    return np.sqrt(np.maximum(np.einsum("ij,jk,ki->i", bread, meat, bread) * correction, 0))


INFO = MethodInfo(
    name="lime",
    label="LIME",
    family="perturbation",
    summary="A weight for each region, with its error. Weights add up; regions acting together are averaged over.",
    run=lime,
    params=(
        Param("n_samples", int, 1000, "Altered pictures to ask about; lime's default.", 4, 1_000_000),
        Param(
            "kernel_width",
            float,
            0.25,
            "How fast altered pictures lose weight with distance; lime's default.",
            0.01,
            100,
        ),
    ),
    additive=True,
    linear=True,
    cost=lambda problem, n_samples=1000, kernel_width=0.25: n_samples,
    source="Ribeiro, Singh and Guestrin, “Why Should I Trust You?”, KDD 2016",
    quick={"n_samples": 14},
)
