"""DeepLIFT: what changes the score from the baseline to the picture, passed back from layer to layer."""

from __future__ import annotations

from xai_widgets.problem import Estimate, Problem, Steps
from xai_widgets.registry import MethodInfo


def deeplift(problem: Problem) -> Steps:
    """``m ⊙ (x - x')`` with multipliers m of the Rescale rule (Shrikumar, Greenside and Kundaje 2017, §3.5.2).

    Each activation passes on ``Δout / Δin`` in the place of its gradient, and max pooling gives the change to where the
    larger maximum stands. Products of two things that depend on the picture are shared out by their Shapley values, as
    shap's DeepExplainer does (Lundberg and Lee 2017, §4.2); softmax, layer norm and attention are opened into sums,
    products and functions of one number. So the map adds up to the change of the score from the baseline ``x'`` to
    the picture. It is ours because captum has no rule for GELU, SiLU, Hardswish, norms and products, and returns the
    gradient there. A model with an operation that has no rule here is refused, and the operation named.

    Proof: equals captum's DeepLift to 1e-5 on networks of ReLUs; adds up to 1e-4 of the change on resnet18,
    densenet121, mobilenet_v3_small, efficientnet_b0, convnext_tiny, swin_t and others (tests/test_rules.py).
    """
    from xai_widgets.gradients import flat
    from xai_widgets.methods._paths import balance
    from xai_widgets.rules.rescale import lift

    found = lift(problem, problem.off_inputs[None])
    values = flat(found.contributions[0])
    more = "Numbers of this size are lost in rounding"
    report = balance(problem, values, float(found.whole[0]), float(found.empty[0]), more)
    yield Estimate(values=values, n_forward=2, **report)


INFO = MethodInfo(
    name="deeplift",
    label="DeepLIFT",
    family="gradient",
    summary="Passes the change from the baseline back layer by layer. It adds up; depends on the baseline.",
    run=deeplift,
    needs="canonical",
    differentiates=False,
    linear=True,
    space="logit",
    cost=lambda problem: 2,
    source="Shrikumar, Greenside and Kundaje, Learning Important Features Through Propagating Activation Differences, "
    "ICML 2017",
)
