"""Grad-CAM++: as Grad-CAM, with gradients weighted so that several objects of the class count alike."""

from __future__ import annotations

from typing import Any

from xai_widgets.methods._cam import TARGET_LAYER, estimate, read
from xai_widgets.problem import Problem, Steps
from xai_widgets.registry import MethodInfo


def gradcam_plus_plus(problem: Problem, *, target_layer: Any = None) -> Steps:
    """``ReLU(Σ_k w_k A_k)``, ``w_k = Σ_ij α_kij ReLU(g_kij)`` (Chattopadhay et al. 2018, equation 19).

    ``α = g² / (2 g² + g³ Σ_ab A_ab)``, with ``g`` the gradient of the score S; shortened it is
    ``1 / (2 + g Σ_ab A_ab)``, and so it is computed, without the small number that pytorch-grad-cam and others add to
    the denominator and that outweighs small gradients. The paper explains ``exp S``, whose gradient is ``g exp S``;
    that factor is the same everywhere and overflows, so it is left out here as in other implementations.

    The paper's activations are not negative. At a layer where some are, the denominator may vanish; a warning says so.

    Proof: equals pytorch-grad-cam before its min-max to 1e-5, on networks whose gradients are large against its small
    number, and third derivatives of exp S by autograd to 1e-5 (tests/test_cams.py).
    """
    readings = read(problem, target_layer)
    maps, warnings = [], []
    for layer, a, g in readings:
        denominator = 2 + g * a.sum((1, 2), keepdim=True)
        weights = (g.relu() / denominator.where(denominator != 0, float("inf"))).sum((1, 2), keepdim=True)
        maps.append((weights * a).sum(0).relu())
        if bool((denominator[g > 0] <= 0).any()):
            warnings.append(
                f"{layer.name} returns negative values, for which Grad-CAM++ was not made: some of its weights divide "
                "by a number near zero. Read a layer after a ReLU: target_layer=…"
            )
    yield estimate(problem, INFO, readings, maps, warnings=tuple(warnings))


INFO = MethodInfo(
    name="gradcam++",
    label="Grad-CAM++",
    family="cam",
    summary="Grad-CAM that covers several objects of the class better. One quick call; coarse, support only.",
    run=gradcam_plus_plus,
    params=(TARGET_LAYER,),
    needs="layer",
    signed=False,
    space="logit",
    source="Chattopadhay et al., Grad-CAM++, WACV 2018",
    aliases=("gradcampp", "gradcam_plus_plus"),
)
