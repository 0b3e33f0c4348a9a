"""Anchors: the fewest regions that hold the answer, whatever becomes of the others."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace

import numpy as np

from xai_widgets.methods._answers import hold
from xai_widgets.problem import Estimate, Problem, Steps
from xai_widgets.registry import MethodInfo, Param

Anchor = tuple[int, ...]
"""Regions that stay on, in order."""


def anchors(
    problem: Problem,
    *,
    precision: float = 0.95,
    n_samples: int = 2000,
    delta: float = 0.05,
    off_share: float = 0.5,
    max_regions: int = 10,
    beam_width: int = 2,
) -> Steps:
    """The smallest set A with ``prec(A) = P(answer holds | A on) ≥ precision``, others off by chance.

    After Ribeiro, Singh and Guestrin (2018, equations 1 to 3): sets grow region by region, the best `beam_width` of a
    size at a time, until one holds; then each of its regions is let go if the others hold without it. The precision and
    `delta` are the paper's. Each other region is off with probability `off_share`, one half as in LIME. A set's
    coverage, the share of altered pictures that have all of it on, is then ``(1 - off_share)^|A|``: it needs no
    estimate, and the smallest set has the largest. A model that half of the picture is enough for needs no region on;
    with a larger `off_share` it will need some.

    The paper asks about each candidate by itself and finds with KL-LUCB which needs more. Here one sample serves all
    candidates: altered pictures that have A on and, by chance, region i too, are a fair sample of ``A + i``. A set is
    taken when its lower Clopper–Pearson bound at level `delta` reaches the precision. A quarter of `n_samples`, or
    more, is kept until the set is chosen and drawn afresh, so the bound that is shown, `precision_low`, holds with
    probability ``1 - delta`` however the set was found.

    The answer holds if the class stays on top, or "a rather than b" true. For a class that is not on top, and for a
    function of the user's, it holds while the number is at least half of the whole picture's (``_answers.hold``). A
    region's number is what the precision loses if it alone may go off: ``prec(A) - prec(A - i)``.

    Proof: where one region, or two or three together, decide, exactly these are found, with precision 1 and values
    within 4 standard errors of `off_share`; on random networks an independent sample of 2,000 agrees with the
    precision stated within 4 standard errors; of 200 searches where all sets are alike, and the best one found owes it
    to luck, no more than `delta` and 3 standard errors state a bound above the truth (tests/test_search.py).
    """
    search = _Search(problem, precision, n_samples, delta, off_share)
    (answers,) = [rows for _, rows in problem.perturb([np.ones((1, problem.n_segments), bool)])]
    search.holds, words = hold(problem, answers)
    accepted = yield from search.grow(min(max_regions, problem.n_segments), beam_width)
    yield from search.shrink(search.best if accepted is None else accepted)
    yield from search.measure()
    yield search.report(words, max_regions)


class _Search:
    def __init__(self, problem: Problem, precision: float, n_samples: int, delta: float, off_share: float) -> None:
        self.problem, self.precision, self.delta, self.off_share = problem, precision, delta, off_share
        self.total = n_samples
        self.round = n_samples // 20
        self.rng, self.n = problem.rng(), problem.n_segments
        self.holds: Callable[[np.ndarray], np.ndarray] = lambda rows: np.ones(len(rows), bool)
        # Of each altered picture: the number of the set it was drawn for, what was on, and whether the answer held.
        self.numbers: dict[Anchor, int] = {}
        self.drawn_for = np.zeros(n_samples - 1, int)
        self.on = np.zeros((n_samples - 1, self.n), bool)
        self.held = np.zeros(n_samples - 1, bool)
        self.drawn = 0
        self.best: Anchor = ()
        self.found: Anchor | None = None
        self.searched = 0
        """How many of the pictures served the search; those after it measure what was found."""

    def draw(self, anchor: Anchor, n: int) -> Steps:
        """Ask about `n` pictures with the anchor on."""
        on = self.rng.random((n, self.n)) >= self.off_share
        on[:, list(anchor)] = True
        for batch, answers in self.problem.perturb([on]):
            rows = slice(self.drawn, self.drawn + len(batch))
            self.on[rows], self.held[rows] = batch, self.holds(answers)
            self.drawn_for[rows] = self.numbers.setdefault(anchor, len(self.numbers))
            self.drawn += len(batch)
            yield self._estimate()

    def affords(self, n: int) -> bool:
        """Whether the search may draw `n` more."""
        return self.drawn + n <= self.total - self.total // 4 - 1

    def tally(self, anchor: Anchor) -> tuple[int, int]:
        """Pictures so far that are a fair sample of those with the anchor on, and in how many the answer held.

        Fair are those drawn for a part of the anchor in which the rest of it is on by chance.
        """
        parts = [number for each, number in self.numbers.items() if set(each) <= set(anchor)]
        fair = np.isin(self.drawn_for[: self.drawn], parts) & self.on[: self.drawn, list(anchor)].all(1)
        return int(fair.sum()), int(self.held[: self.drawn][fair].sum())

    def share(self, anchor: Anchor) -> float:
        """The estimate of its precision."""
        n, held = self.tally(anchor)
        return held / n if n else 0.0

    def accepted(self, anchor: Anchor) -> bool:
        """Whether it holds the answer with the precision asked for, as far as the search can tell."""
        return bounds(*self.tally(anchor), self.delta)[0] >= self.precision

    def grow(self, max_regions: int, beam_width: int) -> Generator[Estimate, None, Anchor | None]:
        """A set that is accepted, as small as the beam finds."""
        beam: list[Anchor] = [()]
        for size in range(max_regions + 1):
            for anchor in beam:
                yield from self._settle(anchor)
                if self.accepted(anchor):
                    return anchor
            self.best = max(beam, key=self.share)
            # Growing costs a round for each set of the beam, and the result another for each of its regions.
            if size == max_regions or not self.affords(self.round * (beam_width + size + 1)):
                return None
            wider = {tuple(sorted({*anchor, other})) for anchor in beam for other in range(self.n)} - set(beam)
            beam = sorted(sorted(wider), key=self.share, reverse=True)[:beam_width]
        return None

    def _settle(self, anchor: Anchor) -> Steps:
        """Draw for a set until it is clear on which side of the precision it is, up to eight rounds."""
        for _ in range(8):
            if not self.affords(self.round * (len(anchor) + 1)):
                return
            yield from self.draw(anchor, self.round)
            low, high = bounds(*self.tally(anchor), self.delta)
            if not low < self.precision <= high:
                return

    def shrink(self, anchor: Anchor) -> Steps:
        """Let go of regions without which the others hold; ask about each set with one region less."""
        while True:
            fewer = [_without(anchor, region) for region in anchor]
            for each in fewer:
                if self.affords(self.round):
                    yield from self.draw(each, self.round)
            self.found = anchor
            enough = [each for each in fewer if self._does_as_well(each, anchor)]
            if not enough or not self.affords(self.round * (len(anchor) - 1)):
                return
            anchor = max(enough, key=self.share)

    def _does_as_well(self, fewer: Anchor, anchor: Anchor) -> bool:
        """Whether a part of a set is accepted, or no worse where the set is not accepted either."""
        return self.accepted(fewer) or (not self.accepted(anchor) and self.share(fewer) >= self.share(anchor))

    def measure(self) -> Steps:
        """Draw all that is left for the set that was found; the last of it goes into the report."""
        self.searched = self.drawn
        for estimate in self.draw(self.found, self.total - 1 - self.drawn):
            if estimate.done < self.total:
                yield estimate

    def _measured(self) -> tuple[int, int]:
        """Like `tally`, of the set that was found, with fresh pictures as soon as there are any."""
        fresh = self.held[self.searched : self.drawn]
        return (len(fresh), int(fresh.sum())) if self.searched and len(fresh) else self.tally(self.found)

    def _estimate(self) -> Estimate:
        done = 1 + self.drawn
        if self.found is None:
            return Estimate(done=done, total=self.total, n_forward=done)
        values, errors = np.zeros(self.n), np.zeros(self.n)
        n, held = self._measured()
        for region in self.found:
            n_without, held_without = self.tally(_without(self.found, region))
            values[region] = held / max(n, 1) - held_without / max(n_without, 1)
            errors[region] = np.sqrt(_variance(n, held) + _variance(n_without, held_without))
        return Estimate(regions=values, std_error=errors, done=done, total=self.total, n_forward=done)

    def report(self, words: str, max_regions: int) -> Estimate:
        n, held = self._measured()
        low = bounds(n, held, self.delta)[0]
        verdict = "good" if low >= self.precision else "rough"
        k = len(self.found)
        whenever = f"As long as {'this region stays' if k == 1 else f'these {k} regions stay'} on"
        if k == 0:
            whenever = "Whatever is switched off"
        notes = [f"{whenever}, {words} in {held / n:.1%} of {n:,} altered pictures, in truth at least {low:.1%}."]
        if verdict == "rough":
            asked = f"{self.precision:.1%}".replace(".0%", "%")
            limit = "1 region" if max_regions == 1 else f"up to {max_regions} regions"
            notes.insert(0, f"No set of {limit} was shown to hold the answer in {asked}; this is the best one found.")
        return replace(
            self._estimate(),
            checks={
                "precision": (held / n, verdict),
                "precision_low": (low, verdict),
                "coverage": ((1 - self.off_share) ** k, "exact"),
            },
            warnings=tuple(notes),
        )


def bounds(n: int, held: int, delta: float) -> tuple[float, float]:
    """Between which shares `held` of `n` lies, each end wrong with probability `delta` (Clopper and Pearson 1934)."""
    from scipy.stats import beta

    low = float(beta.ppf(delta, held, n - held + 1)) if held else 0.0
    high = float(beta.ppf(1 - delta, held + 1, n - held)) if held < n else 1.0
    return low, high


def _without(anchor: Anchor, region: int) -> Anchor:
    return tuple(each for each in anchor if each != region)


def _variance(n: int, held: int) -> float:
    """Of a share, with half a picture more on either side, so that 50 of 50 is not taken for certain."""
    share = (held + 0.5) / (n + 1)
    return share * (1 - share) / (n + 1)


INFO = MethodInfo(
    name="anchors",
    label="Anchors",
    family="perturbation",
    summary="The fewest regions that hold the answer, with how surely. Enough for the answer, not all that matters.",
    run=anchors,
    params=(
        Param("precision", float, 0.95, "How surely the answer has to hold, from 0 to 1; the paper's.", 0.5, 0.999),
        Param(
            "n_samples",
            int,
            2000,
            "Altered pictures to ask about. Default: rounds of 100, as in the authors' code, for sets of up to 5.",
            40,
            1_000_000,
        ),
        Param("delta", float, 0.05, "Chance that the bound on the precision is wrong; the paper's.", 0.001, 0.5),
        Param("off_share", float, 0.5, "Chance of the other regions to be off; one half as in LIME.", 0.05, 0.95),
        Param("max_regions", int, 10, "Most regions in a set. Default: more are hard to take in.", 1, 1000),
        Param("beam_width", int, 2, "Sets of a size to go on from; the paper's 10 costs five times as much.", 1, 10),
    ),
    cost=lambda problem, n_samples=2000, **params: n_samples,
    source="Ribeiro, Singh and Guestrin, Anchors: High-Precision Model-Agnostic Explanations, AAAI 2018",
    quick={"n_samples": 60, "max_regions": 2},
)
