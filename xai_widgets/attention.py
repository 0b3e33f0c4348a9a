"""Read the attention of a transformer, on the gradient path, without touching the model; find where its tokens are.

Fused kernels never write down the attention matrix. While `Explicit` is active, in one thread and for one forward pass,
each of them is computed step by step instead; the answers stay equal, which is checked once for each model and picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from xai_widgets import layers
from xai_widgets.errors import MethodError, ModelError, first_line
from xai_widgets.grids import Grid

if TYPE_CHECKING:
    from xai_widgets.classifiers import Classifier
    from xai_widgets.problem import Problem

CLOSE = 1e-4
"""How far answers may move when attention is made explicit, as a share of the largest if that is above 1; in half
precision 16 times what it can tell apart, for there rounding adds up."""

_SOFTMAX = (torch.softmax, Tensor.softmax, functional.softmax)


# ---- making it visible -----------------------------------------------------------------------------------------------


class Explicit(TorchFunctionMode):
    """While active, attention is computed as ``softmax(Q Kᵀ · scale + mask) V``, and its matrix is shown to `take`.

    It sees what is called in its own thread and changes nothing outside: `scaled_dot_product_attention`, which
    timm, transformers and torchvision's models end in; `multi_head_attention_forward`, run as torch wrote it with its
    parts in sight; and softmax over the last axis of three or more, where attention is explicit already.

    Parameters
    ----------
    take : callable
        Gets each matrix (…, queries, keys) in the order of computation, and returns the one to go on with: the same,
        for whoever only wants to see it.
    """

    def __init__(self, take: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.take = take
        self.causal = False
        """Whether some attention has been told to look back only."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            return self._attend(*args, **kwargs)
        if func is functional.multi_head_attention_forward:
            with self:
                return _in_sight(func)(*args, **kwargs)
        result = func(*args, **kwargs)
        if func in _SOFTMAX and result.ndim > 2:
            axis = kwargs.get("dim", args[1] if len(args) > 1 else None)
            if axis in (-1, result.ndim - 1):
                return self.take(self.softened(kwargs.get("input", args[0] if args else None), result))
        return result

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        """A matrix product of attention."""
        return a @ b

    def softened(self, scores: Tensor, weights: Tensor) -> Tensor:
        """The weights that scaling, masking and softmax have made of scores."""
        return weights

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        *,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """What `scaled_dot_product_attention` is documented to compute; in half precision by way of float32."""
        dtype = value.dtype
        if dtype in (torch.half, torch.bfloat16):  # the kernels add up in float32 too
            query, key, value = query.float(), key.float(), value.float()
        if enable_gqa:
            times = query.shape[-3] // key.shape[-3]
            key, value = key.repeat_interleave(times, -3), value.repeat_interleave(times, -3)
        products = self.product(query, key.transpose(-2, -1))
        scores = products * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
        if is_causal:
            self.causal = True
            seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
            scores = scores.masked_fill(~seen, -math.inf)
        if attn_mask is not None:
            scores = scores.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
        weights = self.take(self.softened(products, scores.softmax(-1)))
        if dropout_p:
            weights = functional.dropout(weights, dropout_p)
        return self.product(weights, value).to(dtype)


@cache
def _in_sight(func: FunctionType) -> FunctionType:
    """A copy of one of torch's functions that runs its body where it would hand itself over to an active mode."""
    names = {**func.__globals__, "has_torch_function": lambda _tensors: False}
    copy = FunctionType(func.__code__, names, func.__name__, func.__defaults__, func.__closure__)
    copy.__kwdefaults__ = func.__kwdefaults__
    return copy


