"""SmoothGrad²: the squared gradient, averaged over noisy copies of the picture."""

from __future__ import annotations

from xai_widgets.methods._noise import PARAMS, QUICK, smoothed
from xai_widgets.problem import Problem, Steps
from xai_widgets.registry import MethodInfo


def smoothgrad_sq(problem: Problem, *, n_samples: int = 50, noise_level: float = 0.15) -> Steps:
    """``1/n Σ (∂ score / ∂ x (x + N(0, σ²)))²`` (Hooker et al. 2019, §4.1), summed over channels.

    Squares have no sign: it says where the score is sensitive, not in which direction. Noise and defaults are
    SmoothGrad's.

    Proof: equals captum's NoiseTunnel over the signed gradient, given the same noise, to 1e-5; on a linear model it is
    the square of the weights (tests/test_gradients.py).
    """
    return smoothed(problem, n_samples, noise_level, lambda mean, variance: mean.square() + variance)


INFO = MethodInfo(
    name="smoothgrad_sq",
    label="SmoothGrad²",
    family="gradient",
    summary="The squared gradient averaged over noisy copies: where the score is sensitive. Shows no direction.",
    run=smoothgrad_sq,
    params=PARAMS,
    needs="gradients",
    signed=False,
    space="logit",
    cost=lambda problem, n_samples=50, noise_level=0.15: n_samples,
    source="Hooker et al., A Benchmark for Interpretability Methods in Deep Neural Networks, NeurIPS 2019",
    quick=QUICK,
)
