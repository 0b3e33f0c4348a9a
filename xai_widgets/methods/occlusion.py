"""Occlusion: slide a window over the picture, switch off what lies under it, and see how far the answer falls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from xai_widgets.problem import Estimate, Pace, Problem, Steps
from xai_widgets.registry import MethodInfo, Param


def _windows(length: int, window: int, stride: int) -> list[int]:
    """Where windows start along one axis: every `stride`, and one flush with the end, so that no pixel is left out."""
    last = max(0, length - window)
    starts = list(range(0, last + 1, stride))
    return starts if starts[-1] == last else [*starts, last]


def _plan(shape: tuple[int, int], window: int | None, stride: int | None) -> tuple[int, list[int], list[int]]:
    """The window's side, and where windows start down and across; there is one for each pair."""
    window = min(window or max(1, round(min(shape) / 7)), *shape)
    stride = min(stride or max(1, window // 2), window)
    return window, _windows(shape[0], window, stride), _windows(shape[1], window, stride)


def passes(rows: int, cols: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Ever finer lattices of a grid, as rows and columns, each with all of the one before; the last is the whole grid.

    As in an interlaced PNG (Adam7), rows and columns are doubled in turn. The lattices spread from the middle, where
    the object of a photo is as a rule.
    """

    def every(step: int, length: int) -> np.ndarray:
        return np.arange(length // 2 % step, length, step)

    step = 1 << (max(rows, cols) - 1).bit_length()
    found = [(every(step, rows), every(step, cols))]
    while step > 1:
        half = step // 2
        found += [(every(step, rows), every(half, cols)), (every(half, rows), every(half, cols))]
        step = half
    return found


class _Grid:
    """The windows in the order in which they are asked about, and what is known of them by then."""

    def __init__(self, shape: tuple[int, int], window: int, down: list[int], across: list[int]) -> None:
        self.shape, self.window = shape, window
        self.down, self.across = np.array(down), np.array(across)
        self.passes = passes(len(down), len(across))
        known, order, self._ends = np.zeros((len(down), len(across)), bool), [], []
        for rows, cols in self.passes:
            order += [(i, j) for i in rows for j in cols if not known[i, j]]
            known[np.ix_(rows, cols)] = True
            self._ends.append(len(order))
        self.order = np.array(order)
        self.falls = np.zeros(known.shape)
        self.done = 0

    def masks(self) -> Iterator[np.ndarray]:
        """Bool (n, h, w), a window off in each."""
        for start in range(0, len(self.order), 16):
            places = self.order[start : start + 16]
            chunk = np.ones((len(places), *self.shape), bool)
            for mask, y, x in zip(chunk, self.down[places[:, 0]], self.across[places[:, 1]], strict=True):
                mask[y : y + self.window, x : x + self.window] = False
            yield chunk

    def add(self, falls: np.ndarray) -> None:
        """What the next windows took from the answer."""
        self.falls[tuple(self.order[self.done : self.done + len(falls)].T)] = falls
        self.done += len(falls)

    def expected(self) -> np.ndarray:
        """What each window takes: as found, or, not asked about yet, linear between those of the last whole pass."""
        rows, cols = self.passes[int(np.searchsorted(self._ends, self.done, side="right")) - 1]
        known = self.falls[np.ix_(rows, cols)]
        known = np.stack([np.interp(self.across, self.across[cols], row) for row in known])
        known = np.stack([np.interp(self.down, self.down[rows], col) for col in known.T], axis=1)
        asked = tuple(self.order[: self.done].T)
        known[asked] = self.falls[asked]
        return known

    def map(self) -> np.ndarray:
        """Each pixel's mean over the windows that cover it: all pairs of a row and a column of windows that do."""
        down, across = (
            _shares(length, self.window, starts)
            for length, starts in zip(self.shape, (self.down, self.across), strict=True)
        )
        return down @ self.expected() @ across.T


def _shares(length: int, window: int, starts: np.ndarray) -> np.ndarray:
    """Weights (length, windows): one over the number of windows that cover a place, for those that do."""
    at = np.arange(length)[:, None]
    covers = (starts <= at) & (at < starts + window)
    return covers / covers.sum(1, keepdims=True)


def occlusion(problem: Problem, *, window: int | None = None, stride: int | None = None) -> Steps:
    """``f(x) - f(x with the window off)``, averaged over the windows that cover a pixel (Zeiler and Fergus 2014, §4.2).

    "Off" is the baseline picture inside the window. The default window is a seventh of the shorter side and the
    stride half a window, so that a 224-pixel picture takes 169 windows. They are asked about coarse to fine: each map
    on the way is of the whole picture, linear between the windows known by then, and the last is of all windows. Of a
    convolutional network on a CPU only what a window reaches is computed anew (`xai_widgets.incremental`).

    Proof: on a linear model, the mean of the block sums over the covering windows; the finished map is that of windows
    asked row by row, and after a quarter of them its ranks are nearer (tests/test_methods.py).
    """
    shape = problem.view.shape
    grid = _Grid(shape, *_plan(shape, window, stride))
    total, pace, estimate = len(grid.order), Pace(), Estimate()
    whole = float(problem.scores(np.ones((1, *shape), bool))[0])
    between = ("Between the windows asked about so far the map is interpolated.",)
    for answers in _answers(problem, grid):
        grid.add(whole - problem.target.of(answers))
        if grid.done == total or pace.due():
            values = grid.map().astype(np.float32)
            estimate = Estimate(values=values, warnings=between if grid.done < total else ())
        yield replace(estimate, done=grid.done, total=total, n_forward=grid.done + 1)


def _answers(problem: Problem, grid: _Grid) -> Iterator[np.ndarray]:
    """To the masks of a grid; behind the first few only what a window reaches is computed anew, where that pays."""
    from xai_widgets.incremental import Incremental

    masks = grid.masks()
    first, found = next(masks), []
    for _, answers in problem.perturb([first]):
        found.append(answers)
        yield answers
    left = len(grid.order) - len(first)
    quick = Incremental.of(problem, left, (grid.window, grid.window), (first, np.concatenate(found)))
    for _, answers in (quick or problem).perturb(masks):
        yield answers


def _cost(problem: Problem, window: int | None = None, stride: int | None = None) -> int:
    _, down, across = _plan(problem.view.shape, window, stride)
    return len(down) * len(across) + 1


INFO = MethodInfo(
    name="occlusion",
    label="Occlusion",
    family="perturbation",
    summary="Covers one window at a time and measures the fall. Direct; misses places that work together.",
    run=occlusion,
    params=(
        Param("window", int, None, "Side of the square window in pixels of the view. Default: a seventh.", 1, 10_000),
        Param("stride", int, None, "Step between windows in pixels. Default: half a window.", 1, 10_000),
    ),
    linear=True,
    cost=_cost,
    source="Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014",
    quick={"window": 40, "stride": 40},
)
