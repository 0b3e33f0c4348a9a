"""Raw attention: what one layer of a transformer looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xai_widgets.errors import MethodError
from xai_widgets.methods._attention import estimate
from xai_widgets.problem import Problem, Steps
from xai_widgets.registry import MethodInfo, Param

if TYPE_CHECKING:
    from torch import Tensor


def raw_attention(problem: Problem, *, layer: int = -1, head: int | None = None) -> Steps:
    """The row of the class token in ``A = softmax(Q Kᵀ / √d)`` of one layer, one head or their mean.

    Where the model answers from other tokens, it is the mean of their rows (`xai_widgets.attention.Tokens`); what goes
    to the class token itself, distillation tokens and registers is left out, so the map sums to at most 1. The same for
    every class. The default, the last layer and all heads, is what Caron et al. 2021, figure 1, show (each head there).

    Proof: equals the attention that transformers' ViT returns of itself to 1e-6, for each layer and head
    (tests/test_attention.py).
    """
    from xai_widgets import attention

    heads = attention.find(problem.classifier).heads
    if not -len(heads) <= layer < len(heads):
        raise MethodError(f"layer={layer} does not exist: {problem.classifier.name} has {len(heads)}, from 0 on.")
    layer %= len(heads)
    if head is not None and head >= heads[layer]:
        raise MethodError(f"head={head} does not exist: layer {layer} has {heads[layer]}, from 0 on.")

    def one_of(weights: Tensor) -> Tensor:
        return weights.mean(0) if head is None else weights[head]

    tokens, layers = attention.each_layer(problem, one_of)
    yield estimate(problem, tokens, layers[layer], "No attention goes to any patch.")


INFO = MethodInfo(
    name="raw_attention",
    label="Attention",
    family="attention",
    summary="Where one layer of a transformer looks, head by head. The same for every class; no evidence for one.",
    run=raw_attention,
    params=(
        Param("layer", int, -1, "Which layer, 0 for the first; -1, the default, is the last.", low=-64, high=63),
        Param("head", int, None, "Which head, 0 for the first. Default: the mean over all.", low=0, high=127),
    ),
    needs="attention",
    differentiates=False,
    signed=False,
    space="logit",
    source="Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021; Caron et al., DINO, ICCV 2021",
)
