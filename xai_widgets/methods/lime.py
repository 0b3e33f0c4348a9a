"""LIME: a weighted linear model of the answer over regions that are on or off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from xai_widgets.methods import _settling
from xai_widgets.methods._algebra import on_one_thread
from xai_widgets.methods._settling import Rule, least, looks, student, until
from xai_widgets.problem import Estimate, Problem, Steps
from xai_widgets.registry import MethodInfo, Param

_RIDGE = 1.0
"""What lime passes to scikit-learn's Ridge."""

_CHUNK = 64
"""Masks made at once."""

_BLOCK = 4096
"""Masks unpacked at once."""


def paired_masks(rng: np.random.Generator, n_samples: int, n_segments: int) -> Iterator[np.ndarray]:
    """LIME's masks: all on first, then fair coins, each followed by its complement.

    Pairs halve the samples needed for the same error from about 300 on (measured in the project's reference, part F)
    and leave each mask distributed as in LIME; balancing the columns over several pairs gained nothing on top. The
    first masks are the same however many are asked for.
    """
    yield np.ones((1, n_segments), bool)
    left = n_samples - 1
    while left > 0:
        half = rng.random((_CHUNK // 2, n_segments)) < 0.5
        pairs = np.stack([half, ~half], axis=1).reshape(-1, n_segments)[:left]
        left -= len(pairs)
        yield pairs


def cosine_distances(masks: np.ndarray) -> np.ndarray:
    """Cosine distance of each mask to all-on, as LIME measures it; the empty mask is at distance 1."""
    return 1 - np.sqrt(masks.mean(axis=1))


def lime(
    problem: Problem,
    *,
    n_samples: int = 1000,
    kernel_width: float = 0.25,
    confidence: float | None = 0.95,
    top: int = 5,
) -> Steps:
    """The weights of lime's own ridge regression on our stream of masks (Ribeiro, Singh and Guestrin 2016, equation 2).

    Defaults are those of ``lime.lime_image`` 0.2.0.1: 1000 samples, kernel width 0.25, cosine distance, Ridge(1). The
    number of samples is an upper limit: the run stops by itself once the order of the `top` strongest regions is
    settled at `confidence` (see `Rule`).

    Standard errors are those of the weighted ridge estimator, robust to unequal variance and clustered by pair,
    stretched to Student's intervals, with what the ridge is known to take off each weight added in squares: lime's
    weights are that much smaller than those it would give for samples without end. They cover the sampling of the
    masks, not what a linear model cannot say.

    Proof: weights equal lime's on the same masks and distances to 1e-6; an additive model is recovered
    (tests/test_methods.py); intervals cover the converged weights of a real network, the order it stops at is right as
    often as stated, and the first samples of a longer run are those of a shorter one (tests/test_estimators.py).
    """
    total, n_segments = max(n_samples, 4), problem.n_segments
    at = looks(10, total)
    rule = Rule(confidence, top, max(1, sum(look >= least(n_segments) for look in at)))
    fit, estimate, before, done = _Fit(n_segments, kernel_width), Estimate(), None, 0
    for batch, answers in problem.perturb(until(at, paired_masks(problem.rng(), total, n_segments))):
        fit.hear(batch, problem.target.of(answers))
        done += len(batch)
        if done in at:
            estimate = fit.estimate(rule)
            if done >= least(n_segments):
                total = done if rule.stops(estimate, before) else total
                before = estimate
        yield replace(estimate, done=done, total=total, n_forward=done)
        if done == total:
            return


class _Fit:
    """Ridge regression with an unpenalised intercept. Masks are kept as bits: 32 bytes for 256 regions."""

    def __init__(self, n_segments: int, kernel_width: float) -> None:
        self._n_segments, self._width = n_segments, kernel_width
        self._bits: list[np.ndarray] = []
        self._scores: list[np.ndarray] = []

    def hear(self, masks: np.ndarray, scores: np.ndarray) -> None:
        """Add answers."""
        self._bits.append(np.packbits(masks, axis=1))
        self._scores.append(np.array(scores))

    @on_one_thread()
    def estimate(self, rule: Rule) -> Estimate:
        """Weights, their errors where there are pairs enough, and how settled their order is."""
        bits, scores = np.concatenate(self._bits), np.concatenate(self._scores)
        self._bits, self._scores = [bits], [scores]
        n, n_segments = len(scores), self._n_segments
        # Sums over weighted rows (1, mask, score): the normal equations and what R² needs, all in one.
        sums, squares = np.zeros((n_segments + 2, n_segments + 2)), 0.0
        for start in range(0, n, _BLOCK):
            rows, weights = self._rows(bits[start : start + _BLOCK])
            full = np.column_stack([np.ones(len(rows)), rows, scores[start : start + _BLOCK]])
            sums += (full * weights[:, None]).T @ full
            squares += float(weights @ weights)
        mass = sums[0, 0]
        centre = sums[0] / mass
        centred = sums - mass * np.outer(centre, centre)
        gram, right, spread = centred[1:-1, 1:-1], centred[1:-1, -1], centred[-1, -1]
        bread = np.linalg.inv(gram + _RIDGE * np.eye(n_segments))
        found = bread @ right
        effective = mass**2 / squares
        if effective < 2 * n_segments:
            # With about as many weights as samples the fit is close whatever is true, so it says nothing about itself.
            few = f"{n} altered pictures are too few for {n_segments} regions to say how sure these weights are."
            return Estimate(regions=found, checks={"effective_samples": (effective, "few")}, warnings=(few,))
        covariance, fourth, pairs = np.zeros((n_segments, n_segments)), np.zeros(n_segments), 0
        # Row 0 is the whole picture; then every two rows are a mask and its complement.
        for start in range(1, n, _BLOCK):
            rows, weights = self._rows(bits[start : start + _BLOCK])
            missed = scores[start : start + _BLOCK] - centre[-1] - (rows - centre[1:-1]) @ found
            pulls = (rows - centre[1:-1]) * (weights * missed)[:, None]
            if len(pulls) % 2:
                pulls = np.vstack([pulls, np.zeros(n_segments)])
            moved = (pulls[::2] + pulls[1::2]) @ bread
            covariance += moved.T @ moved
            fourth += (moved**4).sum(0)
            pairs += len(moved)
        # A pair says one thing about the weights, by what its two answers differ.
        used = float(np.trace(bread @ gram))
        left = max(1.0, pairs - used)
        errors, freedoms = student(covariance, fourth)
        errors, covariance = errors * np.sqrt(pairs / left), covariance * (pairs / left)
        shrunk = _RIDGE * bread @ found
        r2 = 1 - (spread - 2 * found @ right + found @ gram @ found) / spread if spread > 0 else 1.0
        sure = rule.probability(found, covariance, float(np.median(freedoms)))
        return Estimate(
            regions=found,
            std_error=np.sqrt(errors**2 + shrunk**2),
            checks={
                "fidelity_r2": (float(r2), "good" if r2 >= 0.6 else "rough"),
                "effective_samples": (effective, "good"),
                "ranking": rule.verdict(sure),
            },
        )

    def _rows(self, bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Masks as float64 (k, S), and their weights by lime's kernel."""
        rows = np.unpackbits(bits, axis=1, count=self._n_segments).astype(np.float64)
        return rows, np.sqrt(np.exp(-(cosine_distances(rows) ** 2) / self._width**2))


INFO = MethodInfo(
    name="lime",
    label="LIME",
    family="perturbation",
    summary="A weight for each region, with its error. Weights add up; regions acting together are averaged over.",
    run=lime,
    params=(
        Param("n_samples", int, 1000, "Altered pictures to ask about at most; lime's default.", 4, 1_000_000),
        Param(
            "kernel_width",
            float,
            0.25,
            "How fast altered pictures lose weight with distance; lime's default.",
            0.01,
            100,
        ),
        *_settling.PARAMS,
    ),
    additive=True,
    linear=True,
    cost=lambda problem, n_samples=1000, **rest: max(n_samples, 4),
    source="Ribeiro, Singh and Guestrin, “Why Should I Trust You?”, KDD 2016",
    quick={"n_samples": 14},
)
