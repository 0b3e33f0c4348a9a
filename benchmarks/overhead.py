"""What does an explanation cost beyond the model's own forwards?

A whole `attribute` of LIME with 1,000 samples (250 on ResNet-18), reading and cutting the photo included, against as
many pictures through the bare model in plain torch, at the best batch size and memory layout found here; the same kept
to torch; the first call on a model that was never seen. The same number of samples from the peers. Grad-CAM, whole,
against one forward and one backward pass to the picture on all cores, and against pytorch-grad-cam and torchcam, who
are handed a ready tensor.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch

import xai_widgets as xw
from benchmarks import cases, peers
from benchmarks.cases import Case
from benchmarks.harness import Report, alternate, rounds, seconds
from benchmarks.price import engine, plain

BATCHES = (1, 2, 4, 8, 16, 32, 64)


def run(report: Report, quick: bool) -> None:
    """Each model on its own; the peers and Grad-CAM on the demo model."""
    lite0 = cases.lite0()
    for case, n in ((lite0, 1000), (cases.torchvision_model("resnet18"), 250), (cases.vit(), 1000)):
        own_forwards(report, case, 8 if quick else n, quick, 0.5)
    same_samples(report, lite0, 6 if quick else 100, 2 if quick else 5, 0.8)
    for case in (lite0, cases.torchvision_model("resnet18")):
        gradcam(report, case, 2 if quick else 15)


def own_forwards(report: Report, case: Case, n_samples: int, quick: bool, minutes: float) -> None:
    """Whole LIME against as many bare forwards."""
    batch, form = fastest(case, 2 if quick else 64)
    layout = "channels_last" if form == torch.channels_last else "NCHW"
    report.note(f"{case.name}: the bare model is fastest with {layout} float32, batch {batch}")

    def whole(model: torch.nn.Module, seed: int, n: int = n_samples, runtime: str = "auto") -> xw.Explanation:
        return case.attribute("lime", seed, n, model=model, segments="slic", runtime=runtime)

    whole(case.model, 0, min(n_samples, 100))
    n_peers = max(10, n_samples // 10)
    contestants = {
        "later": lambda seed: whole(case.model, seed),
        "torch": lambda seed: whole(case.model, seed, runtime="torch"),
        "first": lambda seed: whole(copy.deepcopy(case.model), seed),
        "bare": plain(case, n_samples, batch, form),
        "as peers": plain(case, n_peers, 10, torch.contiguous_format),
    }
    found = alternate(contestants, rounds(2 if quick else 7, minutes))
    bare = seconds(found["bare"])
    claim = f"whole attribute, LIME, {n_samples} samples / bare forwards"
    report.ratio(claim, case.name, seconds(found["later"]), bare, at_most=1.1)
    report.ratio('the same with runtime="torch": our overhead', case.name, seconds(found["torch"]), bare, at_most=1.1)
    report.ratio("the same, first call on a model never seen", case.name, seconds(found["first"]), bare)
    peers_price = seconds(found["as peers"]) * n_samples / n_peers
    report.ratio("bare forwards as peers ask (NCHW, batch 10) / at their best", case.name, peers_price, bare)
    report.note(f"{case.name}: ours by {engine(found['later'][-1].answer)}")


def fastest(case: Case, n_pictures: int) -> tuple[int, torch.memory_format]:
    """The batch size and memory layout at which the bare model is fastest."""
    ways = [(batch, form) for form in (torch.contiguous_format, torch.channels_last) for batch in BATCHES]
    # In turn, and the best of three: a slow moment of the machine would choose a way that is not the best.
    runs = alternate({way: plain(case, n_pictures, *way) for way in ways}, range(3))
    return min(ways, key=lambda way: seconds(runs[way]).min())


def same_samples(report: Report, case: Case, n: int, most: int, minutes: float) -> None:
    """Whole calls of ours and of the peers' methods of the same name, with as many samples."""
    window, stride = (64, 32) if n < 50 else (32, 16)
    pairs: dict[str, tuple[str, Callable[[int], Any]]] = {
        "lime": ("lime", lambda seed: peers.lime(case, n, seed)),
        "captum Lime by 1, its default": ("lime", lambda seed: peers.captum_regions("Lime", case, n, seed)),
        "captum Lime by 10": ("lime", lambda seed: peers.captum_regions("Lime", case, n, seed, 10)),
        "captum Occlusion by 1, its default": ("occlusion", lambda _: peers.captum_occlusion(case, window, stride)),
        "captum Occlusion by 10": ("occlusion", lambda _: peers.captum_occlusion(case, window, stride, 10)),
        "RISE as its authors do it": ("rise", lambda seed: peers.rise(case, n, seed)),
    }
    ours: dict[str, Callable[[int], Any]] = {
        "ours, lime": lambda seed: case.attribute("lime", seed, n),
        "ours, occlusion": lambda seed: case.attribute("occlusion", seed, window=window, stride=stride),
        "ours, rise": lambda seed: case.attribute("rise", seed, n),
    }
    contestants = {**ours, **{name: call for name, (_, call) in pairs.items()}}
    found = alternate(contestants, rounds(most, minutes))
    for name, (method, _) in pairs.items():
        counted = f"{n} samples" if method != "occlusion" else f"windows of {window}, steps of {stride}"
        took = seconds(found[f"ours, {method}"])
        report.ratio(f"time of {name} / ours, {counted}", case.name, seconds(found[name]), took)


def gradcam(report: Report, case: Case, turns: int) -> None:
    """Whole Grad-CAM against one pass forward and back, and against the peers."""
    layer = case.attribute("gradcam", 0).target_layer
    module = case.model.get_submodule(layer)

    def there_and_back(_round: int) -> torch.Tensor:
        picture = case.inputs.clone().requires_grad_()
        return torch.autograd.grad(case.model(picture)[0, case.target], picture)[0]

    contestants = {
        "ours": lambda seed: xw.attribute(case.model, case.photo, method="gradcam", seed=seed, **case.options),
        "there and back": there_and_back,
        "pytorch-grad-cam": lambda _: peers.gradcam(case, module),
        "torchcam": lambda _: peers.torchcam_gradcam(case, module),
    }
    alternate(contestants, range(2))
    found = {name: seconds(runs) for name, runs in alternate(contestants, range(turns)).items()}
    back = found["there and back"]
    report.ratio("whole Grad-CAM / one forward and backward", case.name, found["ours"], back, at_most=1.3)
    for name in ("pytorch-grad-cam", "torchcam"):
        report.ratio(f"{name}, from a ready tensor / one forward and backward", case.name, found[name], back)
        report.ratio(f"time of {name} / ours", case.name, found[name], found["ours"])
