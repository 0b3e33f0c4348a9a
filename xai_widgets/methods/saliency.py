"""Saliency: how strongly the score reacts to each pixel."""

from __future__ import annotations

import numpy as np

from xai_widgets.problem import Estimate, Problem, Steps
from xai_widgets.registry import MethodInfo


def saliency(problem: Problem) -> Steps:
    """Maximum over channels of ``|∂ score / ∂ input|`` (Simonyan, Vedaldi and Zisserman 2014, §3.1).

    Unsigned: it says where a small change matters, not in which direction. The gradient is taken with respect to the
    model's input, after preprocessing.

    Proof: on a linear model it is ``max_c |w_c|`` (tests/test_methods.py).
    """
    with problem.classifier.differentiable(problem.inputs) as (leaf, forward):
        score = problem.target.of(forward(leaf[None], problem.space)).sum()
        gradient = problem.classifier.gradient(score, leaf, "its input")
    values = gradient.abs().amax(0).float().cpu().numpy().astype(np.float32)
    yield Estimate(values=values, n_forward=1)


INFO = MethodInfo(
    name="saliency",
    label="Saliency",
    family="gradient",
    summary="Where a tiny change would move the score. Sharp but noisy; shows no direction.",
    run=saliency,
    needs="gradients",
    signed=False,
    space="logit",
    source="Simonyan, Vedaldi and Zisserman, Deep Inside Convolutional Networks, ICLR workshop 2014",
)
