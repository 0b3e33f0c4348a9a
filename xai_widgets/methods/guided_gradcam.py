"""Guided Grad-CAM: guided backpropagation, where Grad-CAM sees support for the class."""

from __future__ import annotations

from typing import Any

import numpy as np

from xai_widgets.methods import _cam
from xai_widgets.problem import Estimate, Problem, Steps
from xai_widgets.registry import MethodInfo, Param


def guided_gradcam(problem: Problem, *, target_layer: Any = None) -> Steps:
    """Grad-CAM, enlarged bilinearly, times guided backpropagation (Selvaraju et al. 2017, §3.2).

    The layer is chosen as Grad-CAM does. Grad-CAM asks the model itself, guided backpropagation the copy.

    Proof: equals captum's GuidedGradCam with bilinear enlargement to 1e-5 (tests/test_rules.py).
    """
    from xai_widgets.gradients import flat, wide
    from xai_widgets.layers import find
    from xai_widgets.rules.rectified import rectified

    layer = find(problem.classifier, target_layer)
    guided, warnings = rectified(problem, "Guided backprop")
    yield Estimate(done=1, total=2, n_forward=1)
    ((_, activations, gradients),) = _cam.read(problem, layer.name)
    raw = (gradients.mean((1, 2), keepdim=True) * activations).sum(0).relu()
    if not bool(raw.any()):
        warnings += (f"There is no positive evidence for {problem.target.name} at the layer {layer.name}.",)
    warnings += (layer.note,) if layer.note else ()
    yield Estimate(
        values=flat(_cam.enlarged(raw, problem.view.shape) * wide(guided)),
        coarse=raw.cpu().numpy().astype(np.float32),
        done=2,
        total=2,
        layer=layer.name,
        n_forward=2,
        warnings=warnings,
    )


INFO = MethodInfo(
    name="guided_gradcam",
    label="Guided Grad-CAM",
    family="gradient",
    summary="The edges of guided backprop where Grad-CAM sees support. Fine and tied to the class. ReLUs only.",
    run=guided_gradcam,
    params=(
        Param(
            "target_layer",
            object,
            None,
            "Layer that Grad-CAM reads, by dotted name or itself. Default: the one that it would choose.",
        ),
    ),
    needs="canonical",
    space="logit",
    cost=lambda problem, target_layer=None: 2,
    source="Selvaraju et al., Grad-CAM, ICCV 2017",
)
