"""Are the standard errors honest, and is a run that stops by itself right? ``python -m benchmarks.coverage``.

Tables of all answers of a real network, so that what an estimate should be is known. EfficientNet-Lite0 takes ten
minutes to fill one, so the network is the Fashion-MNIST transformer, on 12 and 16 regions. Takes about seven minutes on
two cores.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from types import SimpleNamespace

import numpy as np

from benchmarks.harness import machine
from xai_widgets import demo
from xai_widgets.methods._settling import MARGIN
from xai_widgets.methods.lime import cosine_distances
from xai_widgets.registry import get_method
from xai_widgets.session import Session
from xai_widgets.targets import Target

SIZES = (300, 600, 1000)

GAMES = ((9, 16, "mean"), (0, 12, "mean"), (5, 12, "black"))
"""Picture, regions and what is put in their place."""


@dataclass
class Table:
    """A game whose every answer is known; it takes the place of a `Problem`."""

    n_segments: int
    answers: np.ndarray
    seed: int = 0

    def rng(self) -> np.random.Generator:
        """As a `Problem` has it."""
        return np.random.default_rng(self.seed)

    @property
    def target(self) -> SimpleNamespace:
        """The answer itself."""
        return SimpleNamespace(of=lambda answers: answers[:, 0])

    def perturb(self, chunks):
        """Look the masks up."""
        for masks in chunks:
            yield masks, self.answers[masks @ (1 << np.arange(self.n_segments))][:, None]


def play(index: int, n_segments: int, baseline: str) -> Table:
    """Ask the transformer about all coalitions of a picture's regions."""
    net = demo.fashion_transformer()
    session = Session(net, demo.fashion_sample(index), preprocess=net.preprocess, segments="grid",
                      n_segments=n_segments, baseline=baseline, batch_size=256)  # fmt: skip
    target = session.target(None)
    problem = session._problem(Target(target.key), "probability")  # noqa: SLF001
    n = problem.n_segments
    chunks = np.array_split(np.arange(2**n), max(1, 2**n // 4096))
    answers = [problem.scores((part[:, None] >> np.arange(n) & 1).astype(bool)) for part in chunks]
    return Table(n, np.concatenate(answers))


def truth(table: Table, method: str) -> np.ndarray:
    """Shapley values, or LIME's weights with samples without end."""
    n, answers = table.n_segments, table.answers
    every = (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(float)
    if method == "lime":
        weights = np.sqrt(np.exp(-(cosine_distances(every) ** 2) / 0.25**2))
        rows = np.column_stack([np.ones(len(every)), every])
        return np.linalg.solve((rows * weights[:, None]).T @ rows, rows.T @ (weights * answers))[1:]
    from math import comb

    size = every.sum(1).astype(int)
    share = np.array([1 / (n * comb(n - 1, k)) if k < n else 0.0 for k in range(n + 1)])
    numbers, found = np.arange(2**n), np.zeros(n)
    for region in range(n):
        without = numbers[every[:, region] == 0]
        found[region] = share[size[without]] @ (answers[without | 1 << region] - answers[without])
    return found


def last(table: Table, method: str, seed: int, **params):
    """A run's result."""
    info = get_method(method)
    *_, found = info.run(Table(table.n_segments, table.answers, seed), **info.bind(params))
    return found


def in_order(values: np.ndarray, exact: np.ndarray, top: int = 5) -> bool:
    """Whether the order of the strongest is right up to the margin."""
    order, size = np.argsort(-np.abs(values)), np.abs(exact)
    slack = MARGIN * np.abs(values).max()
    return all(size[b] <= size[a] + slack for k, a in enumerate(order[:top]) for b in order[k + 1 :])


def measure(index: int, n_segments: int, baseline: str, n_seeds: int) -> tuple[list[str], list[str]]:
    """The rows of one game: how often intervals cover, and how runs that stop by themselves end."""
    import torch

    torch.set_num_threads(1)
    table, covers, stops = play(index, n_segments, baseline), [], []
    name = f"picture {index}, {table.n_segments} {baseline}"
    for method in ("lime", "kernel_shap"):
        exact = truth(table, method)
        for n in SIZES:
            runs = [last(table, method, seed, n_samples=n, confidence=None) for seed in range(n_seeds)]
            off = np.array([run.regions - exact for run in runs])
            claimed = np.array([run.std_error for run in runs])
            ratio = np.sqrt(np.mean(claimed**2) / np.mean(off**2))
            error = np.sqrt(np.mean(off**2)) / np.abs(exact).max()
            covered = np.mean(np.abs(off) < 1.96 * claimed)
            covers.append(f"{method:12} {name:16} {n:4}  {covered:7.3f}  {ratio:18.2f}  {error:13.5f}")
        limit = min(2048, 2**table.n_segments - 2)
        runs = [last(table, method, seed, n_samples=limit) for seed in range(n_seeds)]
        early = [run for run in runs if run.done < limit]
        right = np.mean([in_order(run.regions, exact) for run in early]) if early else float("nan")
        used = np.median([run.done for run in runs])
        stops.append(f"{method:12} {name:16} {len(early) / len(runs):13.0%}  {used:14.0f}  {right:13.3f}")
    return covers, stops


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200)
    n_seeds = parser.parse_args().seeds
    print(", ".join(f"{key} {value}" for key, value in machine().items() if value))
    print(f"{n_seeds} seeds\n")
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(measure, *zip(*GAMES, strict=True), [n_seeds] * len(GAMES)))
    print("method       game               n  covered  claimed/true error  error/largest")
    print(*(row for covers, _ in found for row in covers), sep="\n")
    print("\nmethod       game              stopped early  median samples  order right")
    print(*(row for _, stops in found for row in stops), sep="\n")


if __name__ == "__main__":
    main()
