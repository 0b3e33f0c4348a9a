"""What does one forward cost, asked as the peers ask and as we do?

Peers send batches of 10 plain NCHW float32 pictures (lime, shap), 1 (captum) or 100 (RISE), and are charged for the
bare forwards alone. Ours is a whole ``attribute(method="lime")`` on given regions, divided by its samples.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from benchmarks import cases
from benchmarks.cases import Case
from benchmarks.harness import Report, alternate, rounds, seconds

WAYS = {
    "NCHW float32, batch 10 (lime, shap)": (10, torch.contiguous_format),
    "NCHW float32, batch 1 (captum)": (1, torch.contiguous_format),
    "NCHW float32, batch 64 (RISE, or so)": (64, torch.contiguous_format),
    "channels_last float32, batch 8": (8, torch.channels_last),
}


def plain(case: Case, n_pictures: int, batch: int, memory_format: torch.memory_format) -> Callable[..., None]:
    """A way to put `n_pictures` through the model, in plain torch and with nothing else to do."""
    pictures = case.inputs.repeat(batch, 1, 1, 1).contiguous(memory_format=memory_format)
    parts = [pictures[: min(batch, n_pictures - start)] for start in range(0, n_pictures, batch)]

    def forward(_round: int = 0) -> None:
        with torch.inference_mode():
            for part in parts:
                case.model(part).softmax(1)

    return forward


def run(report: Report, quick: bool) -> None:
    """Ways to ask, on each model."""
    for case, n_samples, n_pictures in (
        (cases.lite0(), 400, 64), (cases.torchvision_model("resnet18"), 400, 64), (cases.vit(), 4000, 1920),
    ):  # fmt: skip
        compare(report, case, *((4, 4, 2) if quick else (n_samples, n_pictures, 7)))


def compare(report: Report, case: Case, n_samples: int, n_pictures: int, turns: int) -> None:
    """One model."""
    ways = {name: plain(case, n_pictures, *way) for name, way in WAYS.items()}
    contestants = {"ours": lambda seed: case.attribute("lime", seed, n_samples), **ways}
    alternate(contestants, range(1))  # everything is imported, warm, and the engine has chosen
    found = alternate(contestants, rounds(turns, 0.7))
    ours = seconds(found["ours"]) / n_samples
    for name in ways:
        report.ratio(f"{name} / ours", case.name, seconds(found[name]) / n_pictures, ours)
    report.note(f"{case.name}: ours {1e3 * np.median(ours):.3g} ms a sample, by {engine(found['ours'][-1].answer)}")
    report.curves[case.name] = {"ours": ours, **{name: seconds(found[name]) / n_pictures for name in ways}}


def engine(explanation: object) -> str:
    """How the model was run, as the explanation records it."""
    seen = explanation.params["input"]
    chosen = seen.get("engine") or {"batch_size": seen["batch_size"], "device": seen["device"]}
    return ", ".join(f"{key} {value}" for key, value in chosen.items()) if isinstance(chosen, dict) else str(chosen)
