"""How much memory does a large photo with many samples take, above the model?

A photo of 12 megapixels, in a process of its own that has already explained a small one. What grows is the peak of
the resident memory over what was there. The model is a small one, torchvision's mobilenet_v3_small with random weights,
for 10,000 samples of a large one take minutes and the same memory. OpenVINO is loaded by then, and the model
translated.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from textwrap import dedent

import numpy as np
from PIL import Image

from benchmarks.harness import HERE, Report

WIDTH, HEIGHT = 4000, 3000
GOAL = 200
"""Megabytes for 1,000 samples."""

RUN = """
    import json, sys
    from pathlib import Path

    import torch
    from torchvision.models import mobilenet_v3_small

    import xai_widgets as xw
    from xai_widgets import registry

    small, large, method, n_samples, runtime = sys.argv[1:]
    torch.manual_seed(0)
    model = mobilenet_v3_small(weights=None).eval()
    given = {"method": method, "target": 0, "size": 224, "activation": "softmax", "runtime": runtime}
    if any(param.name == "confidence" for param in registry.get_method(method).params):
        given["confidence"] = None

    def megabytes(what):
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
        return int(line.split()[1]) / 1024

    xw.attribute(model, small, n_samples=100, **given)  # all is loaded, and the model translated
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = megabytes("VmRSS")
    found = xw.attribute(model, large, n_samples=int(n_samples), **given)
    print(json.dumps([megabytes("VmHWM") - before, found.n_forward, found.seconds]))
"""


def run(report: Report, quick: bool) -> None:
    """LIME and RISE, with 1,000 samples and ten times as many."""
    if not sys.platform.startswith("linux"):
        report.note("left out: memory is read from /proc, which only Linux has")
        return
    few, many = (20, 60) if quick else (1000, 10_000)
    case = "mobilenet_v3_small, 12 megapixels"
    with tempfile.TemporaryDirectory() as folder:
        small, large = photos(Path(folder))
        for method, runtime in itertools.product(("lime", "rise"), ("torch", "openvino")):
            first, last = (grown(method, n, runtime, small, large) for n in (few, many))
            name = f"{method} by {runtime}"
            report.ratio(f"{name}, {few:,} samples: megabytes / {GOAL}", case, first, GOAL, at_most=1)
            report.ratio(f"{name}: memory for {many:,} samples / for {few:,}", case, last, first, at_most=1.1)
            report.note(f"{name}: {first:.0f} MB for {few:,} samples, {last:.0f} for {many:,}")


def photos(folder: Path) -> tuple[Path, Path]:
    """A small photo, and a large one of 12 megapixels."""
    tiles = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    photo = Image.fromarray(tiles).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    photo.save(folder / "large.jpg", quality=90)
    photo.resize((320, 240)).save(folder / "small.jpg")
    return folder / "small.jpg", folder / "large.jpg"


def grown(method: str, n_samples: int, runtime: str, small: Path, large: Path) -> float:
    """Megabytes by which the peak of a fresh process lies above what it had before."""
    asked_for = (small, large, method, n_samples, runtime)
    command = [sys.executable, "-W", "ignore", "-c", dedent(RUN), *map(str, asked_for)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500, cwd=HERE.parent)
    if done.returncode:
        raise RuntimeError(done.stderr)
    megabytes, asked, _ = json.loads(done.stdout.splitlines()[-1])
    assert asked >= n_samples, f"{method} stopped early, after {asked} of {n_samples} samples"
    return megabytes
