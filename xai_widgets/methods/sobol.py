"""Sobol indices: how much of the answer's variance a cell of a grid has a hand in, as cells fade at random."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from xai_widgets.errors import ArgumentError
from xai_widgets.methods._sampling import agreement, chunk
from xai_widgets.problem import Estimate, Pace, Problem, Steps
from xai_widgets.registry import MethodInfo, Param


def _grid(problem: Problem, grid_size: int) -> tuple[int, int]:
    """Rows and columns of cells; a cell has at least a pixel."""
    height, width = problem.view.shape
    return min(grid_size, height), min(grid_size, width)


def designs(rng: np.random.Generator, n_designs: int, n_cells: int) -> tuple[np.ndarray, np.ndarray]:
    """The matrices A and B (n, cells): a scrambled Sobol sequence, whose points fill the cube evenly."""
    from scipy.stats.qmc import Sobol

    both = Sobol(2 * n_cells, scramble=True, seed=rng).random(n_designs).astype(np.float32)
    return both[:, :n_cells], both[:, n_cells:]


def _rows(one: np.ndarray, other: np.ndarray) -> Iterator[np.ndarray]:
    """A, B, and then for each row of A all those that differ from it in one cell, which B gives."""
    yield from (one, other)
    for mine, theirs in zip(one, other, strict=True):
        changed = np.tile(mine, (len(mine), 1))
        np.fill_diagonal(changed, theirs)
        yield changed


def sobol(problem: Problem, *, grid_size: int = 8, n_designs: int = 32) -> Steps:
    """Total-order Sobol indices ``E[Var(f | all cells but i)] / Var(f)`` (Fel et al. 2021, equation 3).

    Each cell of a grid fades between the picture and the baseline by a number of its own from 0 to 1. The index is
    Jansen's (1999) estimate ``Σ_k (f(A_k) - f(C_ik))² / (2 n V)``, where ``C_ik`` is ``A_k`` with cell i from ``B_k``,
    and V the variance over A and B. Unsigned: it says where the answer is decided, alone or together with other cells,
    not in which direction. The indices of an answer that cells add up to sum to 1; beyond that they act together.
    Defaults are xplique's, 8 × 8 cells and 32 designs. `coarse` has the indices, `values` has them enlarged linearly.

    Proof: equals scipy's sobol_indices on the same answers to 1e-6; additive games and Ishigami's function come to
    their known indices within 0.03 (tests/test_perturbation.py).
    """
    if n_designs & (n_designs - 1):
        raise ArgumentError(
            f"n_designs={n_designs} must be a power of two, or its points do not fill the space evenly; take "
            f"{1 << (n_designs.bit_length() - 1)} or {1 << n_designs.bit_length()}."
        )
    grid, shape = _grid(problem, grid_size), problem.view.shape
    n_cells = grid[0] * grid[1]
    rows, cols = (np.arange(length) * n // length for length, n in zip(shape, grid, strict=True))
    cell = rows[:, None] * grid[1] + cols

    def masks() -> Iterator[np.ndarray]:
        for block in _rows(*designs(problem.rng(), n_designs, n_cells)):
            for start in range(0, len(block), chunk(shape)):
                yield block[start : start + chunk(shape), cell]

    total = _cost(problem, grid_size, n_designs)
    scores, done, pace, estimate = np.zeros(total), 0, Pace(), Estimate()
    for batch, answers in problem.perturb(masks()):
        scores[done : done + len(batch)] = problem.target.of(answers)
        done += len(batch)
        complete = (done - 2 * n_designs) // n_cells
        if done == total or (complete > 0 and pace.due()):
            estimate = _estimate(scores, n_designs, complete, grid, shape)
        yield replace(estimate, done=done, total=total, n_forward=done)


def _estimate(
    scores: np.ndarray, n_designs: int, complete: int, grid: tuple[int, int], shape: tuple[int, int]
) -> Estimate:
    """Indices from the designs asked about completely."""
    import torch

    variance = float(scores[: 2 * n_designs].var())
    changed = scores[2 * n_designs :][: complete * grid[0] * grid[1]].reshape(complete, *grid)
    moved = (scores[:complete, None, None] - changed) ** 2
    index = moved.mean(0) / (2 * variance) if variance > 0 else np.zeros(grid)
    total = float(index.sum())  # 1 where cells only add up
    checks, warnings = agreement(moved[::2].sum(0), moved[1::2].sum(0), "take more designs.")
    coarse = torch.from_numpy(index.astype(np.float32))
    enlarged = torch.nn.functional.interpolate(coarse[None, None], shape, mode="bilinear", align_corners=False)
    return Estimate(
        values=enlarged[0, 0].numpy(),
        coarse=coarse.numpy(),
        checks={"index_sum": (total, "together" if total > 1.1 else "alone"), **checks},
        warnings=warnings,
    )


def _cost(problem: Problem, grid_size: int = 8, n_designs: int = 32) -> int:
    rows, cols = _grid(problem, grid_size)
    return n_designs * (rows * cols + 2)


INFO = MethodInfo(
    name="sobol",
    label="Sobol",
    family="perturbation",
    summary="How much of the answer's ups and downs each cell has a hand in, alone or with others. Shows no direction.",
    run=sobol,
    params=(
        Param("grid_size", int, 8, "Cells along each side; xplique's default.", 2, 32),
        Param("n_designs", int, 32, "Points of each design, a power of two; xplique's default.", 2, 4096),
    ),
    signed=False,
    cost=_cost,
    source="Fel et al., Look at the Variance! Efficient Black-box Explanations with Sobol-based Sensitivity Analysis, "
    "NeurIPS 2021",
    quick={"grid_size": 3, "n_designs": 2},
)
