"""Grad-CAM: the channels of one layer, weighted by how much the class reacts to them."""

from __future__ import annotations

from typing import Any

import numpy as np

from xai_widgets.errors import MethodError
from xai_widgets.problem import Estimate, Problem, Steps
from xai_widgets.registry import MethodInfo, Param


def gradcam(problem: Problem, *, target_layer: Any = None) -> Steps:
    """``ReLU(Σ_k α_k A_k)`` with ``α_k`` the mean gradient of channel k (Selvaraju et al. 2017, equations 1 and 2).

    The layer may return maps, channels first or last, or tokens; `xai_widgets.layers` finds out which, and where.
    The raw map is kept: no min-max, so zero means no evidence and maps of two classes can be compared. It is enlarged
    to the picture bilinearly.

    Proof: equals pytorch-grad-cam before its min-max to 1e-5 (tests/test_methods.py).
    """
    import torch
    from torch.nn import functional

    from xai_widgets.guard import captured
    from xai_widgets.layers import find

    classifier = problem.classifier
    layer = find(classifier, target_layer)
    with classifier.differentiable(problem.inputs) as (leaf, forward), captured(layer.module) as seen:
        score = problem.target.of(forward(leaf[None], problem.space)).sum()
        if not seen:
            raise MethodError(f"The layer {layer.name!r} took no part in the answer. Choose another: target_layer=…")
        gradient = classifier.gradient(score, seen[-1], f"the layer {layer.name!r}")
        activations, gradients = (layer.places(values.detach()).float() for values in (seen[-1], gradient))
    raw = (gradients.mean((2, 3), keepdim=True) * activations).sum(1, keepdim=True).relu()
    if not bool(torch.isfinite(raw).all()):
        raise MethodError(
            f"Grad-CAM at the layer {layer.name!r} is not finite: its values or gradients overflow {gradient.dtype}. "
            "Pass the model in full precision: model.float()"
        )
    enlarged = functional.interpolate(raw, problem.view.shape, mode="bilinear", align_corners=False)
    warnings = []
    if not bool(raw.any()):
        warnings.append(f"There is no positive evidence for {problem.target.name} at the layer {layer.name}.")
    if layer.note:
        warnings.append(layer.note)
    yield Estimate(
        values=enlarged[0, 0].cpu().numpy().astype(np.float32),
        coarse=raw[0, 0].cpu().numpy().astype(np.float32),
        layer=layer.name,
        n_forward=1,
        warnings=tuple(warnings),
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
            "Layer to read, by dotted name or itself. Default: the last one on whose places, at least 4 × 4 of "
            "them, the answer depends; in a transformer that is before its last attention.",
        ),
    ),
    needs="layer",
    signed=False,
    space="logit",
    source="Selvaraju et al., Grad-CAM, ICCV 2017",
)
