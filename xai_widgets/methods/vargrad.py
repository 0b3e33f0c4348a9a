"""VarGrad: how much the gradient differs between noisy copies of the picture."""

from __future__ import annotations

from xai_widgets.methods._noise import PARAMS, QUICK, smoothed
from xai_widgets.problem import Problem, Steps
from xai_widgets.registry import MethodInfo


def vargrad(problem: Problem, *, n_samples: int = 50, noise_level: float = 0.15) -> Steps:
    """``Var ∂ score / ∂ x (x + N(0, σ²))`` (Adebayo et al. 2018, §3), summed over channels.

    The variance is divided by n as captum does, not by n - 1. Without a sign, and without the gradient itself: a pixel
    to which the score reacts the same whatever the noise gets nothing. Noise and defaults are SmoothGrad's.

    Proof: equals captum's NoiseTunnel over the signed gradient, given the same noise, to 1e-5; on a linear model it is
    zero, and on ``score = Σ a x²`` the variance of the noise times ``4 a²`` (tests/test_gradients.py).
    """
    return smoothed(problem, n_samples, noise_level, lambda mean, variance: variance, enough=2)


INFO = MethodInfo(
    name="vargrad",
    label="VarGrad",
    family="gradient",
    summary="Where the gradient changes as noise is added. "
    "Shows unsteady places, no direction, and misses steady ones.",
    run=vargrad,
    params=PARAMS,
    needs="gradients",
    signed=False,
    space="logit",
    cost=lambda problem, n_samples=50, noise_level=0.15: n_samples,
    source="Adebayo et al., Local Explanation Methods for Deep Neural Networks Lack Sensitivity to Parameter Values, "
    "ICLR workshop 2018",
    quick=QUICK,
)
