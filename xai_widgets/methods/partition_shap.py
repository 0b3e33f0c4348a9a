"""Partition SHAP: the answer shared out down a hierarchy, parts that matter first; Owen values."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field, replace

import numpy as np

from xai_widgets.methods._trees import Node, Pixels, Tree, tree
from xai_widgets.problem import Estimate, Pace, Problem, Steps
from xai_widgets.registry import MethodInfo, Param

_ROUND = 5
"""Parts cut at once before the queue is looked at again: ten pictures, shap's own. Never the batch size, on which the
order of the queue, and so the map, must not depend."""


@dataclass(order=True, frozen=True)
class _Part:
    """A part of the picture to be cut in two, in the context of others that are on.

    Parts are taken in the order of how much of the answer they still hold; among equals the older comes first.
    """

    priority: float
    number: int
    node: Node = field(compare=False)
    context: tuple[Node, ...] = field(compare=False)
    before: float = field(compare=False)
    after: float = field(compare=False)
    weight: float = field(compare=False)

    @property
    def share(self) -> float:
        """What switching it on adds here, weighed by how often that comes up."""
        return (self.after - self.before) * self.weight


class _Shares:
    """Owen's recursion: what has been shared out among leaves, and the parts that still hold theirs together."""

    def __init__(self, hierarchy: Tree, empty: float, whole: float) -> None:
        self.tree = hierarchy
        self._values = np.zeros(hierarchy.shape)
        self._queue: list[_Part] = []
        self._numbers = itertools.count()
        self._put(hierarchy.root, (), empty, whole, 1.0)

    def _put(self, node: Node, context: tuple[Node, ...], before: float, after: float, weight: float) -> None:
        part = _Part(-abs(after - before) * weight, next(self._numbers), node, context, before, after, weight)
        if self.tree.split(node) is None:
            self._values[self.tree.leaves(node)] += part.share
        else:
            heapq.heappush(self._queue, part)

    def take(self, most: int) -> list[_Part]:
        """The parts that hold most of the answer, to be cut next."""
        return [heapq.heappop(self._queue) for _ in range(min(most, len(self._queue)))]

    def masks(self, parts: list[_Part]) -> np.ndarray:
        """Two pictures for each part: one half of it on, and the other."""
        masks = np.zeros((2 * len(parts), *self.tree.shape), bool)
        for at, part in enumerate(parts):
            for side, half in enumerate(self.tree.split(part.node)):
                for node in (*part.context, half):
                    masks[2 * at + side][self.tree.leaves(node)] = True
        return masks

    def cut(self, part: _Part, left_alone: float, right_alone: float) -> None:
        """Each half gets the mean of what it adds before and after the other one."""
        left, right = self.tree.split(part.node)
        context, weight = part.context, part.weight / 2
        self._put(left, context, part.before, left_alone, weight)
        self._put(right, context, part.before, right_alone, weight)
        self._put(left, (*context, right), right_alone, part.after, weight)
        self._put(right, (*context, left), left_alone, part.after, weight)

    @property
    def complete(self) -> bool:
        """Whether everything is shared out, so that the values are exact."""
        return not self._queue

    def values(self) -> np.ndarray:
        """One number a leaf; what a part still holds together goes to its leaves in equal shares."""
        values = self._values.copy()
        for part in self._queue:
            below = self.tree.leaves(part.node)
            values[below] += part.share / values[below].size
        return values


def partition_shap(problem: Problem, *, hierarchy: str = "regions", max_evals: int = 500) -> Steps:
    """Owen values (Owen 1977) down a hierarchy, by shap's PartitionExplainer's recursion and order.

    A part's share is cut in two by ``½ (f10 - f00) + ½ (f11 - f01)``: what one half adds without and with the other.
    The part that holds most of the answer is cut next; when `max_evals` pictures have been asked, what a part still
    holds goes to its leaves in equal shares. So the shares always add up to the whole change, and are exact Owen values
    once everything is cut, which the check "completeness_gap" calls exact.

    "regions" joins neighbouring regions, those alike in colour first; "image" halves the picture down to pixels, as
    shap's image masker does, for a map that owes nothing to the regions. Both defaults of shap are kept: 500 pictures,
    ten a round. Ties, which shap breaks at random, go to the older part.

    Proof: equals shap's PartitionExplainer on the same hierarchy and number of pictures to 1e-6, with its image masker
    too; complete ones equal enumeration of all orders that respect the tree to 1e-6 (tests/test_perturbation.py).
    """
    parts = tree(problem, hierarchy)
    nothing = np.zeros(parts.shape, bool)
    empty, whole = map(float, problem.scores(np.stack([nothing, ~nothing])))
    shares, total, pace = _Shares(parts, empty, whole), _total(parts, max_evals), Pace()
    done, estimate = 2, Estimate()
    while done < total:
        chosen = shares.take(min(_ROUND, (total - done) // 2))
        alone: list[float] = []
        for _, answers in problem.perturb([shares.masks(chosen)]):
            alone.extend(problem.target.of(answers))
            now = done + len(alone)
            if len(alone) < 2 * len(chosen):
                yield replace(estimate, done=now, total=total, n_forward=now)
        for part, left, right in zip(chosen, alone[::2], alone[1::2], strict=True):
            shares.cut(part, left, right)
        done = now
        if done < total:
            if pace.due():
                estimate = _estimate(shares, whole - empty)
            yield replace(estimate, done=done, total=total, n_forward=done)
    yield replace(_estimate(shares, whole - empty), done=done, total=total, n_forward=done)


def _estimate(shares: _Shares, change: float) -> Estimate:
    values = shares.values()
    gap = abs(float(values.sum()) - change)
    checks = {"completeness_gap": (gap, "exact" if shares.complete else "holds by construction")}
    if values.ndim == 2:
        return Estimate(values=values.astype(np.float32), checks=checks)
    # What is not cut yet is no matter of chance, so there is no standard error to tell.
    return Estimate(regions=values, std_error=np.zeros(len(values)) if shares.complete else None, checks=checks)


def _total(parts: Tree, max_evals: int) -> int:
    """Pictures asked: nothing, everything, and two a cut; like shap one more than an odd number allows."""
    return 2 + 2 * min((max_evals - 1) // 2, parts.n_splits)


def _cost(problem: Problem, hierarchy: str = "regions", max_evals: int = 500) -> int:
    cuts = (max_evals - 1) // 2
    # No hierarchy of so many regions takes fewer cuts than halving, so as a rule none has to be built to say the price.
    if hierarchy == "regions" and cuts <= Pixels((1, problem.n_segments)).n_splits:
        return 2 + 2 * cuts
    return _total(tree(problem, hierarchy), max_evals)


INFO = MethodInfo(
    name="partition_shap",
    label="Partition SHAP",
    family="perturbation",
    summary="Shares the answer out between ever smaller parts, those that matter first. The shares add up.",
    run=partition_shap,
    params=(
        Param(
            "hierarchy",
            str,
            "regions",
            "What is cut: regions joined by colour and place, or the image by halves, as shap's image masker does.",
            choices=("regions", "image"),
        ),
        Param("max_evals", int, 500, "Altered pictures to ask about at most; shap's default.", 4, 1_000_000),
    ),
    additive=True,
    cost=_cost,
    source="Owen, Values of Games with a Priori Unions, 1977; shap's PartitionExplainer",
    quick={"max_evals": 24},
)
