"""Grad-CAM: the channels of one layer, weighted by how much the class reacts to them."""

from __future__ import annotations

from typing import Any

from xai_widgets.methods._cam import TARGET_LAYER, estimate, read
from xai_widgets.problem import Problem, Steps
from xai_widgets.registry import MethodInfo


def gradcam(problem: Problem, *, target_layer: Any = None) -> Steps:
    """``ReLU(Σ_k α_k A_k)`` with ``α_k`` the mean gradient of channel k (Selvaraju et al. 2017, equations 1 and 2).

    The layer may return maps, channels first or last, or tokens; `xai_widgets.layers` finds out which, and where.
    The raw map is kept: no min-max, so zero means no evidence and maps of two classes can be compared. It is enlarged
    to the picture bilinearly.

    Proof: equals pytorch-grad-cam before its min-max to 1e-5 (tests/test_methods.py).
    """
    readings = read(problem, target_layer)
    maps = [(g.mean((1, 2), keepdim=True) * a).sum(0).relu() for _, a, g in readings]
    yield estimate(problem, INFO, readings, maps)


INFO = MethodInfo(
    name="gradcam",
    label="Grad-CAM",
    family="cam",
    summary="Where the last layers saw support for the class. One quick call; coarse, and shows support only.",
    run=gradcam,
    params=(TARGET_LAYER,),
    needs="layer",
    signed=False,
    space="logit",
    source="Selvaraju et al., Grad-CAM, ICCV 2017",
)
