"""A Gaussian process over switched regions, whose Shapley values are known in closed form.

Kernel SHAP asks about a coalition and its complement together, so half of what they differ by,
``d(z) = (f(z) - f(not z)) / 2``, is all that its values hang on. The process is a guess of that function: with
``u = 2 z - 1`` its covariance is the odd part of ``prod_j (1 + ρ_j u_j u'_j)``, in which a group of regions acts
together the more rarely the larger it is, and the ``ρ_j`` say which regions matter. A guess may be wrong: `kernel_shap`
uses it only as a control variate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_TOTALS = (0.1, 0.3, 0.6, 1.0, 1.6, 2.4, 3.5)
"""Sums of the ``ρ_j`` that are tried; the more, the more regions act together."""

_FLOOR = 0.02
"""A region's ``ρ_j`` is at least that of one with this share of the largest value: what is not seen yet may matter."""

_NUGGET = 1e-6
"""Variance, as a share of the whole, that is put down to no region; it also keeps the equations solvable."""

TUNED_ON = 256
"""Pairs that ``ρ`` is tuned on; more change it little and cost their cube."""

FOLDS = 5
"""Each is guessed from the four others. With ten, values err by a twentieth less, but on small games that are nearly
known the intervals cover 91 to 94 % instead of 93 to 96 %."""

_NODES, _SHARES = np.polynomial.legendre.leggauss(16)
"""The integrand of `effects` is smooth enough for sixteen nodes: its error is under 1e-9 for every sum in `_TOTALS`."""


def covariance(one: np.ndarray, other: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """Of ``d`` at signs (m, S) and (k, S): the odd part of the product kernel, float64 (m, k)."""
    slope, level = np.arctanh(rho), np.log1p(-(rho**2)).sum() / 2
    return np.exp(level) * np.sinh((one * slope) @ other.T)


def effects(signs: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """The Shapley values of ``covariance(·, u)`` for each row ``u`` of signs (m, S), float64 (S, m).

    A Shapley value is the mean effect of a region among others that are on with a probability drawn evenly (Owen
    1972), and of a product all is known: ``∫ ρ_i u_i prod_{j ≠ i} (1 + ρ_j u_j x) dx`` over x from -1 to 1, of which
    the odd and the even part of the product have the same share.
    """
    pull = rho * signs
    found = np.zeros_like(pull)
    for x, share in zip(_NODES, _SHARES, strict=True):
        factors = 1 + pull * x
        found += share * pull * (factors.prod(1)[:, None] / factors)
    return found.T


def tune(signs: np.ndarray, halves: np.ndarray) -> np.ndarray:
    """The ``ρ`` (S,) under which the first pairs are likeliest, in three rounds from "all regions alike".

    Each round takes ``ρ`` proportional to the values found in the round before, and their sum from `_TOTALS`.
    """
    signs, halves = signs[:TUNED_ON], halves[:TUNED_ON]
    m, n_segments = signs.shape
    shape, best = np.full(n_segments, 1 / n_segments), (-np.inf, np.zeros(n_segments), np.zeros(m))
    for _ in range(3):
        for total in _TOTALS:
            rho = np.minimum(shape * total, 0.9)
            lower = _factor(covariance(signs, signs, rho))
            white = _solve(lower, halves)
            fit = -m / 2 * np.log(white @ white + 1e-300) - np.log(np.diag(lower)).sum()
            if fit > best[0]:
                best = (fit, rho, _solve(lower, white, transposed=True))
        size = np.abs(effects(signs, best[1]) @ best[2])
        if not size.any():
            break
        size = np.maximum(size, 0) + _FLOOR * size.max()
        shape = size / size.sum()
    return best[1]


def _factor(matrix: np.ndarray) -> np.ndarray:
    return np.linalg.cholesky(matrix + _NUGGET * matrix[0, 0] * np.eye(len(matrix)))


def _solve(lower: np.ndarray, right: np.ndarray, *, transposed: bool = False) -> np.ndarray:
    from scipy.linalg import solve_triangular

    return solve_triangular(lower, right, lower=True, trans=int(transposed), check_finite=False)


@dataclass(frozen=True)
class Process:
    """A process that has seen some pairs.

    Attributes
    ----------
    values : ndarray (S,)
        The Shapley values of its mean; they add up to the whole change.
    missed : ndarray (m,)
        By how much each pair differs from what a process says that has not seen it and its fold.
    blind : ndarray (S,)
        By how much the values of the processes that have not seen a fold fall short of `values`, times the fold's
        pairs, added up.
    """

    signs: np.ndarray
    rho: np.ndarray
    pull: np.ndarray
    values: np.ndarray
    missed: np.ndarray
    blind: np.ndarray

    def guess(self, signs: np.ndarray) -> np.ndarray:
        """Its mean at signs (k, S) it has not seen."""
        return covariance(signs, self.signs, self.rho) @ self.pull


def process(signs: np.ndarray, halves: np.ndarray, whole: float, rho: np.ndarray, n_folds: int = FOLDS) -> Process:
    """Fit pairs (m, S), (m,) and half of the whole change; what its folds would say follows from one inverse.

    With the inverse covariance Q and ``α = Q d``, what is missed at a fold B left out is ``Q_BB⁻¹ α_B`` (Rasmussen and
    Williams 2006, equation 5.12, for blocks).
    """
    seen = np.vstack([np.ones(signs.shape[1]), signs])  # everything on: row 0, never left out
    known = np.append(whole, halves)
    lower = _factor(covariance(seen, seen, rho))
    half = _solve(lower, np.eye(len(seen)))
    inverse = half.T @ half
    pull = inverse @ known
    outward = effects(seen, rho)
    reach = outward @ inverse
    missed, blind, m = np.empty(len(signs)), np.zeros(signs.shape[1]), len(signs)
    for fold in range(min(n_folds, m)):
        out = np.arange(1 + fold, 1 + m, n_folds)
        missed[out - 1] = np.linalg.solve(inverse[np.ix_(out, out)], pull[out])
        blind += len(out) * (reach[:, out] @ missed[out - 1])
    return Process(seen, rho, pull, outward @ pull, missed, blind)
