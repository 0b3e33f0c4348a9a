"""What methods share that draw masks of pixels at random."""

from __future__ import annotations

import numpy as np

_PIXELS = 1 << 22
"""Pixels of masks made at once; 16 MB as floats."""

_STABLE = 0.8
"""Correlation of the halves from which places may be compared; the map of both is then at 0.89 or more of itself with
as many samples again (Spearman and Brown)."""


def chunk(shape: tuple[int, int]) -> int:
    """How many masks of (h, w) pixels to make at once."""
    return int(np.clip(_PIXELS // (shape[0] * shape[1]), 1, 64))


def agreement(one: np.ndarray, other: np.ndarray, advice: str) -> tuple[dict[str, tuple[float, str]], tuple[str, ...]]:
    """`Estimate.checks` and `Estimate.warnings`: the correlation of two maps, each of its own half of the samples.

    A map that is the same everywhere has none, and a reader is told of it anyway.
    """
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return {}, ()
    found = float(np.corrcoef(one.ravel(), other.ravel())[0, 1])
    if found >= _STABLE:
        return {"half_correlation": (found, "stable")}, ()
    told = f"Two halves of the altered pictures give maps that correlate by {found:.2f} only; {advice}"
    return {"half_correlation": (found, "rough")}, (told,)
