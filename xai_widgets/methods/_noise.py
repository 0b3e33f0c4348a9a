"""What SmoothGrad and its two relatives share: the gradient at the picture under noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from xai_widgets.problem import Estimate, Problem, Steps
from xai_widgets.registry import Param

if TYPE_CHECKING:
    from torch import Tensor

PARAMS = (
    Param(
        "n_samples",
        int,
        50,
        "Noisy pictures to ask about; beyond 50 the paper saw little change.",
        2,
        100_000,
    ),
    Param(
        "noise_level",
        float,
        0.15,
        "Standard deviation of the noise as a share of the model input's range, least to most. The paper finds 0.1 to "
        "0.2 best; its authors' code takes 0.15.",
        0,
        2,
    ),
)
QUICK = {"n_samples": 6}


def noise_scale(problem: Problem, level: float) -> float:
    """Standard deviation of the noise in the model's input."""
    inputs = problem.inputs.float()
    return level * float(inputs.max() - inputs.min())


def noisy(problem: Problem, level: float, n_samples: int) -> Iterator[Tensor]:
    """The picture under Gaussian noise as model input, (1, C, h, w) each; the same seed gives the same numbers."""
    import torch

    from xai_widgets.gradients import wide

    inputs, scale, rng = wide(problem.inputs), noise_scale(problem, level), problem.rng()
    for _ in range(n_samples):
        noise = torch.from_numpy(rng.standard_normal(inputs.shape, "float32")).to(inputs.device)
        yield (inputs + scale * noise).to(problem.inputs.dtype)[None]


def smoothed(
    problem: Problem, n_samples: int, noise_level: float, combine: Callable[[Tensor, Tensor], Tensor], enough: int = 1
) -> Steps:
    """Maps made of the mean and the variance of the gradients so far, from `enough` of them on.

    The variance is that of the samples themselves, divided by their number. It is added up around the first gradient,
    so that it is not lost in rounding where the gradient is large and hardly changes.
    """
    from xai_widgets.gradients import flat, gradients, wide

    warnings = () if noise_scale(problem, noise_level) else _NO_NOISE
    first, done = None, 0
    for batch in gradients(problem, noisy(problem, noise_level, n_samples)):
        found = wide(batch.gradients)
        if first is None:
            first = found[0].clone()
            total, squares = first.new_zeros(first.shape), first.new_zeros(first.shape)
        away = found - first
        total += away.sum(0)
        squares += away.square().sum(0)
        done += len(found)
        shift = total / done
        variance = (squares / done - shift.square()).clamp_min(0)
        yield Estimate(
            values=flat(combine(first + shift, variance)) if done >= enough else None,
            done=done,
            total=n_samples,
            n_forward=done,
            warnings=warnings,
        )


_NO_NOISE = ("There is no noise: its level is 0, or the model's input is the same everywhere.",)
