"""Eigen-CAM: what is strongest in a layer, whatever the class."""

from __future__ import annotations

from typing import Any

from xai_widgets.methods._cam import TARGET_LAYER, estimate, look, principal
from xai_widgets.problem import Problem, Steps
from xai_widgets.registry import MethodInfo


def eigencam(problem: Problem, *, target_layer: Any = None) -> Steps:
    """``A v_1``: the layer's places on the first right singular vector of its activations (Muhammad and Yeasin 2020).

    With the activations as a matrix, places × channels, ``A = U S V^T``, not centred, as in the paper; pytorch-grad-cam
    subtracts each channel's mean first. A singular vector has no sign of its own: it is turned so that the map's
    largest number is positive. After a ReLU no number is negative then; elsewhere negative ones, places that point the
    other way, are set to zero, as in pytorch-grad-cam. The class plays no part: every target has the same map.

    Proof: recovers planted activations of rank one to 1e-5; equals pytorch-grad-cam before its min-max to 1e-5, up to
    the sign, on a layer whose channels have mean zero (tests/test_cams.py).
    """
    readings, _ = look(problem, target_layer)
    maps = []
    for _, activations, _ in readings:
        projection = principal(activations)
        strongest = projection.flatten()[projection.abs().argmax()]
        maps.append((projection * strongest.sign()).relu())
    yield estimate(problem, INFO, readings, maps)


INFO = MethodInfo(
    name="eigencam",
    label="Eigen-CAM",
    family="cam",
    summary="What stands out to a layer. It does not look at the class at all: the map is the same for each.",
    run=eigencam,
    params=(TARGET_LAYER,),
    needs="layer",
    differentiates=False,
    signed=False,
    space="logit",
    source="Muhammad and Yeasin, Eigen-CAM, IJCNN 2020",
)
