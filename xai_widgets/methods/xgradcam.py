"""XGrad-CAM: Grad-CAM whose gradients are averaged where the channel is active."""

from __future__ import annotations

from typing import Any

from xai_widgets.methods._cam import TARGET_LAYER, estimate, read
from xai_widgets.problem import Problem, Steps
from xai_widgets.registry import MethodInfo


def xgradcam(problem: Problem, *, target_layer: Any = None) -> Steps:
    """``Σ_k w_k A_k``, ``w_k = Σ_ij g_kij A_kij / Σ_ij A_kij`` (Fu et al. 2020).

    The weights are made for two axioms: the map should sum to the score (conservation), and a channel's part of it
    should be what is lost without that channel (sensitivity). They hold for the map as it is, so there is no ReLU here;
    libraries add one for display. A channel that sums to zero gets no weight. The map is linear in the score, if a
    single layer is read.

    Proof: equals pytorch-grad-cam before its ReLU and min-max to 1e-5; it sums to what HiResCAM sums to, and on average
    pooling and a linear head is CAM and sums to the logit less the bias, to 1e-5 (tests/test_cams.py).
    """
    readings = read(problem, target_layer)
    maps = []
    for _, a, g in readings:
        total = a.sum((1, 2), keepdim=True)
        weights = (g * a).sum((1, 2), keepdim=True) / total.where(total != 0, float("inf"))
        maps.append((weights * a).sum(0))
    yield estimate(problem, INFO, readings, maps)


INFO = MethodInfo(
    name="xgradcam",
    label="XGrad-CAM",
    family="cam",
    summary="Grad-CAM with weights that conserve the score, for or against. One quick call; coarse.",
    run=xgradcam,
    params=(TARGET_LAYER,),
    needs="layer",
    linear=True,
    space="logit",
    source="Fu et al., Axiom-based Grad-CAM, BMVC 2020",
)
