"""Are the engine's constants right: eight pictures at once on a CPU, and a translation that pays for itself?

Eleven models of torchvision with random weights, 224 × 224: the price of a picture in batches of 1 to 32, laid out
channels_last, what translating for OpenVINO takes, and the price then. The engine goes by these, not by a clock.
"""

from __future__ import annotations

import time

import numpy as np
import torch
import torchvision.models

from benchmarks.harness import Report
from xai_widgets import translation
from xai_widgets.engine import FEW
from xai_widgets.session import Session

MODELS = (
    "mobilenet_v3_small", "mobilenet_v2", "efficientnet_b0", "shufflenet_v2_x1_0", "squeezenet1_1", "resnet18",
    "resnet50", "densenet121", "vgg11", "convnext_tiny", "vit_b_16",
)  # fmt: skip
BATCHES = (1, 2, 4, 8, 16, 32)


def run(report: Report, quick: bool) -> None:
    """Each model on its own."""
    photo = np.random.default_rng(0).integers(0, 255, (224, 224, 3), dtype=np.uint8)
    ratios, pays = [], []
    for name in MODELS[:1] if quick else MODELS:
        torch.manual_seed(0)
        model = getattr(torchvision.models, name)(weights=None).eval().to(memory_format=torch.channels_last)
        picture = torch.randn(1, 3, 224, 224)
        least = 0.05 if quick else 1.0
        by_batch = [_price(model, picture, batch, least) for batch in BATCHES]
        start = time.perf_counter()
        translated = translation.trace(Session(model, photo, size=224, activation="softmax").classifier).compile()
        took = time.perf_counter() - start
        theirs = _price(translated, picture, FEW["cpu"], least)
        ours = by_batch[BATCHES.index(FEW["cpu"])]
        ratios.append(ours / min(by_batch))
        pays.append(took / (ours - theirs) if ours > theirs else np.inf)
        prices = ", ".join(f"{1e3 * price:.1f}" for price in by_batch)
        report.note(
            f"{name}: {prices} ms a picture in batches of {', '.join(map(str, BATCHES))}; OpenVINO {1e3 * theirs:.1f} "
            f"after {took:.1f} s, which {pays[-1]:.0f} pictures pay for"
        )
    report.ratio(f"price in batches of {FEW['cpu']} / in the best", "torchvision's models", ratios, 1)
    report.ratio("pictures that pay for a translation", "torchvision's models", pays, 1)


def _price(ask: object, picture: torch.Tensor, batch: int, least: float) -> float:
    """Median seconds a picture, of at least three batches and `least` seconds."""
    pictures = picture.repeat(batch, 1, 1, 1)
    pictures = pictures.contiguous(memory_format=torch.channels_last) if isinstance(ask, torch.nn.Module) else pictures
    took: list[float] = []
    with torch.inference_mode():
        ask(pictures)
        while len(took) < 3 or sum(took) < least:
            start = time.perf_counter()
            ask(pictures)
            took.append(time.perf_counter() - start)
    return float(np.median(took)) / batch
