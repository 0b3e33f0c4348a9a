"""HiResCAM: every place of a layer, weighted by how the class reacts right there."""

from __future__ import annotations

from typing import Any

from xai_widgets.methods._cam import TARGET_LAYER, estimate, read
from xai_widgets.problem import Problem, Steps
from xai_widgets.registry import MethodInfo


def hirescam(problem: Problem, *, target_layer: Any = None) -> Steps:
    """``Σ_k g_k ⊙ A_k``, with ``g`` the gradient of the score (Draelos and Carin 2020).

    No average over places, so it cannot show a place that the score does not use. Where what follows the layer is
    linear, the coarse map sums to the logit less its bias. There is no ReLU in the definition, so the map is signed;
    libraries add one for display. The map is linear in the score, if a single layer is read.

    Proof: equals pytorch-grad-cam before its ReLU and min-max to 1e-5; on average pooling and a linear head it sums to
    the logit less the bias to 1e-5 (tests/test_cams.py).
    """
    readings = read(problem, target_layer)
    yield estimate(problem, INFO, readings, [(g * a).sum(0) for _, a, g in readings])


INFO = MethodInfo(
    name="hirescam",
    label="HiResCAM",
    family="cam",
    summary="What each place of a layer adds to the score, for or against. One quick call; coarse, a local view.",
    run=hirescam,
    params=(TARGET_LAYER,),
    needs="layer",
    linear=True,
    space="logit",
    source="Draelos and Carin, HiResCAM, arXiv 2011.08891, 2020",
)
