"""GradientSHAP: expected gradients of the picture under a little noise."""

from __future__ import annotations

from typing import Any

from xai_widgets.methods._expected import BACKGROUND, cost, expected
from xai_widgets.problem import Problem, Steps
from xai_widgets.registry import MethodInfo, Param


def gradient_shap(problem: Problem, *, background: Any = None, n_samples: int = 50, noise_level: float = 0.02) -> Steps:
    """``E (x + ε - b) ⊙ ∂ score / ∂ x (b + α (x + ε - b))`` over α, b and Gaussian noise ε, as captum's GradientShap.

    It joins integrated gradients, SHAP and SmoothGrad (Lundberg and Lee 2017, and the README of shap). 50 samples are
    those of captum's tutorial on ImageNet; its default of 5 leaves only speckle. On average the map adds up to the
    score of noisy pictures less its mean over the background; the check compares it with the picture itself, so it
    also tells what the noise does.

    Proof: equals captum's GradientShap to 1e-5 on the same draws; without noise it is expected gradients
    (tests/test_gradients.py).
    """
    return expected(problem, background, n_samples, noise_level)


INFO = MethodInfo(
    name="gradient_shap",
    label="GradientSHAP",
    family="gradient",
    summary="Gradients between background pictures and this one under noise. Drawn, so it adds up on average only.",
    run=gradient_shap,
    params=(
        BACKGROUND,
        Param("n_samples", int, 50, "Gradients to take, as in captum's tutorial on ImageNet.", 4, 100_000),
        Param(
            "noise_level",
            float,
            0.02,
            "Standard deviation of the noise as a share of the model input's range. captum's default is none, its "
            "tutorial takes next to none.",
            0,
            2,
        ),
    ),
    needs="gradients",
    linear=True,
    space="logit",
    cost=lambda problem, background=None, n_samples=50, noise_level=0.02: cost(problem, background, n_samples),
    source="Lundberg and Lee, NeurIPS 2017; Kokhlikyan et al., Captum, arXiv 2009.07896, 2020",
    quick={"n_samples": 8},
)
