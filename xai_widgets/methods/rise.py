"""RISE: soft random masks, each weighed by the model's answer to what it leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from xai_widgets.methods._sampling import agreement, chunk
from xai_widgets.problem import Estimate, Pace, Problem, Steps
from xai_widgets.registry import MethodInfo, Param


def _enlarging(length: int, grid_size: int) -> tuple[np.ndarray, int]:
    """Weights (pixels, cells) that enlarge a row of cells linearly to a cell more than `length`, and a cell's pixels.

    Beyond the centres of the outer cells the row is mirrored, as scikit-image's ``resize(mode="reflect")`` does, which
    RISE's authors use.
    """
    cell = -(-length // grid_size)
    pixels = cell * (grid_size + 1)
    at = np.abs((np.arange(pixels) + 0.5) * grid_size / pixels - 0.5)
    at = np.minimum(at, 2 * (grid_size - 1) - at)
    low = np.minimum(at.astype(int), grid_size - 2)
    weights = np.zeros((pixels, grid_size), np.float32)
    weights[np.arange(pixels), low] = 1 - (at - low)
    weights[np.arange(pixels), low + 1] = at - low
    return weights, cell


def _stream(
    rng: np.random.Generator, grid_size: int, keep: float, cells: tuple[int, int]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Without end: coins float32 (b, grid_size, grid_size), and shifts down and across (b,), less than a cell.

    Each grid is one of fair, independent coins. Where cells are shown half of the time, the grids of a block are rows
    of a Hadamard matrix, in any order, with any of its columns for cells and any cells turned over: an orthogonal array
    of strength 2 (Rao 1947), in which each pair of cells takes its four states equally often. So what one cell does to
    the answer is not mistaken for what another does.
    """
    n_cells = grid_size * grid_size
    order = 1 << n_cells.bit_length()
    size = min(order, 64)
    while True:
        columns, turned = 1 + rng.permutation(order - 1)[:n_cells], rng.integers(2, size=n_cells)
        for rows in rng.permutation(order).reshape(-1, size):
            if keep == 0.5:
                signs = rows[:, None] & columns  # Sylvester's matrix: the parity of the bits that both have
                for bits in (8, 4, 2, 1):
                    signs ^= signs >> bits
                coins = (signs & 1) ^ turned
            else:
                coins = rng.random((size, n_cells)) < keep
            shifts = (rng.integers(cell, size=size) for cell in cells)
            yield coins.astype(np.float32).reshape(size, grid_size, grid_size), *shifts


def draws(
    rng: np.random.Generator, grid_size: int, keep: float, cells: tuple[int, int]
) -> Iterator[tuple[np.ndarray, ...]]:
    """As `_stream`, of two that know nothing of each other and take turns: the halves that are compared.

    The first numbers are the same however many are drawn, so that more samples go on where fewer ended.
    """
    for both in zip(*(_stream(each, grid_size, keep, cells) for each in rng.spawn(2)), strict=True):
        yield tuple(np.stack(pair, 1).reshape(-1, *pair[0].shape[1:]) for pair in zip(*both, strict=True))


def masks(
    rng: np.random.Generator, n_samples: int, grid_size: int, keep: float, shape: tuple[int, int]
) -> Iterator[np.ndarray]:
    """RISE's masks (§3.2), float32 (n, h, w): coins on a grid, enlarged, and shifted by less than a cell."""
    (down, height), (across, width) = (_enlarging(length, grid_size) for length in shape)
    left = n_samples
    for drawn in draws(rng, grid_size, keep, (height, width)):
        for start in range(0, len(drawn[0]), chunk(shape)):
            coins, top, side = (each[start : start + min(chunk(shape), left)] for each in drawn)
            rows, cols = top[:, None] + np.arange(shape[0]), side[:, None] + np.arange(shape[1])
            yield down[rows] @ coins @ across[cols].transpose(0, 2, 1)
            left -= len(coins)
            if not left:
                return


