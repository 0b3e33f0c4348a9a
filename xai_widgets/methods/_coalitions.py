"""Coalitions for Shapley values: drawn in pairs, as a stream whose first part does not hang on how many will follow."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.special import gammaln

_CHUNK = 64
"""Draws made at once, always all of them, so that how many are wanted changes none."""

_RARE = 1e7
"""Of a size with more coalitions than this nobody looks whether one was drawn before."""


class Coalitions:
    """Pairs of a coalition and its complement, each pair at most once.

    A size from 1 to S - 1 is drawn evenly, then a coalition of that size: those are the leverage scores of the Shapley
    regression (Musco and Witter 2025, lemma 3.2). A pair that was drawn before is passed over, so after ``T`` draws a
    pair is among those asked with probability ``π = 1 - (1 - p) ** T``, by which it is weighed (Horvitz and Thompson
    1952). Small sizes are soon asked in full: then π is 1, and they no longer add to the error.

    Parameters
    ----------
    rng : Generator
    n_segments : int
        Of one region there are no pairs.
    everything : bool
        Give all ``2 ** (S - 1) - 1`` pairs once, in a random order.
    """

    def __init__(self, rng: np.random.Generator, n_segments: int, *, everything: bool = False) -> None:
        self.n_segments, self.everything = n_segments, everything
        self._rng = rng
        sizes = np.arange(n_segments + 1)
        log_count = gammaln(n_segments + 1) - gammaln(sizes + 1) - gammaln(n_segments - sizes + 1)
        # Half of the regions: a size is its own complement's, so there are half as many pairs, drawn half as often.
        self._log_chance = np.log(2 / max(n_segments - 1, 1)) - log_count
        self._watched = log_count < np.log(_RARE)
        inner = sizes[1:-1].astype(float)
        self._log_kernel = np.full(n_segments + 1, -np.inf)
        self._log_kernel[1:-1] = -np.log(inner * (n_segments - inner)) - log_count[1:-1]
        self._draws: list[int] = []
        self._bits = np.empty((0, (n_segments + 7) // 8), np.uint8)
        self._fresh: list[np.ndarray] = []

    def __iter__(self) -> Iterator[np.ndarray]:
        """Masks, bool (2 k, S): one of a pair, the other, and so on."""
        for chosen in self._all() if self.everything else self._drawn():
            self._fresh.append(np.packbits(chosen, axis=1))
            yield np.stack([chosen, ~chosen], axis=1).reshape(-1, self.n_segments)

    def _all(self) -> Iterator[np.ndarray]:
        numbers = self._rng.permutation(np.arange(1, 2 ** (self.n_segments - 1)))
        for at in range(0, len(numbers), _CHUNK):
            yield (numbers[at : at + _CHUNK, None] >> np.arange(self.n_segments) & 1).astype(bool)

    def _drawn(self) -> Iterator[np.ndarray]:
        seen: set[bytes] = set()
        draws = 0
        while True:
            sizes = self._rng.integers(1, self.n_segments, size=_CHUNK)
            order = self._rng.random((_CHUNK, self.n_segments)).argsort(axis=1)
            chosen = np.zeros((_CHUNK, self.n_segments), bool)
            np.put_along_axis(chosen, order, np.arange(self.n_segments) < sizes[:, None], axis=1)
            kept = []
            for row, size in zip(chosen, sizes, strict=True):
                draws += 1
                if self._watched[size]:
                    key = np.packbits(row if row[0] else ~row).tobytes()
                    if key in seen:
                        continue
                    seen.add(key)
                self._draws.append(draws)
                kept.append(row)
            if kept:
                yield np.stack(kept)

    def signs(self, start: int, stop: int) -> np.ndarray:
        """The first of each pair from number `start` up to `stop`, 1 for on and -1 for off, float64 (k, S)."""
        if self._fresh:
            self._bits = np.concatenate([self._bits, *self._fresh])
            self._fresh = []
        return 2.0 * np.unpackbits(self._bits[start:stop], axis=1, count=self.n_segments) - 1

    def weights(self, signs: np.ndarray, m: int) -> tuple[np.ndarray, np.ndarray]:
        """Weights of these pairs when `m` have been asked in all, and the probability with which each of them was.

        Sums over those asked with these weights expect what sums over all pairs are with the Shapley kernel, which is
        ``1 / (s (S - s))`` for all coalitions of a size together.
        """
        sizes = (signs > 0).sum(1)
        if self.everything:
            share = m / (2.0 ** (self.n_segments - 1) - 1)
            return np.exp(self._log_kernel[sizes]) / share, np.full(len(sizes), share)
        chance = np.exp(self._log_chance[sizes])
        asked = -np.expm1(self._draws[m - 1] * np.log1p(-np.minimum(chance, 1 - 1e-12)))
        # As a ratio, or for many regions both would vanish.
        ratio = np.divide(chance, asked, out=np.full(len(asked), 1 / self._draws[m - 1]), where=asked > 0)
        return np.exp(self._log_kernel[sizes] - self._log_chance[sizes]) * ratio, asked
