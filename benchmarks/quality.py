"""How far an explanation is from the converged one, and when one that improves is as near as another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import rankdata

TOP = 10


def rank_error(values: np.ndarray, converged: np.ndarray) -> float:
    """1 − Spearman's correlation over the ten regions of the greatest converged weight, whatever its sign."""
    top = np.argsort(-np.abs(converged))[:TOP]
    return 1 - float(np.corrcoef(rankdata(values[top]), rankdata(converged[top]))[0, 1])


def relative_rmse(values: np.ndarray, converged: np.ndarray) -> float:
    """Root mean square error over all regions, in units of the greatest weight."""
    return float(np.sqrt(np.mean((values - converged) ** 2)) / np.abs(converged).max())


def relative_mse(values: np.ndarray, converged: np.ndarray) -> float:
    """Its square."""
    return relative_rmse(values, converged) ** 2


ERRORS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "rank of the top ten": rank_error,
    "RMSE": relative_rmse,
}


def seconds_to(
    error: float, counts: np.ndarray, errors: np.ndarray, seconds: np.ndarray
) -> tuple[str, np.ndarray | float]:
    """When ours is as near as `error`: with how many samples, in words, and how long that takes in each round.

    Errors are means over rounds, one for each of `counts`; seconds have a row for each. Between measured counts errors
    lie on straight lines in log-log. Nothing is extrapolated: better than the first count is the first, and what the
    last does not reach takes for ever.
    """
    falling = np.maximum(np.minimum.accumulate(errors), 1e-12)
    if error < falling[-1]:
        return f"not reached with {counts[-1]} samples", np.inf
    enough = np.exp(np.interp(-np.log(max(error, 1e-12)), -np.log(falling), np.log(counts)))
    return f"{enough:.0f} samples", np.array([np.interp(enough, counts, column) for column in np.transpose(seconds)])
