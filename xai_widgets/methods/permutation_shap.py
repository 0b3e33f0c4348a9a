"""Permutation SHAP: Shapley values of the regions from random orders, each walked forwards and backwards."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xai_widgets.methods._settling import NORMAL
from xai_widgets.problem import Estimate, Problem, Steps
from xai_widgets.registry import MethodInfo, Param

_CHUNK = 64
"""Masks made at once, about; of few regions that is several orders."""


def orders(rng: np.random.Generator, n_permutations: int, n_segments: int) -> Iterator[np.ndarray]:
    """Random orders in which the regions are switched on."""
    for _ in range(n_permutations):
        yield rng.permutation(n_segments)


def _walk(order: np.ndarray) -> np.ndarray:
    """What is on at each step between nothing and everything: forwards, and then in the reverse order.

    Half of the second walk is the first with on and off exchanged, so a pair of walks is balanced.
    """
    place = np.argsort(order)
    steps = np.arange(1, len(order))[:, None]
    return np.concatenate([place < steps, place >= len(order) - steps])


def _shares(order: np.ndarray, scores: np.ndarray, empty: float, whole: float) -> np.ndarray:
    """What each region added when it was switched on, averaged over the two walks of `_walk`."""
    forwards, backwards = scores.reshape(2, -1)
    shares = np.empty(len(order))
    shares[order] = np.diff(forwards, prepend=empty, append=whole)
    shares[order[::-1]] += np.diff(backwards, prepend=empty, append=whole)
    return shares / 2


def permutation_shap(problem: Problem, *, n_permutations: int = 10) -> Steps:
    """Shapley values by sampling orders (Castro, Gómez and Tejada 2009), in antithetic pairs as shap does it.

    ``φ_i`` is the mean of ``f(those before i, and i) - f(those before i)`` over orders of the regions. Each order is
    walked in both directions, which is exact where no more than two regions act together (Mitchell et al. 2022). The
    default of ten pairs is that of shap's PermutationExplainer. The shares of every pair add up to the whole change;
    standard errors are those of the mean over pairs, stretched so that 1.96 of them are Student's interval of 95 %.

    Proof: equals shap's PermutationExplainer on the same orders to 1e-6; one pair is exact for games of pairs, and many
    come to exact enumeration; the errors match the spread over seeds (tests/test_perturbation.py).
    """
    n_segments, total = problem.n_segments, _cost(problem, n_permutations)
    empty, whole = map(float, problem.scores(np.array([[False] * n_segments, [True] * n_segments])))
    if n_segments == 1:
        yield Estimate(regions=np.array([whole - empty]), std_error=np.zeros(1), done=2, total=2, n_forward=2)
        return
    yield Estimate(done=2, total=total, n_forward=2)
    drawn = list(orders(problem.rng(), n_permutations, n_segments))
    width = 2 * (n_segments - 1)
    scores = np.zeros(n_permutations * width)
    shares, done = np.zeros((0, n_segments)), 0
    several = max(1, _CHUNK // width)
    walks = (
        np.concatenate([_walk(order) for order in drawn[at : at + several]]) for at in range(0, len(drawn), several)
    )
    for _, answers in problem.perturb(walks):
        scores[done : done + len(answers)] = problem.target.of(answers)
        done += len(answers)
        while (len(shares) + 1) * width <= done:
            at = len(shares)
            walked = _shares(drawn[at], scores[at * width : (at + 1) * width], empty, whole)
            shares = np.vstack([shares, walked])
        yield _estimate(shares, done + 2, total, whole - empty)


def _estimate(shares: np.ndarray, done: int, total: int, change: float) -> Estimate:
    if len(shares) == 0:
        return Estimate(done=done, total=total, n_forward=done)
    n_pairs, n_segments = shares.shape
    values = shares.mean(0)
    errors, notes = None, ()
    if n_segments == 2:
        errors = np.zeros(2)  # both orders were walked
    elif n_pairs > 1:
        from scipy.special import stdtrit

        # Ten pairs leave nine degrees of freedom: stretched, so that 1.96 errors are Student's interval of 95 %.
        errors = shares.std(0, ddof=1) / np.sqrt(n_pairs) * stdtrit(n_pairs - 1, 0.975) / NORMAL
    elif done == total:
        notes = ("One permutation does not say how sure these shares are; take 2 or more.",)
    return Estimate(
        regions=values,
        std_error=errors,
        done=done,
        total=total,
        n_forward=done,
        checks={"completeness_gap": (abs(float(values.sum()) - change), "holds by construction")},
        warnings=notes,
    )


def _cost(problem: Problem, n_permutations: int = 10) -> int:
    return 2 + n_permutations * 2 * (problem.n_segments - 1)


INFO = MethodInfo(
    name="permutation_shap",
    label="Permutation SHAP",
    family="perturbation",
    summary="Switches regions on in random orders and shares the answer out by what each adds, with its error.",
    run=permutation_shap,
    params=(
        Param(
            "n_permutations",
            int,
            10,
            "Random orders, each walked forwards and backwards; shap's default.",
            1,
            10_000,
        ),
    ),
    additive=True,
    linear=True,
    cost=_cost,
    source="Castro, Gómez and Tejada, Polynomial Calculation of the Shapley Value Based on Sampling, 2009",
    quick={"n_permutations": 1},
    aliases=("shapley_sampling",),
)
