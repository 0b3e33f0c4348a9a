"""Relevance of attention: a forward pass whose backward pass carries relevance by rules instead of gradients.

The rules are those of Chefer, Gur and Wolf, Transformer Interpretability Beyond Attention Visualization, CVPR 2021, as
their own code applies them to vision transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import Function

from xai_widgets.attention import Explicit, find
from xai_widgets.errors import MethodError
from xai_widgets.outputs import finish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from xai_widgets.problem import Problem

_TINY = 1e-9


def attention_relevance(problem: Problem) -> list[Tensor]:
    """The relevance of each layer's attention (heads, tokens, tokens).

    It starts from ``∂ score / ∂ answer``: 1 at the class for a logit, as in the authors' code, and -1 at the other
    class for "a rather than b".

    Raises
    ------
    MethodError
        If something happens between the attentions and the answer for which there is no rule.
    """
    classifier = problem.classifier
    tokens = find(classifier)
    if classifier.dtype == torch.half:
        raise MethodError(f"{classifier.name} is in float16, where relevance vanishes. Pass model.float()")
    seen: list[Tensor] = []

    def take(weights: Tensor) -> Tensor:
        seen.append(weights)
        return weights

    with classifier.differentiable(problem.inputs) as (leaf, _):
        with Relevance(take):
            answer = classifier.scores(leaf[None])
        _check_path(answer, seen, classifier.name)
        row = answer.detach().requires_grad_()
        score = problem.target.of(finish(row, classifier.kind, problem.space)).sum()
        start = classifier.gradient(score, row, "the answer")
        found = classifier.gradients((answer * start).sum(), seen)
    return [tokens.matrices(torch.zeros_like(at) if one is None else one) for at, one in zip(seen, found, strict=True)]


class Relevance(Explicit):
    """`Explicit`, and whatever has a rule goes by it on the way back."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        rule = _BY_NAME.get(getattr(func, "__name__", ""))
        result = rule(func, args, kwargs or {}) if rule else None
        return super().__torch_function__(func, types, args, kwargs) if result is None else result

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        return _Product.apply(a, b)

    def softened(self, scores: Tensor, weights: Tensor) -> Tensor:
        return _pass_on(scores, weights)


# ---- the rules -------------------------------------------------------------------------------------------------------


def _over(relevance: Tensor, whole: Tensor) -> Tensor:
    """Their quotient; zero where there is nothing to divide by."""
    return torch.where(whole == 0, 0, relevance / (whole + _TINY * whole.sign()))


class _Linear(Function):
    """Shares relevance among what adds to each output: positive parts of ``x w``, without the bias."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return torch.nn.functional.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        parts = [(x.clamp(min=0), weight.clamp(min=0)), (x.clamp(max=0), weight.clamp(max=0))]
        share = _over(relevance, sum(some @ w.T for some, w in parts))
        return sum(some * (share @ w) for some, w in parts), None, None


class _Product(Function):
    """Half of the relevance to each factor of a matrix product, there in proportion to what each entry adds."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        whole = a @ b
        ctx.save_for_backward(a, b, whole)
        return whole

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> Any:
        a, b, whole = ctx.saved_tensors
        share = _over(relevance, whole) / 2
        return a * (share @ b.transpose(-2, -1)), b * (a.transpose(-2, -1) @ share)


class _Sum(Function):
    """In proportion to what each adds; then each side gets its share of the whole, so that none of it is lost."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return a + b

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> Any:
        sides = ctx.saved_tensors
        share = _over(relevance, sides[0] + sides[1])
        parts = [side * share for side in sides]
        sums = [part.sum() for part in parts]
        whole = sums[0].abs() + sums[1].abs()
        return tuple(
            part * _over(_over(own.abs(), whole) * relevance.sum(), own) for part, own in zip(parts, sums, strict=True)
        )


class _Mean(Function):
    """In proportion to what each adds."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, axes: tuple[int, ...], keepdim: bool) -> Tensor:
        ctx.save_for_backward(x)
        ctx.axes, ctx.keepdim = axes, keepdim
        return x.mean(axes, keepdim)

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        if not ctx.keepdim:
            for axis in sorted(axis % x.ndim for axis in ctx.axes):
                relevance = relevance.unsqueeze(axis)
        return x * _over(relevance, x.sum(ctx.axes, keepdim=True)), None, None


