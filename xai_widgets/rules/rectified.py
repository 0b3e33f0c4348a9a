"""Guided backpropagation and the deconvnet: the gradient, with another way back through rectifiers."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn

from xai_widgets.errors import MethodError
from xai_widgets.rules.opening import activations_of
from xai_widgets.rules.walk import score

if TYPE_CHECKING:
    from xai_widgets.problem import Problem


class _Guided(torch.autograd.Function):
    """Passes back what is positive, where the rectifier lets the picture through."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, module: nn.Module) -> Tensor:
        value = module(x)
        ctx.save_for_backward((x > 0) & (value == x))  # above 6 a ReLU6 is as flat as below 0
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.clamp(min=0) * ctx.saved_tensors[0], None


class _Deconvolved(torch.autograd.Function):
    """Passes back what is positive, wherever it is."""

    @staticmethod
    def forward(_ctx: Any, x: Tensor, module: nn.Module) -> Tensor:
        return module(x)

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.clamp(min=0), None


RULES = {"Guided backprop": _Guided, "Deconvolution": _Deconvolved}
"""How a method is called in messages → what it does at a rectifier."""


class _Rectified(fx.Interpreter):
    """Runs a canonical copy, with a rule at each rectifier."""

    def __init__(self, module: fx.GraphModule, rule: type[torch.autograd.Function]) -> None:
        super().__init__(module)
        self.rule = rule

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        module = self.fetch_attr(target)
        return self.rule.apply(args[0], module) if _rectifies(module) else super().call_module(target, args, kwargs)


def _rectifies(module: Any) -> bool:
    """ReLU, ReLU6, and what else is zero below zero and then the identity, up to some height or for ever."""
    return isinstance(module, nn.ReLU) or (isinstance(module, nn.Hardtanh) and module.min_val == 0)


def rectified(problem: Problem, method: str) -> tuple[Tensor, tuple[str, ...]]:
    """The gradient (C, h, w) under a rule of `RULES`, and warnings.

    Raises
    ------
    MethodError
        If there is no rectifier: the map would be the plain gradient.
    """
    classifier = problem.classifier
    copy = classifier.canonical()
    activations = activations_of(copy.module)
    others = Counter(type(each).__name__ for each in activations if not _rectifies(each))
    count = len(activations) - others.total()
    if not count:
        has = f"has {', '.join(others)}, and no ReLU" if others else "has no ReLU"
        raise MethodError(
            f"{method} changes no activation of {classifier.name}, which {has}: the map would be the plain gradient. "
            'Ask for that: method="saliency", or method="input_x_gradient"'
        )
    warnings = ()
    if others or copy.hidden:
        closed = [f"{len(copy.hidden)} functions that cannot be opened"] if copy.hidden else []
        names = ", ".join([*(f"{name} ({n})" for name, n in others.items()), *closed])
        warnings = (f"Only ReLUs get the rule of {method}, {count} here; the plain gradient passes {names}.",)
    with classifier.differentiable(problem.inputs[None]) as (leaf, _):
        answer = _Rectified(copy.module, RULES[method]).run(leaf, enable_io_processing=False)
        return classifier.gradient(score(problem, answer, 1).sum(), leaf, "its input")[0], warnings