# ---- finding out what it means ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tokens:
    """Where in the picture a transformer's tokens are, and from which of them it answers.

    Attributes
    ----------
    grid : (int, int)
        Rows and columns of patches.
    prefix : int
        Tokens before the patches: class, distillation, registers.
    read : tuple of int
        The tokens whose last state the answer depends on.
    heads : tuple of int
        How many heads each layer has, in the order of computation.
    """

    grid: Grid
    prefix: int
    read: tuple[int, ...]
    heads: tuple[int, ...]

    @property
    def number(self) -> int:
        """How many tokens there are."""
        return self.prefix + self.grid[0] * self.grid[1]

    @property
    def note(self) -> str:
        """What a reader should know of how it is read; empty for the usual class token."""
        patches = tuple(range(self.prefix, self.number))
        if len(self.read) == 1:
            return ""
        if self.read == patches:
            return "The model answers from the mean over its patches, so the map is the mean over their attention."
        few = len(self.read) < 4
        which = (
            f"tokens {' and '.join(map(str, self.read))}" if few else f"{len(self.read)} of its {self.number} tokens"
        )
        return f"The model answers from {which}, so the map is the mean over their attention."

    def matrices(self, weights: Tensor) -> Tensor:
        """What `Explicit` shows of one picture, as (heads, tokens, tokens), without graph, in float32 or more.

        Raises
        ------
        MethodError
            If it has another shape than when the model was looked at.
        """
        found = weights.detach().flatten(0, -3)
        if found.shape[1:] != (self.number, self.number):
            raise MethodError(
                f"Attention of shape {tuple(weights.shape)} where {self.number} tokens were seen before: the model "
                'changes from call to call. Use method="occlusion"'
            )
        return found if found.dtype == torch.float64 else found.float()

    def places(self, relevance: Tensor) -> Tensor:
        """From (tokens, tokens), row i what token i takes from each, the map (rows, columns) of what is answered from.

        The columns of class, distillation and register tokens are left out.
        """
        return relevance[list(self.read), self.prefix :].mean(0).unflatten(0, self.grid)


def unfit(classifier: Classifier, *, asking: bool = True) -> str:
    """Why the attention of this model cannot be read, in one line, or an empty string; see `layers.unfit`."""
    look = _look(classifier, asking=asking)
    return "" if look is None else look.reason


def find(classifier: Classifier) -> Tokens:
    """How this model's tokens lie.

    Raises
    ------
    MethodError
        If its attention cannot be read, with the reason.
    """
    look = _look(classifier)
    if look.tokens is None:
        raise MethodError(look.reason)
    return look.tokens


def each_layer(problem: Problem, fuse: Callable[[Tensor], Tensor]) -> tuple[Tokens, list[Tensor]]:
    """Ask once, without gradients; kept is what `fuse` makes of each layer's attention (heads, tokens, tokens)."""
    tokens = find(problem.classifier)
    found: list[Tensor] = []

    def take(weights: Tensor) -> Tensor:
        found.append(fuse(tokens.matrices(weights)))
        return weights

    with problem.classifier.differentiable(problem.inputs) as (leaf, forward), torch.no_grad(), Explicit(take):
        forward(leaf[None], problem.space)
    return tokens, _all_there(tokens, found)


def each_layer_with_gradient(problem: Problem, fuse: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tokens, list[Tensor]]:
    """Ask once; `fuse` gets each layer's attention and ``∂ score / ∂ attention``, both (heads, tokens, tokens).

    It does so as gradients come in, the last layer first, so that no more than one of them is held; the list is in the
    order of computation. A layer that the answer does not depend on has the gradient zero.
    """
    classifier = problem.classifier
    tokens = find(classifier)
    kept: list[Tensor] = []
    found: dict[int, Tensor] = {}

    def take(weights: Tensor) -> Tensor:
        if not weights.requires_grad:
            raise MethodError(f"No gradient of {classifier.name} passes its attention: it computes under no_grad.")
        at = len(kept)
        kept.append(tokens.matrices(weights))

        def arrived(gradient: Tensor) -> None:
            found[at] = fuse(kept[at], tokens.matrices(gradient))

        weights.register_hook(arrived)
        return weights

    with classifier.differentiable(problem.inputs) as (leaf, forward):
        with Explicit(take):
            answer = forward(leaf[None], problem.space)
        classifier.gradient(problem.target.of(answer).sum(), leaf, "its input")
    fused = [found[at] if at in found else fuse(each, torch.zeros_like(each)) for at, each in enumerate(kept)]
    return tokens, _all_there(tokens, fused)


def check_start(start_layer: int, tokens: Tokens) -> None:
    """Say so if there is no such layer."""
    if start_layer >= len(tokens.heads):
        raise MethodError(f"start_layer={start_layer} does not exist: there are {len(tokens.heads)} layers, from 0 on.")


def _all_there(tokens: Tokens, found: list[Tensor]) -> list[Tensor]:
    if len(found) != len(tokens.heads):
        raise MethodError(
            f"{len(found)} attentions where {len(tokens.heads)} were seen before: the model changes from call to call. "
            'Use method="occlusion"'
        )
    return found


# ---- looking ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Look(layers.Look):
    tokens: Tokens | None = None


