"""LayerCAM: every place weighted by its own positive gradient, so that early layers can be read too."""

from __future__ import annotations

from typing import Any

from xai_widgets.methods._cam import TARGET_LAYER, estimate, read
from xai_widgets.problem import Problem, Steps
from xai_widgets.registry import MethodInfo


def layercam(problem: Problem, *, target_layer: Any = None) -> Steps:
    """``ReLU(Σ_k ReLU(g_k) ⊙ A_k)``, with ``g`` the gradient of the score (Jiang et al. 2021).

    The paper also fuses the maps of several layers, those of early ones after ``tanh(2 M / max M)``; here the maps of
    several layers are divided by their largest values and averaged, as for every other of these methods.

    Proof: equals pytorch-grad-cam and torchcam before their min-max to 1e-5 (tests/test_cams.py).
    """
    readings = read(problem, target_layer)
    yield estimate(problem, INFO, readings, [(g.relu() * a).sum(0).relu() for _, a, g in readings])


INFO = MethodInfo(
    name="layercam",
    label="LayerCAM",
    family="cam",
    summary="Support for the class place by place; early layers give finer maps. One quick call; support only.",
    run=layercam,
    params=(TARGET_LAYER,),
    needs="layer",
    signed=False,
    space="logit",
    source="Jiang et al., LayerCAM, IEEE TIP 2021",
)
