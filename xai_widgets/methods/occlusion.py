"""Occlusion: slide a window over the picture, switch off what lies under it, and see how far the answer falls."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xai_widgets.problem import Estimate, Problem, Steps
from xai_widgets.registry import MethodInfo, Param


def _windows(length: int, window: int, stride: int) -> list[int]:
    """Where windows start along one axis: every `stride`, and one flush with the end, so that no pixel is left out."""
    last = max(0, length - window)
    starts = list(range(0, last + 1, stride))
    return starts if starts[-1] == last else [*starts, last]


def _plan(shape: tuple[int, int], window: int | None, stride: int | None) -> tuple[int, list[tuple[int, int]]]:
    window = min(window or max(1, round(min(shape) / 7)), *shape)
    stride = min(stride or max(1, window // 2), window)
    places = [(y, x) for y in _windows(shape[0], window, stride) for x in _windows(shape[1], window, stride)]
    return window, places


def occlusion(problem: Problem, *, window: int | None = None, stride: int | None = None) -> Steps:
    """``f(x) - f(x with the window off)``, averaged over the windows that cover a pixel (Zeiler and Fergus 2014, §4.2).

    "Off" is the baseline picture inside the window. The default window is a seventh of the shorter side and the
    stride half a window, so that a 224-pixel picture takes 169 windows.

    Proof: on a linear model, the mean of the block sums over the covering windows (tests/test_methods.py).
    """
    shape = problem.view.shape
    window, places = _plan(shape, window, stride)
    total = len(places)
    fall, cover = np.zeros(shape), np.zeros(shape)
    whole = float(problem.scores(np.ones((1, *shape), bool))[0])

    def masks() -> Iterator[np.ndarray]:
        for y, x in places:
            mask = np.ones((1, *shape), bool)
            mask[0, y : y + window, x : x + window] = False
            yield mask

    done = 0
    for _, answers in problem.perturb(_in_chunks(masks(), 32)):
        for score in problem.target.of(answers):
            y, x = places[done]
            fall[y : y + window, x : x + window] += whole - score
            cover[y : y + window, x : x + window] += 1
            done += 1
        yield Estimate(
            values=(fall / np.maximum(cover, 1)).astype(np.float32), done=done, total=total, n_forward=done + 1
        )


def _in_chunks(masks: Iterator[np.ndarray], size: int) -> Iterator[np.ndarray]:
    chunk: list[np.ndarray] = []
    for mask in masks:
        chunk.append(mask)
        if len(chunk) == size:
            yield np.concatenate(chunk)
            chunk = []
    if chunk:
        yield np.concatenate(chunk)


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
    cost=lambda problem, window=None, stride=None: len(_plan(problem.view.shape, window, stride)[1]) + 1,
    source="Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014",
    quick={"window": 40, "stride": 40},
)
