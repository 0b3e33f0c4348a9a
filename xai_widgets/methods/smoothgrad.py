"""SmoothGrad: the gradient, averaged over noisy copies of the picture."""

from __future__ import annotations

from xai_widgets.methods._noise import PARAMS, QUICK, smoothed
from xai_widgets.problem import Problem, Steps
from xai_widgets.registry import MethodInfo


def smoothgrad(problem: Problem, *, n_samples: int = 50, noise_level: float = 0.15) -> Steps:
    """``1/n Σ ∂ score / ∂ x (x + N(0, σ²))`` (Smilkov et al. 2017, §3), signed, summed over channels.

    σ is `noise_level` times the range of the model's input. The gradient keeps its sign: averaged magnitudes, which
    some libraries show under this name, do not cancel where the gradient is only noise.

    Proof: equals captum's NoiseTunnel over the signed gradient, given the same noise, to 1e-5; on a linear model it is
    the gradient, and on a quadratic one the gradient at the mean of the noisy pictures (tests/test_gradients.py).
    """
    return smoothed(problem, n_samples, noise_level, lambda mean, variance: mean)


INFO = MethodInfo(
    name="smoothgrad",
    label="SmoothGrad",
    family="gradient",
    summary="The gradient averaged over noisy copies: which way the score moves as a pixel brightens. "
    "Only small changes.",
    run=smoothgrad,
    params=PARAMS,
    needs="gradients",
    linear=True,
    space="logit",
    cost=lambda problem, n_samples=50, noise_level=0.15: n_samples,
    source="Smilkov et al., SmoothGrad: removing noise by adding noise, ICML workshop 2017",
    quick=QUICK,
)
