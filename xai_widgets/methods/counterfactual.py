"""Counterfactual: the fewest regions that, switched off, turn the answer into another."""

from __future__ import annotations

import heapq
from collections.abc import Generator, Iterable
from itertools import combinations
from math import comb

import numpy as np

from xai_widgets.methods._answers import lead
from xai_widgets.problem import Estimate, Problem, Steps
from xai_widgets.registry import MethodInfo, Param
from xai_widgets.targets import name_of

Regions = frozenset[int]
"""Those that are off."""


def counterfactual(problem: Problem, *, n_samples: int = 1000) -> Steps:
    """A smallest set of regions without which the answer is another (SEDC: Martens and Provost 2014, algorithm 1).

    The class in question is on top until it is not; where it is not, the set is looked for that makes it so. Of "a
    rather than b", it is until the other is ahead; a function of the user's must lose half of its number
    (``_answers.lead``, the margin, tells; it is what falls to 0 at the flip).

    1. Best first: of all sets tried, the one with the smallest margin is tried with each further region (Vermeire et
       al. 2022, for superpixels; they rank by the probability alone).
    2. Regions that turned out to be needless are switched on again, so that none of those left could be.
    3. What remains of `n_samples` goes into smaller sets, all of one size at a time, as long as all fit.

    A region's number is how far the margin comes back if it alone is switched on again: enough to undo the flip.
    Positive ones hold the class up, negative ones keep it down.

    Proof: on 300 random games of up to 9 regions the set has the size that trying all sets gives, and it can never be
    reduced; sets found in parts 1 and 2 alone can not be either (tests/test_search.py).
    """
    search = _Search(problem, n_samples)
    yield from search.ask([frozenset()])
    found = yield from search.dive()
    smallest = False
    if found is not None:
        found = yield from search.reduce(found)
        found, smallest = yield from search.exhaust(found)
    yield search.report(found, smallest=smallest)


