"""Deconvolution: the gradient through a network run backwards, with ReLUs on what comes back."""

from __future__ import annotations

from xai_widgets.problem import Estimate, Problem, Steps
from xai_widgets.registry import MethodInfo


def deconvolution(problem: Problem) -> Steps:
    """The gradient of the score, of which each ReLU, on or off, lets the positive pass (Zeiler and Fergus 2014, §2.1).

    ReLU6 counts. Other activations pass the plain gradient, and the map says how many there are; where there is no ReLU
    at all it is refused.

    Proof: equals captum's Deconvolution to 1e-6 on a copy in which each ReLU is a module (tests/test_rules.py).
    """
    from xai_widgets.gradients import flat
    from xai_widgets.rules.rectified import rectified

    gradient, warnings = rectified(problem, "Deconvolution")
    yield Estimate(values=flat(gradient), n_forward=1, warnings=warnings)


INFO = MethodInfo(
    name="deconvolution",
    label="Deconvolution",
    family="gradient",
    summary="The network run backwards. Without max pooling it says little of the picture. ReLUs only.",
    run=deconvolution,
    needs="canonical",
    space="logit",
    source="Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014",
)
