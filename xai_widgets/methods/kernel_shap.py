"""Kernel SHAP: Shapley values of the regions, by the shap library's kernel explainer on our stream."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from xai_widgets.problem import Estimate, Pace, Problem, Steps
from xai_widgets.registry import MethodInfo, Param

_GROUPS = 10
"""Blocks of the jackknife; ten is the usual compromise between its own noise and the number of fits."""


class _Plan:
    """Which coalitions shap's KernelExplainer wants to see, and its solver for any part of them.

    The explainer picks its coalitions without looking at the answers, so it is run once on a stub to learn them. Then
    the stream asks the model, and the explainer's own ``solve`` turns answers into Shapley values.
    """

    def __init__(self, n_segments: int, n_samples: int, seed: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numba and matplotlib speak up when shap is imported
            from xai_widgets.guard import same_randomness

            with same_randomness():  # the explainer draws from numpy's global generator, which belongs to the user
                import shap

                np.random.seed(seed)  # noqa: NPY002
                stub = shap.KernelExplainer(lambda rows: np.zeros(len(rows)), np.zeros((1, n_segments)))
                stub.shap_values(np.ones((1, n_segments)), nsamples=n_samples, l1_reg=False, silent=True)
        self._explainer = stub
        used = stub.nsamplesAdded
        self.masks = stub.maskMatrix[:used].astype(bool)
        self.weights = stub.kernelWeights[:used].copy()
        # Completely enumerated sizes come first, with weights that are exact; the rest are random draws.
        sizes = np.minimum(self.masks.sum(1), n_segments - self.masks.sum(1))
        complete = [size for size in np.unique(sizes) if (sizes == size).sum() >= _n_coalitions(n_segments, int(size))]
        self.drawn = ~np.isin(sizes, complete)

    def solve(self, rows: np.ndarray, scores: np.ndarray, empty: float, whole: float) -> np.ndarray:
        """Shapley values (S,) from the coalitions in `rows`; the drawn ones stand for all that were planned."""
        weights = self.weights[rows].copy()
        drawn = self.drawn[rows]
        if drawn.any():
            weights[drawn] *= self.weights[self.drawn].sum() / weights[drawn].sum()
        explainer = self._explainer
        explainer.maskMatrix = self.masks[rows].astype(float)
        explainer.kernelWeights = weights
        explainer.ey = scores[rows][:, None]
        explainer.fx, explainer.fnull = np.array([whole]), np.array([empty])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it calls a fit of too few coalitions singular; `_estimate` says so better
            return explainer.solve(1.0, 0)[0]


def _n_coalitions(n_segments: int, size: int) -> int:
    """Coalitions of this size and of its complement's."""
    from math import comb

    return comb(n_segments, size) * (1 if 2 * size == n_segments else 2)


def kernel_shap(problem: Problem, *, n_samples: int | None = None) -> Steps:
    """Kernel SHAP over regions (Lundberg and Lee 2017, theorem 2), without its default feature selection.

    The default number of coalitions is shap's, ``2 S + 2048``; with ``2 ** S - 2`` or more every coalition is asked
    and the values are exact. shap's ``l1_reg`` default would set all but ten regions to zero, so it is off. Standard
    errors come from a jackknife over ten blocks of the drawn coalitions; they are zero where all were asked.

    Proof: equals exact enumeration for 8 regions to 1e-6; dummy, symmetry, efficiency; the errors match the spread
    over seeds (tests/test_methods.py).
    """
    n_segments = problem.n_segments
    total = _cost(problem, n_samples)
    ends = problem.scores(np.array([[False] * n_segments, [True] * n_segments]))
    empty, whole = float(ends[0]), float(ends[1])
    if n_segments == 1:
        yield Estimate(regions=np.array([whole - empty]), std_error=np.zeros(1), n_forward=2)
        return
    plan = _Plan(n_segments, total - 2, problem.seed)
    total = len(plan.masks) + 2
    yield Estimate(done=2, total=total, n_forward=2)
    scores = np.zeros(len(plan.masks))
    done, pace, estimate = 0, Pace(), None
    for batch, answers in problem.perturb([plan.masks]):
        scores[done : done + len(batch)] = problem.target.of(answers)
        done += len(batch)
        # Fewer coalitions than regions cannot be solved.
        if done == len(plan.masks) or (done >= 2 * n_segments and pace.due()):
            estimate = _estimate(plan, scores, done, total, empty, whole)
        yield replace(estimate or Estimate(total=total), done=done + 2, n_forward=done + 2)


def _estimate(plan: Any, scores: np.ndarray, done: int, total: int, empty: float, whole: float) -> Estimate:
    rows = np.arange(done)
    values = plan.solve(rows, scores, empty, whole)
    n_segments, asked = plan.masks.shape[1], len(plan.masks)
    errors, notes = None, ()
    if plan.drawn.any() and asked < 3 * n_segments:
        notes = (f"{asked + 2} samples are too few for {n_segments} regions; take {3 * n_segments + 2} or more.",)
    elif done == asked:
        errors = _jackknife(plan, scores, empty, whole)
    gap = abs(float(values.sum()) - (whole - empty))
    return Estimate(
        regions=values,
        std_error=errors,
        done=done + 2,
        total=total,
        checks={"completeness_gap": (gap, "holds by construction" if plan.drawn.any() else "exact")},
        warnings=notes,
    )


def _jackknife(plan: Any, scores: np.ndarray, empty: float, whole: float) -> np.ndarray:
    drawn = np.flatnonzero(plan.drawn)
    n_segments = plan.masks.shape[1]
    if len(drawn) == 0:
        return np.zeros(n_segments)
    # A drawn coalition and its complement come side by side and stay in one block: their errors cancel, and a jackknife
    # that tears them apart is twice too large. Coalitions of half the regions come alone.
    first = np.append(True, (plan.masks[drawn[1:]] == plan.masks[drawn[:-1]]).any(1))
    pair = np.cumsum(first) - 1
    left_out = np.stack(
        [
            plan.solve(np.setdiff1d(np.arange(len(scores)), drawn[pair % _GROUPS == block]), scores, empty, whole)
            for block in range(_GROUPS)
        ]
    )
    return np.sqrt((_GROUPS - 1) / _GROUPS * ((left_out - left_out.mean(0)) ** 2).sum(0))


def _cost(problem: Problem, n_samples: int | None = None) -> int:
    wanted = n_samples or 2 * problem.n_segments + 2048
    return min(wanted, 2**problem.n_segments) if problem.n_segments < 30 else wanted


INFO = MethodInfo(
    name="kernel_shap",
    label="Kernel SHAP",
    family="perturbation",
    summary="Shares the answer out fairly among the regions; the shares add up to the whole change.",
    run=kernel_shap,
    params=(
        Param(
            "n_samples",
            int,
            None,
            "Altered pictures to ask about. Default: 2·regions + 2048, shap's own.",
            4,
            1_000_000,
        ),
    ),
    additive=True,
    linear=True,
    cost=_cost,
    source="Lundberg and Lee, A Unified Approach to Interpreting Model Predictions, NeurIPS 2017",
    quick={"n_samples": 80},
    aliases=("shap",),
)
