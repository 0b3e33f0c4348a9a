"""Guided backpropagation: the gradient that is positive all the way."""

from __future__ import annotations

from xai_widgets.problem import Estimate, Problem, Steps
from xai_widgets.registry import MethodInfo


def guided_backprop(problem: Problem) -> Steps:
    """The gradient of the score, of which each ReLU, where it is on, lets the positive pass (Springenberg et al. 2015).

    ReLU6 counts: it is on between 0 and 6. Other activations pass the plain gradient, and the map says how many there
    are; where there is no ReLU at all it is refused, for it would be the plain gradient under another name.

    Proof: equals captum's GuidedBackprop to 1e-6 on a copy in which each ReLU is a module (tests/test_rules.py).
    """
    from xai_widgets.gradients import flat
    from xai_widgets.rules.rectified import rectified

    gradient, warnings = rectified(problem, "Guided backprop")
    yield Estimate(values=flat(gradient), n_forward=1, warnings=warnings)


INFO = MethodInfo(
    name="guided_backprop",
    label="Guided backprop",
    family="gradient",
    summary="Sharp edges that excite the network. Much like an edge detector: hardly depends on the class. ReLUs only.",
    run=guided_backprop,
    needs="canonical",
    space="logit",
    source="Springenberg et al., Striving for Simplicity: The All Convolutional Net, ICLR workshop 2015",
)
