"""Grad-CAM: the channels of one layer, weighted by how much the class reacts to them."""

from __future__ import annotations

from typing import Any

import numpy as np

from xai_widgets.errors import MethodError
from xai_widgets.problem import Estimate, Problem, Steps
from xai_widgets.registry import MethodInfo, Param


def gradcam(problem: Problem, *, target_layer: Any = None) -> Steps:
    """``ReLU(Σ_k α_k A_k)`` with ``α_k`` the mean gradient of channel k (Selvaraju et al. 2017, equations 1 and 2).

    The raw map is kept: no min-max, so zero means no evidence and maps of two classes can be compared. It is enlarged
    to the picture bilinearly.

    Proof: equals pytorch-grad-cam before its min-max to 1e-5 (tests/test_methods.py).
    """
    from torch.nn import functional

    from xai_widgets.guard import captured
    from xai_widgets.layers import get_layer, last_spatial_layer

    classifier = problem.classifier
    n_forward = 1
    if target_layer is None:
        target_layer = last_spatial_layer(classifier, problem.inputs)
        n_forward += 1
    name, module = get_layer(classifier, target_layer)
    with classifier.differentiable(problem.inputs) as (leaf, forward), captured(module) as seen:
        score = problem.target.of(forward(leaf[None], problem.space)).sum()
        if not seen:
            raise MethodError(f"The layer {name!r} took no part in the answer. Choose another: target_layer=…")
        activations = seen[-1]
        if activations.ndim != 4:
            raise MethodError(
                f"The layer {name!r} returns shape {tuple(activations.shape)}; a map needs (1, channels, height, "
                "width). Choose an earlier layer: target_layer=…"
            )
        gradient = classifier.gradient(score, activations, f"the layer {name!r}")
    weights = gradient.float().mean((2, 3), keepdim=True)
    raw = (weights * activations.detach().float()).sum(1, keepdim=True).relu()
    enlarged = functional.interpolate(raw, problem.view.shape, mode="bilinear", align_corners=False)
    warnings = ()
    if not bool(raw.any()):
        warnings = (f"There is no positive evidence for {problem.target.name} at the layer {name}.",)
    yield Estimate(
        values=enlarged[0, 0].cpu().numpy().astype(np.float32),
        coarse=raw[0, 0].cpu().numpy().astype(np.float32),
        layer=name,
        n_forward=n_forward,
        warnings=warnings,
    )


INFO = MethodInfo(
    name="gradcam",
    label="Grad-CAM",
    family="cam",
    summary="Where the last layers saw support for the class. One quick call; coarse, and shows support only.",
    run=gradcam,
    params=(
        Param(
            "target_layer",
            object,
            None,
            "Layer to read, by dotted name or itself. Default: the last one that still knows places.",
        ),
    ),
    needs="layer",
    signed=False,
    space="logit",
    cost=lambda problem, target_layer=None: 2 if target_layer is None else 1,
    source="Selvaraju et al., Grad-CAM, ICCV 2017",
)
