"""How soon are the Shapley values of regions as right as shap's and captum's?

Error is the mean square over regions in units of the greatest value squared, against the exact values where all
combinations can be asked (the ViT's 16 squares), else against up to 50,000 samples of shap's KernelExplainer. Peers get
300 samples. Partition answers another question (Owen values of a fixed tree), so its error has a floor; it is here
because it is what shap does with pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import numpy as np

from benchmarks import cases, peers
from benchmarks.cases import Case
from benchmarks.harness import Report, alternate, rounds, seconds
from benchmarks.quality import relative_mse, seconds_to
from benchmarks.reference import Reference

PEERS = 300
COUNTS = (110, 150, 250, 500)


def contenders(case: Case) -> Mapping[str, Callable[[Case, int, int], np.ndarray]]:
    """Who makes Shapley values, by how they are called here."""
    batch = peers.captum_batch(case)
    return {
        "shap Kernel": peers.shap_kernel,
        "shap Permutation": peers.shap_permutation,
        "shap Partition": peers.shap_partition,
        f"captum KernelShap by {batch}": partial(peers.captum_regions, "KernelShap", per_call=batch),
    }


def run(report: Report, quick: bool) -> None:
    """A photo, and a picture whose values are exact."""
    if quick:
        compare(report, cases.vit(), 50, (40, 60), rounds(2, 0.1, 2))
        return
    for case, minutes in ((cases.lite0("coffee"), 2.5), (cases.vit(), 0.7)):
        compare(report, case, PEERS, COUNTS, rounds(12, minutes))


def compare(report: Report, case: Case, n_peers: int, counts: tuple[int, ...], turns: Iterable[int]) -> None:
    """Time at equal error against each peer, and against the best of shap's."""
    converged = Reference(case).shapley()
    report.note(f"{case.name}: {case.n_segments} regions, converged on {converged}")
    calls = contenders(case)
    others = {name: lambda seed, call=call: call(case, n_peers, seed) for name, call in calls.items()}
    ours = {n: lambda seed, n=n: case.attribute("kernel_shap", seed, n).segment_values for n in counts}
    least = 2 * case.n_segments + 6
    for call in calls.values():  # imports and first calls
        call(case, least, 0)
    case.attribute("kernel_shap", 0, least)
    found = alternate({**ours, **others}, turns)
    took = np.array([seconds(found[n]) for n in counts])
    errors = {who: np.array([relative_mse(run.answer, converged.values) for run in found[who]]) for who in found}
    curve = np.array([errors[n].mean() for n in counts])
    gains = {}
    for name in others:
        words, times = seconds_to(errors[name].mean(), counts, curve, took)
        gains[name] = seconds(found[name]) / times
        at_least = 10 if name.startswith("captum") else None
        report.ratio(f"time of {name} / ours at equal error ({words})", case.name, gains[name], 1, at_least)
    best = min((name for name in others if name.startswith("shap")), key=lambda name: np.median(gains[name]))
    report.ratio(f"time of shap's best, {best}, / ours at equal error", case.name, gains[best], 1, at_least=5)
    report.curves[case.name] = {
        "ours": {"n": counts, "seconds": took, "error": np.array([errors[n] for n in counts])},
        **{name: {"n": n_peers, "seconds": seconds(found[name]), "error": errors[name]} for name in others},
    }
