"""Layer-wise relevance propagation: the score is shared out among the inputs of each layer, back to the pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xai_widgets.problem import Estimate, Problem, Steps
from xai_widgets.registry import MethodInfo, Param

if TYPE_CHECKING:
    from torch import Tensor


def lrp(problem: Problem, *, rule: str = "epsilon_plus_flat", epsilon: float = 1e-6) -> Steps:
    """``R_i = Σ_j z_ij / (Σ_i z_ij ± ε) · R_j`` with ``z_ij = x_i w_ij`` (Bach et al. 2015, equation 58).

    ``"epsilon"`` is that in all layers; zennit's ε. ``"epsilon_plus"`` lets only positive contributions count in
    convolutions (α = 1, β = 0), and ``"alpha2_beta1"`` weighs them against the negative ones (equation 60); dense
    layers keep ε. Biases of convolutions get no share there, as in deep Taylor decomposition: merged with batch norms
    they are large, and on EfficientNet-Lite0 would keep all but a thousandth. With ``"_flat"`` the first convolution
    shares out evenly what it receives, for how bright a pixel is says little: the composite of Kohlbrenner et al. 2020,
    and the default. A batch norm is merged into the convolution before it.

    Sums share by size. Of a product each factor gets half, as in AttnLRP (Achtibat et al. 2024), but a gate, such as
    squeeze-and-excitation's sigmoid, nothing; softmax and the deviation in a norm are treated as there. The map adds up
    to the score but for what biases, norms and softmax keep, and says how much that is. An operation without a rule is
    refused.

    Proof: equals captum's LRP with its EpsilonRule and its Alpha1_Beta0_Rule to 1e-5 on plain networks; without biases
    the relevance is conserved to 1e-4 on resnet18; ε = 0 is input × gradient on ReLUs (tests/test_rules.py).
    """
    import torch

    from xai_widgets.gradients import flat
    from xai_widgets.rules.lanes import Both
    from xai_widgets.rules.relevance import Relevance
    from xai_widgets.rules.walk import score

    classifier = problem.classifier
    module = classifier.canonical().module
    with classifier.differentiable(torch.ones_like(problem.inputs)[None]) as (gain, _):
        walk = Relevance(module, rule, epsilon, gain)
        inputs = problem.inputs.clone()  # they may have been made in inference mode
        answer = walk.answer(Both(inputs * gain)).x
        number = score(problem, answer, 1).sum()
        given = _given(number, answer)
        relevance = classifier.gradient(number, gain, "its input")
    values = flat(relevance[0])
    gap = abs(float(values.sum(dtype=np.float64)) - given)
    verdict = "conserved" if gap <= 0.01 * abs(given) + 1e-6 else "biases and norms keep it"
    warnings = []
    if walk.flat and not walk.evened:
        warnings.append("The first layer is no convolution of the picture itself: nothing was shared out evenly.")
    if gap > 0.5 * abs(given):
        total = values.sum(dtype=np.float64)
        warnings.append(f"The map adds up to {total:.3g} of {given:.3g}; biases and norms account for the difference.")
    yield Estimate(values=values, n_forward=1, checks={"relevance_gap": (gap, verdict)}, warnings=tuple(warnings))


def _given(number: Tensor, answer: Any) -> float:
    """The relevance of the answer: each of its numbers times what it weighs in the one that is explained."""
    import torch

    from xai_widgets.canonical._nested import tensors_in

    parts = [each for each in tensors_in(answer) if each.requires_grad]
    weights = torch.autograd.grad(number, parts, retain_graph=True, allow_unused=True) if parts else ()
    return sum(
        float((part.detach().double().cpu() * weight.double().cpu()).sum())
        for part, weight in zip(parts, weights, strict=True)
        if weight is not None
    )


INFO = MethodInfo(
    name="lrp",
    label="LRP",
    family="gradient",
    summary="Shares the score out from layer to layer back to the pixels. One pass; biases keep a part.",
    run=lrp,
    params=(
        Param(
            "rule",
            str,
            "epsilon_plus_flat",
            "How layers share: a composite of Kohlbrenner et al. 2020, or epsilon everywhere, which is close to "
            "input × gradient.",
            choices=("epsilon_plus_flat", "epsilon_plus", "alpha2_beta1_flat", "alpha2_beta1", "epsilon"),
        ),
        Param("epsilon", float, 1e-6, "Added to the sums that are divided by; zennit's default.", 0, 10),
    ),
    needs="canonical",
    differentiates=False,
    linear=True,
    space="logit",
    source="Bach et al., On Pixel-wise Explanations by Layer-wise Relevance Propagation, PLOS ONE 2015",
)
