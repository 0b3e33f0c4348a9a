"""A photo of 40 megapixels costs little more than its own pixels."""

from __future__ import annotations

import json
import subprocess
import sys
from textwrap import dedent

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

WIDTH, HEIGHT = 7728, 5152

RUN = """
    import json, sys, time, warnings
    from pathlib import Path

    import torch
    import xai_widgets as xw
    from torchvision.models import resnet18
    from torchvision.transforms._presets import ImageClassification

    small, large, method, prepared = sys.argv[1:]
    torch.manual_seed(0)
    model = resnet18(weights=None).eval()
    ways = {"ours": {"size": 224}, "torchvision": {"preprocess": ImageClassification(crop_size=224)}, "nothing": {}}
    given = ways[prepared]
    given |= {"method": method, "target": 0}
    if method == "occlusion":
        given |= {"window": 64, "stride": 64}

    def memory(what):
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
        return int(line.split()[1]) / 1024

    xw.attribute(model, small, **given)  # everything is imported, and the model has answered once
    before, start = memory("VmRSS"), time.perf_counter()
    explanation = xw.attribute(model, large, **given)
    seconds = time.perf_counter() - start
    print(json.dumps({
        "grown": memory("VmHWM") - before, "seconds": seconds, "values": explanation.values.shape,
        "size": explanation.params["input"]["source_size"],
    }))
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    tiles = np.random.default_rng(0).integers(0, 255, (46, 69, 3), dtype=np.uint8)
    large = Image.fromarray(tiles).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    large.save(folder / "large.jpg", quality=90)
    large.resize((300, 200)).save(folder / "small.jpg")
    turned = Image.Exif()
    turned[0x0112] = 6
    large.save(folder / "turned.jpg", quality=90, exif=turned)
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("name", "method", "prepared"),
    [
        ("large.jpg", "gradcam", "ours"),
        ("large.jpg", "occlusion", "ours"),
        ("turned.jpg", "gradcam", "ours"),
        ("large.jpg", "gradcam", "torchvision"),
        ("large.jpg", "gradcam", "nothing"),
    ],
)
def test_forty_megapixels_fit(photos, name, method, prepared):
    pytest.importorskip("torchvision")
    command = [sys.executable, "-c", dedent(RUN), str(photos / "small.jpg"), str(photos / name), method, prepared]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    print(found)  # noqa: T201 - the numbers, for who runs it with -s
    assert sorted(found["size"]) == [HEIGHT, WIDTH]
    assert found["values"] == ([341, 512] if prepared == "nothing" else [224, 224])
    assert found["grown"] < 600
    assert found["seconds"] < 60
