"""A method of which a test decides when it steps, what that takes by the clock, and what it then knows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

import xai_widgets as xw
from xai_widgets import registry
from xai_widgets.widgets import _pace


class Sampler:
    """A method as tests want it: each step is ten answers, and takes the time that they say."""

    def __init__(self) -> None:
        self.time, self.tick = 0.0, 0.2
        """What the clock says, and what a step takes."""
        self.ready, self.silent, self.every = 0, 0, 1
        """Steps until it begins, from then until there is a map, and from one map to the next."""
        self.settles = None
        """After how many answers it stops by itself."""
        self.gate = None
        """A semaphore that each step waits for."""
        self.asked, self.steps = [], 0

    def run(self, problem, *, n_samples=1000, confidence=0.9):
        """Proof: it proves nothing."""
        self.asked.append((n_samples, confidence))
        estimate = None
        for _ in range(self.ready):
            self.time += self.tick
            yield xw.Estimate(done=0, total=n_samples)
        for done in range(10, n_samples + 1, 10):
            if self.gate is not None:
                assert self.gate.acquire(timeout=10)
            self.steps += 1
            self.time += self.tick
            settled = confidence is not None and done == self.settles
            if done <= 10 * self.silent:
                yield xw.Estimate(done=done, total=n_samples)
                continue
            if estimate is None or done % (10 * self.every) == 0 or done == n_samples:
                estimate = xw.Estimate(
                    regions=np.roll(np.arange(1.0, problem.n_segments + 1), done // 10), total=n_samples
                )
            ranking = {"ranking": (0.95, "settled") if settled or done == n_samples else (0.5, "open")}
            yield replace(estimate, done=done, n_forward=done, checks=ranking)
            if settled:
                return

    def now(self) -> float:
        return self.time

    def open(self) -> None:
        """Let every step go from now on."""
        gate, self.gate = self.gate, None
        gate.release(100)


@contextmanager
def sampling(monkeypatch) -> Iterator[Sampler]:
    """The method "sampler", and its clock in the place of the real one."""
    made = Sampler()
    monkeypatch.setattr(_pace, "now", made.now)
    params = (
        xw.Param("n_samples", int, 1000, "How many.", 10, 100_000),
        xw.Param("confidence", float, 0.9, "When to stop.", 0.5, 1),
    )
    cost = lambda problem, n_samples, **_: n_samples  # noqa: E731
    xw.register_method(xw.MethodInfo("sampler", "Sampler", "perturbation", "Counts.", made.run, params, cost=cost))
    try:
        yield made
    finally:
        registry._registered.pop("sampler")
