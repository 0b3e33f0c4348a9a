"""Expected gradients: integrated gradients, averaged over a background of pictures."""

from __future__ import annotations

from typing import Any

from xai_widgets.methods._expected import BACKGROUND, cost, expected
from xai_widgets.problem import Problem, Steps
from xai_widgets.registry import MethodInfo, Param


def expected_gradients(problem: Problem, *, background: Any = None, n_samples: int = 200) -> Steps:
    """``E_b,α (x - b) ⊙ ∂ score / ∂ x (b + α (x - b))`` (Erion et al. 2021, equation 4): shap's GradientExplainer.

    b is drawn from the background and α from 0–1, 200 times as in shap; α evenly, which keeps the expectation and costs
    less. The map adds up to the score less its mean over the background, up to a sampling error that is told. With the
    baseline alone as background it is integrated gradients by sampling. shap itself is not called: it clears the
    model's gradients, draws from numpy's global generator, and calls the variance over √n the variance of the mean.

    Proof: equals shap's GradientExplainer to 1e-5 on the same draws; its mean over seeds is integrated gradients, and
    the sampling error matches the spread over seeds (tests/test_gradients.py).
    """
    return expected(problem, background, n_samples)


INFO = MethodInfo(
    name="expected_gradients",
    label="Expected gradients",
    family="gradient",
    summary="Integrated gradients averaged over background pictures: what sets this picture apart from them. "
    "Drawn, so it adds up on average.",
    run=expected_gradients,
    params=(BACKGROUND, Param("n_samples", int, 200, "Gradients to take; shap's default.", 4, 100_000)),
    needs="gradients",
    linear=True,
    space="logit",
    cost=lambda problem, background=None, n_samples=200: cost(problem, background, n_samples),
    source="Erion, Janizek, Sturmfels, Lundberg and Lee, Nature Machine Intelligence 2021",
    quick={"n_samples": 8},
)
