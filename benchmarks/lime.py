"""How soon are LIME's weights as right as lime's defaults make them?

Same regions, same off colour, same estimand: the weights that lime tends to (reference.py). Error is measured in two
ways, 1 − Spearman's correlation over the ten regions that matter most, and RMSE over all regions in units of the
greatest weight. Lime's error with n of its own random masks is known for many seeds, since the reference keeps its
answers; lime's time is that of whole calls with its defaults. Ours are whole calls of `attribute` with early stopping
off, each with a seed of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from benchmarks import cases, peers
from benchmarks.cases import Case
from benchmarks.harness import Report, alternate, rounds, seconds
from benchmarks.quality import ERRORS, rank_error, seconds_to
from benchmarks.reference import CHUNK, Reference

LIME = 1000
"""Lime's default number of samples."""
COUNTS = (60, 125, 250, 500, 1000)


def run(report: Report, quick: bool) -> None:
    """A photo, and a picture whose answers are all known."""
    for case, minutes in ((cases.lite0("coffee"), 4.0), (cases.vit(), 0.5)):
        if quick:
            against_lime(report, case, 12, (5, 10), rounds(2, 0.1, 2), chunk=48)
        else:
            against_lime(report, case, LIME, COUNTS, rounds(12, minutes))


def against_lime(
    report: Report, case: Case, n_lime: int, counts: tuple[int, ...], turns: Iterable[int], chunk: int = CHUNK
) -> None:
    """Time at equal error, and error in equal time, against lime with `n_lime` samples."""
    reference = Reference(case, chunk)
    converged = reference.lime()
    peers.lime(case, 10, 0), case.attribute("lime", 0, counts[0])  # imports and first calls
    # Two seeds a round, for an error needs more of them than a time.
    contestants = {
        (n, half): lambda turn, n=n, half=half: case.attribute("lime", 2 * turn + half, n)
        for n in counts
        for half in (0, 1)
    }
    found = alternate({**contestants, "lime": lambda turn: peers.lime(case, n_lime, turn)}, turns)
    lime_seconds = seconds(found["lime"])
    ours = np.array([[seconds(found[n, half]) for half in (0, 1)] for n in counts]).mean(1)
    answers = {n: [run.answer.segment_values for half in (0, 1) for run in found[n, half]] for n in counts}
    # Lime had this many samples in the time of our largest run.
    n_same = max(4, round(n_lime * np.median(ours[-1]) / np.median(lime_seconds)))
    at_default, at_same = list(reference.draws(n_lime)), list(reference.draws(n_same))
    about = f"{case.n_segments} regions, converged on {converged}, lime's error of {len(at_default)} seeds"
    report.note(f"{case.name}: {about}")
    for name, error in ERRORS.items():
        rows = np.array([[error(values, converged.values) for values in answers[n]] for n in counts])
        lime_error = np.mean([error(values, converged.values) for values in at_default])
        lime_same = [error(values, converged.values) for values in at_same]
        by_rank = error is rank_error
        words, times = seconds_to(lime_error, counts, rows.mean(1), ours)
        claim = f"time of lime's defaults / ours at equal error, {name} ({words})"
        report.ratio(claim, case.name, lime_seconds, times, at_least=4 if by_rank else None)
        claim = f"error of lime ({n_same} samples) / ours ({counts[-1]}) in equal time, {name}"
        report.ratio(claim, case.name, lime_same, max(rows[-1].mean(), 1e-9), at_least=2 if by_rank else None)
        report.curves.setdefault(case.name, {})[name] = {
            "ours": {"n": counts, "seconds": ours, "error": rows},
            "lime": {"n": n_lime, "seconds": lime_seconds, "error": lime_error},
        }
