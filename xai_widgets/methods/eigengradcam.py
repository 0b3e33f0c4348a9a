"""Eigen-Grad-CAM: what is strongest in a layer's activations times gradients."""

from __future__ import annotations

from typing import Any

from xai_widgets.methods._cam import TARGET_LAYER, estimate, principal, read
from xai_widgets.problem import Problem, Steps
from xai_widgets.registry import MethodInfo


def eigengradcam(problem: Problem, *, target_layer: Any = None) -> Steps:
    """``ReLU(B v_1)``: the places on the first principal component of ``B = g ⊙ A``, centred by channel.

    It has no paper: it is pytorch-grad-cam's, Eigen-CAM of the gradient times the activation, which brings the class
    in. The mean of each channel is subtracted, as there. A principal component has no sign of its own, and there it is
    left to chance; here it is turned so that the map goes with ``Σ_k B_k``, HiResCAM's map, and positive means support.

    Proof: equals pytorch-grad-cam before its ReLU and min-max to 1e-5, up to that sign; recovers planted activations
    times gradients of rank one (tests/test_cams.py).
    """
    readings = read(problem, target_layer)
    maps = []
    for _, a, g in readings:
        shares = g * a
        projection = principal(shares - shares.mean((1, 2), keepdim=True))
        maps.append((projection * (projection * shares.sum(0)).sum().sign()).relu())
    yield estimate(problem, INFO, readings, maps)


INFO = MethodInfo(
    name="eigengradcam",
    label="Eigen-Grad-CAM",
    family="cam",
    summary="The main pattern in what speaks for the class. Smooth, one quick call; leaves out whatever is not in it.",
    run=eigengradcam,
    params=(TARGET_LAYER,),
    needs="layer",
    signed=False,
    space="logit",
    source="Gildenblat, pytorch-grad-cam, 2021; after Muhammad and Yeasin, Eigen-CAM, IJCNN 2020",
)
