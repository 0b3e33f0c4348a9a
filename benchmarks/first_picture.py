"""How long from `explain` to the first map in the kernel, with torch imported?

In a process of its own that has imported torch, torchvision and xai_widgets, built the model and opened the photo:
cold is its first explanation, warm its second, of another photo. The map is there when the trait ``heat`` holds it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from textwrap import dedent

from benchmarks.harness import HERE, Report

RUN = """
    import json, sys, tempfile, threading, time
    from pathlib import Path

    import torch
    import torchvision

    import xai_widgets as xw
    from xai_widgets import demo

    method, model = sys.argv[1], demo.imagenet_classifier()
    photos = [demo.sample("coffee"), demo.sample("chelsea")]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for photo in photos:
            there = threading.Event()
            start = time.perf_counter()
            w = xw.explain(model, photo, method=method, store=Path(folder) / "feedback.db")
            w.observe(lambda change: there.set(), "heat")
            if w.heat:  # before anybody could look
                there.set()
            assert there.wait(60)
            found.append(time.perf_counter() - start)
            w.cancel()
            w.wait(60)
            w.close()
    print(json.dumps(found))
"""


def run(report: Report, quick: bool) -> None:
    """What the menu begins with, and LIME, whose first map is an early one."""
    for method in ("auto", "lime"):
        found = [first_maps(method) for _ in range(1 if quick else 5)]
        for way, values in zip(("cold", "warm"), zip(*found, strict=True), strict=True):
            report.ratio(f"{way}, method={method!r}: seconds / one second", "lite0", values, 1, at_most=1)


def first_maps(method: str) -> tuple[float, float]:
    """Seconds to the first map, cold and warm, in a fresh process."""
    command = [sys.executable, "-W", "ignore", "-c", dedent(RUN), method]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=HERE.parent)
    if done.returncode:
        raise RuntimeError(done.stderr)
    cold, warm = json.loads(done.stdout.splitlines()[-1])
    return cold, warm
