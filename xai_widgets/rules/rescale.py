"""DeepLIFT's rules, and the multipliers that they give."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from xai_widgets.canonical._nested import mapped, tensors_in
from xai_widgets.rules.lanes import Both, Follow, double, lane
from xai_widgets.rules.walk import Walk, score

if TYPE_CHECKING:
    from xai_widgets.problem import Problem

_NEAR = 1e-10
"""Differences that count as none; captum's."""

_NODES = 32
"""Points at which the gradient of what follows the model's answer is taken; it is exact where that is linear."""


class Rescale(Walk):
    """Each operation passes on its change from baseline to picture, shared out among what went into it."""

    def elementwise(self, function: Callable[[Tensor], Tensor], given: Both) -> Both:
        """``Δf / Δx``; where x does not change, ``f'`` (Shrikumar et al. 2017, §3.5.2)."""
        with torch.no_grad():
            values, slope = [function(each) for each in (given.x, given.off)], _slope(function, given)
        return Both(Follow.apply(values[0], given.x * slope), values[1])

    def product(self, function: Callable[[Tensor, Tensor], Tensor], one: Both, other: Both) -> Both:
        """``Δ(uv) = Δu · mean(v) + Δv · mean(u)``: the Shapley values of the two factors."""
        with torch.no_grad():
            value, off = function(one.x, other.x), function(one.off, other.off)
            halfway = [(each.x + each.off) / 2 for each in (one, other)]
        return Both(Follow.apply(value, function(one.x, halfway[1]) + function(halfway[0], other.x)), off)

    def largest(self, pool: Callable[[Tensor], tuple[Tensor, Tensor]], given: Both, dims: int) -> Both:
        """The change goes to where the larger of the two maxima stands: there x changed at least as much."""
        with torch.no_grad():
            (value, here), (off, there) = pool(given.x), pool(given.off)
            winner = torch.where(value >= off, here, there).flatten(-dims)
            gap = (given.x - given.off).flatten(-dims).gather(-1, winner).view_as(value)
            slope = torch.where(gap.abs() > _NEAR, (value - off) / gap, 1.0)
        picked = given.x.flatten(-dims).gather(-1, winner).view_as(value)
        return Both(Follow.apply(value, picked * slope), off)


def _slope(function: Callable[[Tensor], Tensor], given: Both) -> Tensor:
    x, off = double(given.x.detach()), double(given.off)
    change = x - off
    near = ~(change.abs() > _NEAR)  # also where both are infinite
    with torch.enable_grad():
        middle = torch.where(near, off, 0.0).requires_grad_()
        (there,) = torch.autograd.grad(function(middle).sum(), middle)
    slope = torch.where(near, there.nan_to_num(0, 0, 0), (function(x) - function(off)) / change)
    return slope.to(given.x.dtype)


class Lift(NamedTuple):
    """What DeepLIFT finds for pairs of picture and baseline.

    Attributes
    ----------
    contributions : Tensor, shape (n, C, h, w)
        They add up to ``whole - empty``.
    whole, empty : ndarray of float64, shape (n,)
        The target's number for each picture and baseline.
    """

    contributions: Tensor
    whole: np.ndarray
    empty: np.ndarray


def lift(problem: Problem, baselines: Tensor, method: str = "DeepLIFT") -> Lift:
    """Compare the picture with each of some baselines (n, C, h, w).

    What follows the model's answer, such as a softmax or a target of the user's own, is no network: there the gradient
    is averaged over the straight way between the answers, which is complete too, and the gradient where it is linear.
    """
    classifier = problem.classifier
    module = classifier.canonical().module
    n = len(baselines)
    with classifier.differentiable(problem.inputs.expand_as(baselines)) as (leaf, _):
        answer = Rescale(module, method).answer(Both(leaf, baselines))
        multipliers = _after(problem, answer, n)
        parts = [(each * multiplier).sum() for each, multiplier in zip(_followed(answer.x), multipliers, strict=True)]
        gradient = classifier.gradient(sum(parts), leaf, "its input") if parts else torch.zeros_like(leaf)
        ends = [score(problem, lane(answer, which), n).detach().double().cpu().numpy() for which in ("x", "off")]
    return Lift(double(gradient) * (double(problem.inputs) - double(baselines)), *ends)


def _followed(answer: Any) -> list[Tensor]:
    """The tensors in an answer that depend on the picture."""
    return [each for each in tensors_in(answer) if each.requires_grad]


def _after(problem: Problem, answer: Both, n: int) -> list[Tensor]:
    """Multipliers of the tensors of an answer, by Gauss-Legendre quadrature of the gradient between its two lanes."""
    ends = list(zip(tensors_in(answer.x), tensors_in(answer.off), strict=True))
    found = [torch.zeros_like(double(x)) for x, _ in ends if x.requires_grad]
    for place, weight in zip(*np.polynomial.legendre.leggauss(_NODES), strict=True):
        between = [
            torch.lerp(off, x.detach(), (place + 1) / 2).requires_grad_() if x.requires_grad else x for x, off in ends
        ]
        made = mapped(answer.x, _each(between), deep=True)
        leaves = [each for each in between if each.requires_grad]
        gradients = torch.autograd.grad(score(problem, made, n).sum(), leaves, allow_unused=True)
        found = [a if b is None else a + weight / 2 * b for a, b in zip(found, gradients, strict=True)]
    return found


def _each(tensors: list[Tensor]) -> Callable[[Any], Any]:
    """For `mapped`: the next of these in the place of each tensor."""
    left = iter(tensors)
    return lambda value: next(left) if isinstance(value, Tensor) else value