def rise(
    problem: Problem, *, n_samples: int = 4000, grid_size: int = 7, keep: float = 0.5, form: str = "difference"
) -> Steps:
    """How much more the model answers when a place is shown (Petsiuk, Das and Saenko 2018).

    The paper's map is ``S(λ) = E[f(x ⊙ M) | M(λ) = 1]``, which lies around the mean answer ``E[f(x ⊙ M)]`` wherever
    one looks. "difference" is ``S(λ) - E[f(x ⊙ M)]``, with S estimated by ``Σ_i f_i M_i(λ) / Σ_i M_i(λ)``; the mean
    that was subtracted is the check "mean_answer". "paper" is its equation 6 as it stands, ``Σ_i f_i M_i(λ) / (N p)``:
    it divides by how often a place is shown on average, not by how often this one was, so that a high mean answer
    drowns what differs between places in the noise of the masks: of 700 masks on the demo's espresso, two halves
    correlate by 0.02 in this form and by 0.91 in the other.

    Masks are the paper's: 7 × 7 coins of p = ½, enlarged linearly and shifted at random; 4000, its number for VGG16
    (8000 for ResNet-50). What a mask hides fades to the problem's baseline; the authors fade to the mean colour.
    Coins at ½ come in balanced blocks, which is worth 1.2 to 1.5 times the samples (n = 250, 1000, 4000; demo's
    transformer). Complements are not taken: what a cell does alone has the same product with its mask in both, so that
    pairs were worth 0.7 to 0.9 times as many single masks; shifts from a low-discrepancy sequence gained nothing.

    Proof: equals the authors' formula on masks made by scikit-image as they make them to 1e-6, and on a model that is
    linear in the mask the known expectation within its sampling error; blocks are balanced, halves independent, and
    fewer samples the first of more (tests/test_perturbation.py).
    """
    shape, pace, estimate, done = problem.view.shape, Pace(), Estimate(), 0
    halves = [_Half(shape), _Half(shape)]
    for batch, answers in problem.perturb(masks(problem.rng(), n_samples, grid_size, keep, shape)):
        scores = problem.target.of(answers)
        for turn, half in enumerate(halves):  # every other mask goes to the same half
            mine = (done + np.arange(len(batch))) % 2 == turn
            half.add(batch[mine], scores[mine])
        done += len(batch)
        if done == n_samples or (done > 1 and pace.due()):
            estimate = _estimate(halves, keep, form)
        yield replace(estimate, done=done, total=n_samples, n_forward=done)


class _Half:
    """Sums over half of the masks, whose map is compared with the other's."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.n, self.answers, self.weighed, self.shown = 0, 0.0, np.zeros(shape), np.zeros(shape)

    def add(self, masks: np.ndarray, scores: np.ndarray) -> None:
        self.n += len(masks)
        self.answers += float(scores.sum())
        self.weighed += np.tensordot(scores, masks, 1)
        self.shown += masks.sum(0, dtype=np.float64)

    def __add__(self, other: _Half) -> _Half:
        both = _Half(self.shown.shape)
        for name in vars(both):
            setattr(both, name, getattr(self, name) + getattr(other, name))
        return both

    def map(self, keep: float, form: str) -> np.ndarray:
        if form == "paper":
            return self.weighed / (self.n * keep)
        mean = np.full_like(self.shown, self.answers / self.n)
        # A place that no mask has shown yet says nothing.
        return np.divide(self.weighed, self.shown, out=mean.copy(), where=self.shown > 0) - mean


def _estimate(halves: list[_Half], keep: float, form: str) -> Estimate:
    both = halves[0] + halves[1]
    checks, warnings = agreement(*(half.map(keep, form) for half in halves), "take more samples.")
    return Estimate(
        values=both.map(keep, form).astype(np.float32),
        checks={"mean_answer": (both.answers / both.n, "subtracted" if form == "difference" else "kept"), **checks},
        warnings=warnings,
    )


INFO = MethodInfo(
    name="rise",
    label="RISE",
    family="perturbation",
    summary="How much more the model answers when random masks show a place. Needs only answers; slow and blurred.",
    run=rise,
    params=(
        Param("n_samples", int, 4000, "Random masks to ask about; the paper took 4000 to 8000.", 4, 1_000_000),
        Param("grid_size", int, 7, "Cells of a mask along each side; the paper's 7.", 2, 64),
        Param("keep", float, 0.5, "How often a cell is shown; the paper's one half.", 0.01, 0.99),
        Param(
            "form",
            str,
            "difference",
            "The mean answer when a place is shown: as its difference from the mean of all, or as the paper's sum.",
            choices=("difference", "paper"),
        ),
    ),
    linear=True,
    cost=lambda problem, n_samples=4000, **_: n_samples,
    source="Petsiuk, Das and Saenko, RISE: Randomized Input Sampling for Explanation of Black-box Models, BMVC 2018",
    quick={"n_samples": 24},
)
