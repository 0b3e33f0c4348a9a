"""The answers to altered pictures, kept by mask: LIME, SHAP, toggles and "more" of one picture ask each only once."""

from __future__ import annotations

from collections.abc import Hashable
from hashlib import blake2b

import numpy as np

BUDGET = 16 * 2**20
"""Bytes of answers that are kept: 4,000 answers of 1,000 classes. What comes first stays, for "more" starts there."""


class Answers:
    """Answers of one model about one picture, by mask and space.

    They hold for the model as it was: when its `stamp` changes all are forgotten.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self._rows: dict[Hashable, np.ndarray] = {}
        self._left = self._budget = budget
        self._stamp: Hashable = None

    def of(self, stamp: Hashable) -> Answers:
        """These answers, if the model is still the same; none, if it is not."""
        if stamp != self._stamp:
            self._rows, self._left, self._stamp = {}, self._budget, stamp
        return self

    @staticmethod
    def keys(masks: np.ndarray, space: str) -> list[Hashable]:
        """What each of the masks (n, S) or (n, h, w) is known by."""
        rows = np.packbits(masks.reshape(len(masks), -1), axis=1) if masks.dtype == bool else masks
        shape = masks.shape[1:], masks.dtype.char, space
        return [(blake2b(np.ascontiguousarray(row).data, digest_size=16).digest(), shape) for row in rows]

    def get(self, key: Hashable) -> np.ndarray | None:
        """The answer float64 (classes,), or None."""
        row = self._rows.get(key)
        return None if row is None else row.astype(np.float64)

    def put(self, key: Hashable, row: np.ndarray) -> None:
        """Keep an answer, as long as there is room; in single precision where that is what it was computed in."""
        single = row.astype(np.float32)
        row = single if np.array_equal(single, row) else row.copy()
        cost = row.nbytes + 200  # what Python needs for the entry
        if self._left >= cost and key not in self._rows:
            self._rows[key] = row
            self._left -= cost