class _Search:
    def __init__(self, problem: Problem, budget: int) -> None:
        self.problem, self.everything = problem, frozenset(range(problem.n_segments))
        self.budget = budget - 1  # the last one asks for the probabilities of what was found
        self.margins: dict[Regions, float] = {}
        self.best: Regions | None = None
        self._lead = None

    def ask(self, sets: Iterable[Regions]) -> Generator[Estimate, None, list[float]]:
        """The margins of sets; only the model's first answer to each is asked for."""
        sets = list(sets)
        new = [regions for regions in dict.fromkeys(sets) if regions not in self.margins]
        masks = np.ones((len(new), len(self.everything)), bool)
        for mask, regions in zip(masks, new, strict=True):
            mask[list(regions)] = False
        done = 0
        for _, answers in self.problem.perturb([masks]):
            self._lead = self._lead or lead(self.problem, answers[:1])  # the whole picture comes first
            asked = new[done : done + len(answers)]
            self.margins.update(zip(asked, map(float, self._lead(answers)), strict=True))
            done += len(answers)
            yield self._estimate(self.best)
        return [self.margins[regions] for regions in sets]

    def affords(self, n: int) -> bool:
        """Whether `n` more may be asked about."""
        return len(self.margins) + n <= self.budget

    def flipped(self, regions: Regions) -> bool:
        """Whether the answer without these regions is another."""
        return (self.margins[regions] > 0) != self._had_its_way

    @property
    def _had_its_way(self) -> bool:
        return self.margins[frozenset()] > 0

    def distance(self, regions: Regions) -> float:
        """How far from the flip; negative beyond it."""
        return self.margins[regions] if self._had_its_way else -self.margins[regions]

    def dive(self) -> Generator[Estimate, None, Regions | None]:
        """Best first until something flips."""
        heap = [(self.distance(frozenset()), 0, frozenset())]
        while heap:
            _, _, regions = heapq.heappop(heap)
            wider = [regions | {other} for other in sorted(self.everything - regions)]
            wider = [each for each in wider if each not in self.margins]
            if not self.affords(len(wider) + len(regions) + 1):  # and one look at the set without each of its regions
                return None
            yield from self.ask(wider)
            flips = [each for each in wider if self.flipped(each)]
            if flips:
                return min(flips, key=self.distance)
            for each in wider:
                heapq.heappush(heap, (self.distance(each), len(self.margins) + len(heap), each))
        return None

    def reduce(self, found: Regions) -> Generator[Estimate, None, Regions]:
        """Switch on again what is not needed, the least needed first."""
        while True:
            fewer = [found - {region} for region in sorted(found)]
            yield from self.ask(fewer)
            self.best = found
            flips = [each for each in fewer if self.flipped(each)]
            if not flips or not self.affords(len(found) - 1):
                return found
            found = min(flips, key=self.distance)

    def exhaust(self, found: Regions) -> Generator[Estimate, None, tuple[Regions, bool]]:
        """Look for a smaller set, size by size; whether there can be none smaller than the one returned."""
        n = len(self.everything)
        for size in range(1, len(found)):
            tried = sum(len(regions) == size for regions in self.margins)
            if not self.affords(comb(n, size) - tried):
                return found, False
            all_of_them = [frozenset(each) for each in combinations(range(n), size)]
            yield from self.ask(all_of_them)
            flips = [each for each in all_of_them if self.flipped(each)]
            if flips:
                self.best = min(flips, key=self.distance)
                return self.best, True
        return found, True

    def _estimate(self, found: Regions | None) -> Estimate:
        asked = len(self.margins)
        if found is None:
            return Estimate(done=asked, total=self.budget + 1, n_forward=asked)
        values = np.zeros(len(self.everything))
        for region in found:
            values[region] = self.margins[found - {region}] - self.margins[found]
        return Estimate(regions=values, done=asked, total=self.budget + 1, n_forward=asked)

    def report(self, found: Regions | None, *, smallest: bool) -> Estimate:
        """The result, with what the model says instead."""
        from xai_widgets.perturb import compose

        problem, off = self.problem, self.everything if found is None else found
        mask = np.array([[region not in off for region in sorted(self.everything)]])
        (now,) = problem.classifier.answers(compose(problem, mask), "probability")
        n, asked = len(off), len(self.margins) + 1
        regions = "1 region" if n == 1 else f"{n} regions"
        if found is None:
            why = f"No set of regions was found without which the answer is another, among {asked - 1} tried."
            if self._flips(now):
                why = (
                    f"With all regions off {self._says(now)}, but {asked - 1} pictures were too few to find out which "
                    "of them it takes. Give it more, n_samples=…, or cut the picture into fewer regions."
                )
            else:
                why = f"{why} With all of them off {self._says(now)}."
            notes, checks = [why], {}
            values = np.zeros(n)
        else:
            values = self._estimate(found).regions
            notes = [f"Without {regions} {self._says(now)}."]
            checks = {"regions_needed": (float(n), "the fewest there are" if smallest else "the fewest found")}
            if any(self.flipped(found - {region}) for region in found):
                notes.append("The pictures ran out before it was known whether all of them are needed: n_samples=…")
        return Estimate(regions=values, done=asked, total=asked, n_forward=asked, checks=checks, warnings=tuple(notes))

    def _flips(self, now: np.ndarray) -> bool:
        """Whether probabilities (C,) make another answer; False where that hangs on more than which class leads."""
        target = self.problem.target
        if target.function is not None or self.problem.classifier.kind.startswith("multi-label"):
            return False
        other = np.delete(now, target.index).max() if target.rather_than is None else now[target.rather_than]
        return bool(now[target.index] > other) != self._had_its_way

    def _says(self, now: np.ndarray) -> str:
        """What the answer is, in half a sentence."""
        target, several = self.problem.target, self.problem.classifier.kind.startswith("multi-label")
        if target.function is not None:
            return f"{target.name} is {target.of(now[None])[0]:.3g} in probabilities"
        names = self.problem.class_names
        if target.rather_than is not None:
            pair = (target.index, target.rather_than)
            return " and ".join(f"{name_of(each, names)} has {now[each]:.1%}" for each in pair)
        if several:
            return f"{target.name} has {now[target.index]:.1%}"
        top = int(now.argmax())
        return f"the answer is {target.name if top == target.index else name_of(top, names)} ({now[top]:.1%})"


def _cost(problem: Problem, n_samples: int = 1000) -> int:
    """At most; it ends when no smaller set can be."""
    return min(n_samples, 2 ** min(problem.n_segments, 40) + 1)


INFO = MethodInfo(
    name="counterfactual",
    label="Counterfactual",
    family="perturbation",
    summary="The fewest regions without which the answer is another. Says what would change it, not all that matters.",
    run=counterfactual,
    params=(
        Param(
            "n_samples",
            int,
            1000,
            "Altered pictures to ask about at most. Default: enough for sets of up to 20 out of 50 regions.",
            4,
            1_000_000,
        ),
    ),
    space="logit",
    cost=_cost,
    source="Martens and Provost, Explaining Data-Driven Document Classifications, MIS Quarterly 2014",
    quick={"n_samples": 60},
)
