"""On a GPU: how long do 1,000 samples of ResNet-50 take, and how much of the card is used?

The share is of the bf16 matrix product that this very card reaches, counting 8.2 GFLOP a picture for the network at
224 × 224. The peers run on the same card, with their own defaults.
"""

from __future__ import annotations

import numpy as np
import torch

from benchmarks import cases, peers
from benchmarks.harness import Report, alternate, rounds, seconds
from benchmarks.price import engine

FLOP = 2 * 4.09e9
"""Of one picture: 4.09 billion multiplications with additions."""


def run(report: Report, quick: bool) -> None:
    """LIME, Kernel SHAP and RISE against the peers."""
    if not torch.cuda.is_available():
        report.note("left out: torch sees no CUDA device here")
        return
    n, peers_n, turns = (64, 32, 2) if quick else (1000, 200, 7)
    case = cases.torchvision_model("resnet50", "cuda")
    contestants = {
        "lime": lambda seed: case.attribute("lime", seed, n),
        "shap": lambda seed: case.attribute("kernel_shap", seed, n),
        "rise": lambda seed: case.attribute("rise", seed, n),
        "lime's": lambda seed: peers.lime(case, peers_n, seed),
        "shap's Kernel": lambda seed: peers.shap_kernel(case, peers_n, seed),
        "captum's KernelShap by 1, its default,": lambda seed: peers.captum_regions("KernelShap", case, peers_n, seed),
        "captum's KernelShap by 64": lambda seed: peers.captum_regions("KernelShap", case, peers_n, seed, 64),
        "RISE as its authors do it,": lambda seed: peers.rise(case, n, seed),
    }
    alternate(contestants, range(1))
    found = alternate(contestants, rounds(turns, 6))
    ceiling = matmul_ceiling(1024 if quick else 8192)
    ours = {method: seconds(found[method]) / n for method in ("lime", "shap", "rise")}
    for method, price in ours.items():
        report.ratio(f"{method}: share of the card's bf16 ceiling", case.name, FLOP / price, ceiling)
    for name, method, count in (
        ("lime's", "lime", peers_n), ("shap's Kernel", "shap", peers_n), ("RISE as its authors do it,", "rise", n),
        ("captum's KernelShap by 1, its default,", "shap", peers_n), ("captum's KernelShap by 64", "shap", peers_n),
    ):  # fmt: skip
        report.ratio(f"{name} time a sample / ours", case.name, seconds(found[name]) / count, ours[method])
    report.note(f"ceiling measured: {ceiling / 1e12:.0f} TFLOP/s in bf16")
    report.note(f"LIME, {n} samples: {n * np.median(ours['lime']):.3g} s, by {engine(found['lime'][-1].answer)}")


def matmul_ceiling(size: int, times: int = 50) -> float:
    """Floating-point operations a second in the best of several long runs of bf16 matrix products."""
    left, right = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    took = []
    for _ in range(5):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(times):
            left @ right
        end.record()
        torch.cuda.synchronize()
        took.append(start.elapsed_time(end) / 1e3)
    return 2 * size**3 * times / min(took)
