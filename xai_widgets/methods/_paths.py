"""What methods share that add up gradients along a path of pictures."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from xai_widgets.problem import Estimate, Problem, Steps

if TYPE_CHECKING:
    from torch import Tensor

Moves = Iterable[tuple["Tensor", "Tensor"]]
"""A path as model input: at each point (C, h, w) the gradient is asked for, and taken times a step (C, h, w)."""


def gauss_legendre(n_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on 0 to 1 that integrate polynomials of degree ``2 n_steps - 1`` exactly."""
    nodes, weights = np.polynomial.legendre.leggauss(n_steps)
    return (nodes + 1) / 2, weights / 2


def straight(start: Tensor, end: Tensor, n_steps: int) -> Moves:
    """The straight line from one picture to another."""
    across = end - start
    for node, weight in zip(*gauss_legendre(n_steps), strict=True):
        yield start + float(node) * across, float(weight) * across


def line_integral(problem: Problem, moves: Moves) -> Iterator[tuple[np.ndarray, Tensor]]:
    """``Σ gradient ⊙ step`` along a path, batch by batch.

    Yields
    ------
    sums : ndarray of float64, shape (b,)
        What each step of this batch adds to the sum over all pixels.
    attribution : Tensor, shape (C, h, w)
        The sum so far; the same tensor grows from batch to batch.
    """
    import torch

    from xai_widgets.gradients import gradients, wide

    steps: deque[Tensor] = deque()

    def points() -> Iterator[Tensor]:
        for point, step in moves:
            steps.append(step)
            yield point.to(problem.inputs.dtype)[None]

    attribution = torch.zeros_like(wide(problem.inputs))
    for batch in gradients(problem, points()):
        parts = wide(batch.gradients) * torch.stack([steps.popleft() for _ in batch.gradients])
        attribution += parts.sum(0)
        yield parts.flatten(1).sum(1).cpu().double().numpy(), attribution


def ends(problem: Problem, start: Tensor) -> tuple[float, float]:
    """The score at the start of a path and of the picture itself."""
    import torch

    from xai_widgets.gradients import scores

    pair = torch.stack([start.to(problem.inputs.dtype), problem.inputs])
    empty, whole = np.concatenate(list(scores(problem, [pair])))
    return float(empty), float(whole)


def along(problem: Problem, moves: Moves, n_steps: int, start: Tensor, more: str) -> Steps:
    """The map of a path of `n_steps` from `start` to the picture; part of a path explains nothing, so none is shown.

    `more` is the line to type for a closer map.
    """
    from xai_widgets.gradients import flat

    empty, whole = ends(problem, start)
    done, total = 2, n_steps + 2
    yield Estimate(done=done, total=total, n_forward=done)
    for sums, attribution in line_integral(problem, moves):
        done += len(sums)
        if done < total:
            yield Estimate(done=done, total=total, n_forward=done)
        else:
            values = flat(attribution)
            yield Estimate(
                values=values, done=done, total=total, n_forward=done, **balance(problem, values, whole, empty, more)
            )


def balance(problem: Problem, values: np.ndarray, whole: float, empty: float, more: str) -> dict[str, Any]:
    """Whether a map adds up to ``whole - empty``, as `checks` and `warnings` of an `Estimate`."""
    from xai_widgets.gradients import completeness

    checks = completeness(values, whole, empty)
    if checks["completeness_gap"][0] <= 0.05 * abs(whole - empty) + 1e-6 * max(abs(whole), abs(empty)):
        return {"checks": checks}
    if problem.inputs.dtype.itemsize < 4:
        more = f"The model computes in {str(problem.inputs.dtype).removeprefix('torch.')}; pass model.float()"
    words = (
        f"The map adds up to {values.sum(dtype=np.float64):.3g}, but the score changes by "
        f"{whole - empty:.3g} from the baseline to the picture. {more}"
    )
    return {"checks": checks, "warnings": (words,)}
