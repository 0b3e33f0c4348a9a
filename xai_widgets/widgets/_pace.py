"""Time while a map is being found: when to paint, when the first map is late, how long the rest will take."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

REPAINT = 0.1
"""Seconds between two pictures of a map that is still being found: ten a second look like one that grows."""

SHARE = 0.1
"""Of the time, what painting may take; the rest is the model's."""

PATIENCE = 0.3
"""Seconds until a first map is late."""

now = time.perf_counter
"""The clock; tests have one of their own."""


class Pace:
    """Says when to paint: at most every `REPAINT` seconds, and so that it takes at most its `SHARE` of the time."""

    def __init__(self) -> None:
        self._next = now() + REPAINT

    def due(self) -> bool:
        """Whether it is time."""
        return now() >= self._next

    @contextmanager
    def painting(self) -> Iterator[None]:
        """Measure what a painting costs; the dearer it is, the longer the next one waits."""
        start = now()
        yield
        end = now()
        self._next = max(start + REPAINT, end + (end - start) * (1 / SHARE - 1))


class Patience:
    """Says when the first map is late, or the next step would make it so.

    Parameters
    ----------
    step : float
        Seconds that the first step may take; the others take what the one before took.
    """

    def __init__(self, step: float) -> None:
        self._begun, self._step = now(), step
        self._last: float | None = None

    def over(self) -> bool:
        """To be asked before each step."""
        time = now()
        if self._last is not None:
            self._step = time - self._last
        self._last = time
        return time - self._begun + self._step > PATIENCE


class Rate:
    """How long the rest will take, by the last two seconds: what is answered from memory at first goes fast."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque([(now(), 0)], maxlen=20)

    def left(self, done: int, total: int) -> float:
        """Seconds, or -1 where it is not known."""
        self._marks.append((now(), done))
        (start, before), (end, _) = self._marks[0], self._marks[-1]
        if done <= before:
            return -1.0
        return round((end - start) / (done - before) * max(total - done, 0), 1)
