"""When the order of the strongest regions is settled, so that a run may stop by itself.

Looks are taken at numbers of samples that are fixed beforehand, never by the clock, so a seed gives the same bytes on
every machine; each look may err with an equal part of what is allowed in all (a union bound over looks).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xai_widgets.registry import Param

if TYPE_CHECKING:
    from xai_widgets.problem import Estimate

MARGIN = 0.05
"""Share of the largest value under which two regions count as tied, or a tie would never be settled. It is a difference
in colour that is hard to see; with 0.02 LIME stopped in none of 200 runs of 2,048 samples on two of three games."""

NORMAL = 1.959964
"""Readers multiply an error by this for 95 %."""

_GROWTH = 2**0.5
"""From look to look; a run that could have stopped goes on for at most this factor."""


@dataclass(frozen=True)
class _OrNone(Param):
    """A parameter that None switches off."""

    def check(self, value: Any) -> Any:
        return None if value is None else super().check(value)


PARAMS = (
    _OrNone(
        "confidence",
        float,
        0.95,
        "Stop once the strongest regions are in order with this probability; None always runs to the end.",
        0.5,
        0.9999,
    ),
    Param("top", int, 5, "How many of the strongest regions must be in order.", 1, 1000),
)
"""What a method takes that stops by itself."""


def least(n_segments: int) -> int:
    """Samples before which no look counts: errors that are told from fewer have too heavy tails."""
    return max(200, 6 * n_segments)


def looks(first: int, total: int) -> list[int]:
    """Even numbers of samples at which to fit, `_GROWTH` apart from `first` on; the last is `total`."""
    found, at = [], float(first)
    while at < total:
        if not found or 2 * round(at / 2) > found[-1]:
            found.append(2 * round(at / 2))
        at *= _GROWTH
    return [*(each for each in found if each < total), total]


def until(at: list[int], chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The same masks in chunks that end where a look is due, up to the last: nothing is asked that is not looked at."""
    given, due = 0, iter(at)
    look = next(due)
    for chunk in chunks:
        start = 0
        while start < len(chunk):
            part = chunk[start : start + look - given]
            yield part
            start, given = start + len(part), given + len(part)
            if given == look:
                look = next(due, None)
                if look is None:
                    return


def student(covariance: np.ndarray, fourth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standard errors whose 1.96-fold is Student's interval of 95 %, and the degrees of freedom of each.

    Parameters
    ----------
    covariance : ndarray (S, S)
        A sum of squares of independent terms.
    fourth : ndarray (S,)
        The sum of the terms' fourth powers: where few terms make most of the sum, it is known less well (Satterthwaite
        1946). With under three degrees of freedom an interval would have hardly an end.
    """
    from scipy.special import stdtrit

    variance = np.maximum(np.diag(covariance), 0)
    freedom = np.divide(variance**2, fourth, out=np.full(len(variance), 1e9), where=fourth > 0)
    freedom = np.clip(freedom, 3, 1e9)
    return np.sqrt(variance) * stdtrit(freedom, 0.975) / NORMAL, freedom


@dataclass(frozen=True)
class Rule:
    """Whether to stop: with `confidence`, at one of `n_looks` looks, when the first `top` regions are in order."""

    confidence: float | None
    top: int
    n_looks: int

    def probability(self, values: np.ndarray, covariance: np.ndarray, freedom: float) -> float:
        """At least how likely the order of the strongest, and that no other belongs among them, is right at this look.

        Parameters
        ----------
        values : ndarray (S,)
        covariance : ndarray (S, S)
            Of their errors together: what two regions share does not blur their order.
        freedom : float
            Degrees of freedom of `covariance`, for Student's t.

        Notes
        -----
        It would be wrong if some region below another one in fact exceeds it by more than `MARGIN`; this is one minus
        the sum of those probabilities over all pairs with one of the strongest.
        """
        from scipy.special import stdtr

        strength, sign = np.abs(values), np.where(values < 0, -1.0, 1.0)
        order = np.argsort(-strength, kind="stable")
        slack = MARGIN * strength[order[0]]
        variance = np.diag(covariance)
        wrong = 0.0
        for place, one in enumerate(order[: self.top]):
            below = order[place + 1 :]
            spread = variance[one] + variance[below] - 2 * sign[one] * sign[below] * covariance[one, below]
            gap = strength[one] - strength[below] + slack
            # Nothing is known better than floats are; and of a map of zeros no order is wrong.
            scaled = gap / np.sqrt(np.maximum(spread, 1e-30 + 1e-18 * strength[one] ** 2))
            wrong += float(stdtr(freedom, -scaled).sum()) if strength[one] else 0.0
        return max(0.0, 1 - wrong)

    def settled(self, probability: float) -> bool:
        """Whether that is enough at one look for all looks together to keep `confidence`."""
        return self.confidence is not None and 1 - probability <= (1 - self.confidence) / self.n_looks

    def agree(self, values: np.ndarray, before: np.ndarray) -> bool:
        """Whether the order of the strongest in `values` was that of `before`, up to `MARGIN`."""
        order, size = np.argsort(-np.abs(values), kind="stable")[: self.top], np.abs(before)
        slack = MARGIN * float(np.abs(values).max())
        below = np.ones(len(values), bool)
        for one in order:
            below[one] = False
            if below.any() and size[below].max() > size[one] + slack:
                return False
        return True

    def stops(self, now: Estimate, before: Estimate | None) -> bool:
        """Whether a run ends: at two looks in a row the order was settled, and the same.

        One look is not enough. The first answers may leave out a group of regions that acts together, and then no error
        knows of it; on real answers one run in eight stopped with a wrong order so, and with two looks none of sixty.
        """
        if before is None or now.regions is None or before.regions is None:
            return False
        sure = all(self.settled(each.checks.get("ranking", (0.0, ""))[0]) for each in (now, before))
        return sure and self.agree(now.regions, before.regions)

    def verdict(self, probability: float) -> tuple[float, str]:
        """For `Estimate.checks`."""
        needed = 1 - (1 - (0.95 if self.confidence is None else self.confidence)) / self.n_looks
        return probability, "settled" if probability >= needed else "open"