@layers.once
def _look(classifier: Classifier) -> _Look:
    reason = layers.unfit(classifier)
    if reason:
        return _Look(reason=reason, lasting=False)  # kept there, if it lasts
    name = classifier.name
    seen: list[Tensor] = []

    def take(weights: Tensor) -> Tensor:
        seen.append(weights)
        return weights

    try:
        with classifier.differentiable(classifier.example) as (leaf, forward):
            with torch.no_grad():
                own = forward(leaf[None], "logit")
            with Explicit(take) as mode:
                answer = forward(leaf[None], "logit")
            found = _arrangement(classifier, seen, causal=mode.causal)
            if isinstance(found, str):
                return _Look(reason=found)
            if not _close(own, answer, classifier.dtype):
                return _Look(reason=f"{name} answers differently when its attention is computed step by step.")
            return _with_rows(found, name, answer, seen[-1])
    except (ModelError, torch.OutOfMemoryError) as error:
        said = error if isinstance(error, ModelError) else first_line(error)
        return _Look(reason=f"Its attention cannot be looked at. {said}", lasting=False)
    except Exception as error:  # noqa: BLE001 - a model may do anything, and every method asks whether this one fits
        return _Look(reason=f"Its attention cannot be looked at: {type(error).__name__}: {first_line(error)}")


def _arrangement(classifier: Classifier, seen: list[Tensor], *, causal: bool) -> Tokens | str:
    """How the tokens lie, told from the shapes of all attentions; or why they do not, in one line."""
    name = classifier.name
    if not seen:
        return f'{name} has no attention, or computes it where it cannot be followed. Use method="occlusion"'
    if causal:
        return f"In {name} each token attends only to those before it, so no token sees the whole picture."
    for weights in seen:
        queries, keys = weights.shape[-2:]
        if queries != keys:
            return f"{name} has attention of {queries} to {keys} tokens; these methods need it from all tokens to all."
        if weights.ndim > 4 or (weights.ndim == 4 and weights.shape[0] != 1):
            return _windows(name, keys)
    sizes = list(dict.fromkeys(weights.shape[-1] for weights in seen))
    if len(sizes) > 1:
        listed = ", ".join(map(str, sizes))
        return (
            f"The number of tokens in {name} changes from layer to layer: {listed}; these methods need the same ones."
        )
    known = layers.survey(classifier)
    fits = [each for each in known if each.prefix + each.n_places == sizes[0] and each.arrangement != "NCHW"]
    if not fits:
        if any(each.n_places > sizes[0] and each.n_places % sizes[0] == 0 for each in known):
            return _windows(name, sizes[0])
        return f"{name} has attention between {sizes[0]} values that are no patches of the picture."
    return Tokens(fits[-1].grid, fits[-1].prefix, (), tuple(weights.shape[-3] for weights in seen))


def _windows(name: str, size: int) -> str:
    side = math.isqrt(size)
    within = f"{side} × {side}" if side * side == size else f"{size}"
    return f"{name} has attention in windows of {within} tokens; these methods need it over the whole picture."


def _close(own: Tensor, answer: Tensor, dtype: torch.dtype) -> bool:
    """Whether the answers are the same but for rounding; never so where one is not a number."""
    share = max(CLOSE, 16 * torch.finfo(dtype).eps)
    own, answer = own.double(), answer.detach().double()
    return bool((own - answer).abs().max() <= share * max(1.0, float(own.abs().max())))


def _with_rows(tokens: Tokens, name: str, answer: Tensor, last: Tensor) -> _Look:
    """Find the tokens that are answered from: those whose row of the last attention makes a difference.

    What comes after the last attention works on each token alone, until some are picked or averaged. Every class is
    asked about at once, with unequal weights: all logits together may be constant.
    """
    gradient = None
    if answer.requires_grad and last.requires_grad:
        score = (answer * torch.linspace(1, 2, answer.shape[1], device=answer.device, dtype=answer.dtype)).sum()
        gradient = torch.autograd.grad(score, last, allow_unused=True)[0]
    if gradient is None:
        return _Look(reason=f"No gradient of {name} reaches its attention, from which to tell what it answers from.")
    rows = tokens.matrices(gradient).abs().sum((0, 2)).nonzero().flatten().tolist()
    # A head whose weights are zero answers from no token. Then maps are empty or the same for every class.
    rows = rows or ([0] if tokens.prefix else list(range(tokens.number)))
    if len(rows) == 1 and rows[0] >= tokens.prefix:
        return _Look(reason=f"{name} answers from token {rows[0]}, where a patch was expected: where is unclear.")
    return _Look(replace(tokens, read=tuple(rows)))
