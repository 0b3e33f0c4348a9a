"""Gradient-weighted attention relevance: what the attention of all layers brings to a class."""

from __future__ import annotations

from xai_widgets.methods._attention import estimate, rolled
from xai_widgets.problem import Problem, Steps
from xai_widgets.registry import MethodInfo, Param


def attention_gradient(problem: Problem, *, start_layer: int = 0) -> Steps:
    """``R ← R + E_h[(∇A ⊙ A)⁺] R`` from ``R = I`` (Chefer, Gur and Wolf 2021b, equations 5 and 6).

    ``E_h`` is the mean over heads, taken after what is negative has been cut off; no row is made to sum to 1. Read is
    the row of the class token of ``R - I``, at the patches: what reaches it other than by staying where it is. Where
    the model answers from other tokens, the mean of their rows.

    Proof: equals the formula written out in numpy, on gradients that match finite differences, to 1e-6; a gradient of
    zero gives an empty map (tests/test_attention.py).
    """
    import torch

    from xai_widgets import attention

    tokens, layers = attention.each_layer_with_gradient(
        problem, lambda weights, gradient: (gradient * weights).clamp(min=0).mean(0)
    )
    attention.check_start(start_layer, tokens)
    identity = torch.eye(tokens.number, dtype=layers[0].dtype, device=layers[0].device)
    relevance = rolled(identity + layer for layer in layers[start_layer:]) - identity
    yield estimate(problem, tokens, relevance, f"No attention speaks for {problem.target.name}.")


INFO = MethodInfo(
    name="attention_gradient",
    label="Attention × gradient",
    family="attention",
    summary="What the attention of all layers brings to this class. Shows support only; as coarse as the patches.",
    run=attention_gradient,
    params=(Param("start_layer", int, 0, "The first layer that counts; 0, as in the paper, is all.", low=0, high=63),),
    needs="attention",
    signed=False,
    space="logit",
    source="Chefer, Gur and Wolf, Generic Attention-model Explainability, ICCV 2021",
)
