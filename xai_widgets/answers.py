"""The answers to altered pictures, kept by mask: LIME, SHAP, toggles and "more" of one picture ask each only once."""

from __future__ import annotations

from collections.abc import Hashable
from hashlib import blake2b

import numpy as np

BUDGET = 8 * 2**20
"""Bytes that are kept of answers about regions, and as many about pixels: 2,000 answers of 1,000 classes. What comes
first stays, for "more" starts there."""


class Answers:
    """Answers of one model about one picture, by mask, space and the way they were computed.

    They hold for the model as it was: when its `stamp` changes all are forgotten.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self._rows: dict[Hashable, np.ndarray] = {}
        self._budget, self._left = budget, {}
        self._stamp: Hashable = None

    def of(self, stamp: Hashable) -> Answers:
        """These answers, if the model is still the same; none, if it is not, or if nobody can tell: None."""
        if stamp is None or stamp != self._stamp:
            self._rows, self._left, self._stamp = {}, {}, stamp
        return self

    @staticmethod
    def keys(masks: np.ndarray, *way: Hashable) -> list[Hashable]:
        """What each of the masks (n, S) or (n, h, w) is known by when it is asked in this `way`."""
        rows = (
            np.packbits(masks.reshape(len(masks), int(np.prod(masks.shape[1:]))), axis=1)
            if masks.dtype == bool
            else masks
        )
        shape = masks.shape[1:], masks.dtype.char, *way
        return [(blake2b(np.ascontiguousarray(row).data, digest_size=16).digest(), shape) for row in rows]

    def get(self, key: Hashable) -> np.ndarray | None:
        """The answer float64 (classes,), or None."""
        row = self._rows.get(key)
        return None if row is None else row.astype(np.float64)

    def put(self, key: Hashable, row: np.ndarray, *, pixels: bool = False) -> None:
        """Keep an answer, as long as there is room; in single precision where that is what it was computed in."""
        single = row.astype(np.float32)
        row = single if np.array_equal(single, row) else row.copy()
        left = self._left.get(pixels, self._budget) - row.nbytes - 200  # what Python needs for the entry
        if left >= 0 and key not in self._rows:
            self._rows[key], self._left[pixels] = row, left