class _Same(Function):
    """Relevance passes as it is: activations, norms, softmax, a factor that does not depend on the picture."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, result: Tensor) -> Tensor:
        return result.clone()

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> Any:
        return relevance, None


def _pass_on(x: Tensor, result: Tensor) -> Tensor:
    return _Same.apply(x, result.detach())


def _linear(func: Any, args: Any, kwargs: Any) -> Tensor | None:
    given = {**dict(zip(("input", "weight", "bias"), args, strict=False)), **kwargs}
    return _Linear.apply(given["input"], given["weight"], given.get("bias"))


def _same(func: Any, args: Any, kwargs: Any) -> Tensor | None:
    x = args[0] if args else kwargs["input"]
    return _pass_on(x, func(*args, **kwargs)) if x.requires_grad else None


def _matmul(func: Any, args: Any, kwargs: Any) -> Tensor | None:
    if kwargs or any(x.ndim < 3 for x in args) or args[0].shape[:-2] != args[1].shape[:-2]:
        return None
    return _Product.apply(*args)


def _add(func: Any, args: Any, kwargs: Any) -> Tensor | None:
    if kwargs or not all(isinstance(x, Tensor) and x.grad_fn is not None for x in args):
        return None if kwargs else _factor(func, args, kwargs)
    return _Sum.apply(*args) if args[0].shape == args[1].shape else None


def _factor(func: Any, args: Any, kwargs: Any) -> Tensor | None:
    """A number, a parameter or a buffer on one side: what was made from the picture is the other."""
    made = [x for x in args if isinstance(x, Tensor) and x.grad_fn is not None]
    result = func(*args, **kwargs)
    return _pass_on(made[0], result) if len(made) == 1 and made[0].shape == result.shape else result


def _mean(func: Any, args: Any, kwargs: Any) -> Tensor | None:
    given = {**dict(zip(("input", "dim", "keepdim"), args, strict=False)), **kwargs}
    axes = given.get("dim")
    if axes is None or given.get("dtype") is not None:
        return None
    axes = (axes,) if isinstance(axes, int) else tuple(axes)
    return _Mean.apply(given["input"], axes, bool(given.get("keepdim", False)))


_BY_NAME: dict[str, Callable[[Any, Any, Any], Tensor | None]] = {
    "linear": _linear,
    "mean": _mean,
    **dict.fromkeys(("gelu", "relu", "silu", "tanh", "layer_norm"), _same),
    **dict.fromkeys(("matmul", "__matmul__", "bmm"), _matmul),
    **dict.fromkeys(("add", "__add__", "__radd__"), _add),
    **dict.fromkeys(("mul", "__mul__", "__rmul__", "div", "__truediv__"), _factor),
}
"""How torch calls a function → its rule, which may decline with None."""

_RULES = (_Linear, _Product, _Sum, _Mean, _Same)

_SHAPES = (
    "View", "UnsafeView", "ReshapeAlias", "Transpose", "T", "Permute", "Expand", "Select", "Slice", "Narrow", "Cat",
    "Stack", "Unbind", "Split", "SplitWithSizes", "Squeeze", "Unsqueeze", "Clone", "ToCopy", "Alias", "Index",
    "IndexSelect",
)  # fmt: skip
"""How autograd calls what only moves values: relevance moves with them."""


def _check_path(answer: Tensor, seen: Iterable[Tensor], name: str) -> None:
    """Refuse if anything between the attentions and the answer has no rule; told from autograd's own graph."""
    above: dict[Any, list[Any]] = {answer.grad_fn: []}  # each node, with those that it passes its gradient on from
    waiting = [answer.grad_fn]
    while waiting:
        node = waiting.pop()
        for below, _ in getattr(node, "next_functions", ()):
            if below is None:
                continue
            if below not in above:
                above[below] = []
                waiting.append(below)
            above[below].append(node)
    reached = [weights.grad_fn for weights in seen if weights.grad_fn in above]
    if not reached:
        raise MethodError(f"No relevance of {name} reaches its attention.")
    on_path: set[Any] = set()
    while reached:
        for node in above[reached.pop()]:
            if node not in on_path:
                on_path.add(node)
                reached.append(node)
    for node in on_path:
        kind = type(node).__name__.rstrip("0123456789").removesuffix("Backward")
        if getattr(type(node), "_forward_cls", None) not in _RULES and kind not in _SHAPES:
            raise MethodError(
                f"{name} has {kind} between its attention and its answer, for which the paper has no rule of "
                'relevance. Use method="attention_gradient"'
            )
