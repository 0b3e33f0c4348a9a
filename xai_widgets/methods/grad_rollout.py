"""Gradient rollout: attention rollout, each attention weighted by what it does for the class."""

from __future__ import annotations

from xai_widgets.methods._attention import estimate, rolled, with_identity
from xai_widgets.problem import Problem, Steps
from xai_widgets.registry import MethodInfo, Param


def grad_rollout(problem: Problem, *, discard_ratio: float = 0.0, start_layer: int = 0) -> Steps:
    """``Â_L ⋯ Â_1`` with ``Â = ((E_h[∇A ⊙ A])⁺ + I) / 2``, rows made to sum to 1 (Gildenblat 2020, vit-explain).

    ``E_h`` is the mean over heads, taken before what is negative is cut off. vit-explain's default is
    ``discard_ratio=0.9``; here nothing is left out unless asked for, and rows, not columns, sum to 1. The row of the
    class token is read, as in `attention_rollout`.

    Proof: equals the formula written out in numpy, on gradients that match finite differences, to 1e-6; a gradient of
    zero gives the identity (tests/test_attention.py).
    """
    from xai_widgets import attention

    tokens, layers = attention.each_layer_with_gradient(
        problem,
        lambda weights, gradient: with_identity((gradient * weights).mean(0).clamp(min=0), discard_ratio),
    )
    attention.check_start(start_layer, tokens)
    empty = f"No attention speaks for {problem.target.name}."
    yield estimate(problem, tokens, rolled(layers[start_layer:]), empty)


INFO = MethodInfo(
    name="grad_rollout",
    label="Gradient rollout",
    family="attention",
    summary="Rollout of the attention that helps this class. Shows support only, and flow rather than strength.",
    run=grad_rollout,
    params=(
        Param(
            "discard_ratio", float, 0.0,
            "Share of each layer's weakest entries to leave out. vit-explain leaves out 0.9; here none.",
            low=0, high=0.99,
        ),
        Param("start_layer", int, 0, "The first layer that counts; 0, the default, is all.", low=0, high=63),
    ),
    needs="attention",
    signed=False,
    space="logit",
    source="Gildenblat, Exploring Explainability for Vision Transformers (vit-explain), 2020",
)  # fmt: skip
