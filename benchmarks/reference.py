"""The converged answers that quality is measured against.

They owe nothing to our estimators: the peers' own, lime's regression and shap's KernelExplainer, on float32 answers of
the model, which OpenVINO computes because that takes a third of the time and is the same to 1e-5. A model with 16
regions is asked about all 65,536 pictures; one with more about 50,000 random ones for each method. Those take longer
than one run should, so each run adds what a few minutes give and keeps it in ``benchmarks/.cache``.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import factorial
from pathlib import Path

import numpy as np
import torch

from benchmarks import cases, peers
from benchmarks.cases import Case
from benchmarks.harness import CACHE, Report
from xai_widgets.classifiers import Classifier
from xai_widgets.translation import trace

SAMPLES, CHUNK = 50_000, 5_000
EXACT = 16
"""Regions up to which every combination is asked."""
MINUTES = 8.0


@dataclass(frozen=True)
class Converged:
    """One number a region, and how many samples it took; all there are, where it is exact."""

    values: np.ndarray
    n_samples: int
    exact: bool

    def __str__(self) -> str:
        return f"{'all ' if self.exact else ''}{self.n_samples:,} samples"


class Reference:
    """The converged answers for a case, as far as they have been found.

    Parameters
    ----------
    case : Case
    chunk : int, optional
        Samples found at a time.
    """

    def __init__(self, case: Case, chunk: int = CHUNK) -> None:
        self.case, self.chunk, self.exact = case, chunk, case.n_segments <= EXACT

    # ---- finding ---------------------------------------------------------------------------------------------------

    def grow(self, kind: str) -> bool:
        """Find one more chunk for "lime" or "shap"; False where there is nothing left to find."""
        if self.exact:
            if self._path("all").exists():
                return False
            self._keep("all", scores=self._ask(every_mask(self.case.n_segments)))
            return True
        kept = self._load(kind)
        number = len(kept.get("seeds", ()))
        if number * self.chunk >= SAMPLES:
            return False
        made = self._lime_chunk(number) if kind == "lime" else self._shap_chunk(number)
        made = {name: np.concatenate([kept[name], rows]) if kept else rows for name, rows in made.items()}
        self._keep(kind, **made)
        return True

    def _lime_chunk(self, seed: int) -> dict[str, np.ndarray]:
        masks = np.random.RandomState(seed).randint(0, 2, (self.chunk, self.case.n_segments)).astype(bool)
        return {"seeds": np.array([seed]), "masks": masks, "scores": self._ask(masks)}

    def _shap_chunk(self, seed: int) -> dict[str, np.ndarray]:
        values = peers.shap_kernel(self.case, self.chunk, seed, lambda masks: self._ask(np.asarray(masks, bool)))
        return {"seeds": np.array([seed]), "values": values[None]}

    @cached_property
    def _answers(self) -> Callable[[torch.Tensor], torch.Tensor]:
        classifier = Classifier(self.case.model)
        classifier.probe(self.case.inputs[0])
        translated = trace(classifier).compile()
        gap = translated.gap(classifier)
        assert gap < 1e-5, gap
        return translated

    def _ask(self, masks: np.ndarray) -> np.ndarray:
        """Probabilities (n,) in float32, by small batches."""
        case, labels = self.case, torch.as_tensor(self.case.segments, dtype=torch.long)
        size = 8 if case.image.shape[0] > 100 else 256
        scores = []
        with torch.inference_mode():
            for part in torch.from_numpy(masks).split(size):
                pictures = torch.where(part[:, labels][:, None], case.inputs, case.off_inputs)
                answers = self._answers(pictures).softmax(1)
                scores.append(answers[:, case.target].double().numpy())
        return np.concatenate(scores)

    # ---- reading ---------------------------------------------------------------------------------------------------

    def lime(self) -> Converged:
        """What lime's weights tend to."""
        masks, scores = self._rows()
        return Converged(peers.lime_fit(masks, scores, converged=True), len(masks), self.exact)

    def shapley(self) -> Converged:
        """The Shapley values."""
        self._need("shap")
        if self.exact:
            scores = self._load("all")["scores"]
            return Converged(shapley(scores), len(scores), True)
        values = self._load("shap")["values"]
        return Converged(values.mean(0), len(values) * self.chunk, False)

    def draws(self, n_samples: int, most: int = 50) -> Iterator[np.ndarray]:
        """Lime's weights from `n_samples` of its own random masks, for as many seeds as there are answers."""
        masks, scores = self._rows()
        ones = np.ones((1, self.case.n_segments), bool)
        whole = self._ask(ones)
        for seed in range(most if self.exact else min(most, len(masks) // n_samples)):
            rows = slice(seed * n_samples, (seed + 1) * n_samples - 1)
            if self.exact:
                rows = np.random.default_rng(seed).integers(len(masks), size=n_samples - 1)
            yield peers.lime_fit(np.concatenate([ones, masks[rows]]), np.concatenate([whole, scores[rows]]))

    def _rows(self) -> tuple[np.ndarray, np.ndarray]:
        self._need("lime")
        if self.exact:
            return every_mask(self.case.n_segments), self._load("all")["scores"]
        kept = self._load("lime")
        return kept["masks"], kept["scores"]

    def _need(self, kind: str) -> None:
        if not self._path("all" if self.exact else kind).exists():
            self.grow(kind)

    # ---- the cache -------------------------------------------------------------------------------------------------

    def _path(self, kind: str) -> Path:
        case = self.case
        digest = hashlib.sha256()
        for array in (case.image, case.off, case.segments, 0 if self.exact else self.chunk):
            digest.update(np.ascontiguousarray(array).tobytes())
        return CACHE / f"{case.name.replace(', ', '-')}-{kind}-{digest.hexdigest()[:8]}.npz"

    def _load(self, kind: str) -> dict[str, np.ndarray]:
        if not self._path(kind).exists():
            return {}
        with np.load(self._path(kind)) as kept:
            return dict(kept)

    def _keep(self, kind: str, **arrays: np.ndarray) -> None:
        path = self._path(kind)
        path.parent.mkdir(exist_ok=True)
        draft = path.with_suffix(".draft.npz")  # complete, or not there
        np.savez_compressed(draft, **arrays)
        draft.replace(path)


def every_mask(n_segments: int) -> np.ndarray:
    """All combinations, bool (2 ** S, S); region i is bit i of the row's number."""
    return (np.arange(2**n_segments)[:, None] >> np.arange(n_segments) & 1).astype(bool)


def shapley(scores: np.ndarray) -> np.ndarray:
    """Shapley values (S,) by their definition from the answers to `every_mask`."""
    n_segments = len(scores).bit_length() - 1
    numbers = np.arange(len(scores))
    sizes = every_mask(n_segments).sum(1)
    weights = np.array([factorial(size) * factorial(n_segments - size - 1) for size in range(n_segments)], float)
    weights /= factorial(n_segments)
    values = np.empty(n_segments)
    for region in range(n_segments):
        without = numbers[numbers >> region & 1 == 0]
        values[region] = np.sum(weights[sizes[without]] * (scores[without | 1 << region] - scores[without]))
    return values


def run(report: Report, quick: bool) -> None:
    """Add to the references what the time allows."""
    if quick:
        report.note("the smoke run makes tiny ones where they are read")
        return
    coffee = Reference(cases.lite0("coffee"))
    wanted = deque([(Reference(cases.vit()), "lime"), (coffee, "lime"), (coffee, "shap")])
    start = previous = time.perf_counter()
    longest = 0.0
    while wanted and previous - start + longest < 60 * MINUTES:
        reference, kind = wanted.popleft()
        if reference.grow(kind):
            wanted.append((reference, kind))
        now = time.perf_counter()
        longest, previous = max(longest, now - previous), now
    for reference, kind in ((coffee, "lime"), (coffee, "shapley")):
        report.note(f"{reference.case.name}, {kind}: {getattr(reference, kind)()}")
    report.note("complete" if not wanted else "not complete: the next run adds to them")
