"""Attention rollout: where information can have come from, followed through all layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xai_widgets.methods._attention import estimate, rolled, with_identity
from xai_widgets.problem import Problem, Steps
from xai_widgets.registry import MethodInfo, Param

if TYPE_CHECKING:
    from torch import Tensor


def attention_rollout(
    problem: Problem, *, head_fusion: str = "mean", discard_ratio: float = 0.0, start_layer: int = 0
) -> Steps:
    """``Â_L ⋯ Â_1`` with ``Â = (A + I) / 2``, rows summing to 1 (Abnar and Zuidema 2020, §3, equation 1).

    A is fused over heads: their mean in the paper; maximum and minimum, and leaving out the weakest entries of each
    layer, are additions of vit-explain, whose default is ``discard_ratio=0.9``. Unlike there, rows are made to sum to 1
    after that too, and no entry is exempt. The row of the class token is read, without what goes to tokens that are no
    patch; where the model answers from others, the mean of their rows. The same for every class.

    Proof: with uniform attention over T tokens, what goes elsewhere is ``(1 - 2⁻ᴸ) / T`` to 1e-7; on real
    attention it equals a rollout written out in numpy to 1e-6 (tests/test_attention.py).
    """
    from xai_widgets import attention

    def fused(weights: Tensor) -> Tensor:
        return weights.mean(0) if head_fusion == "mean" else getattr(weights, f"a{head_fusion}")(0)

    tokens, layers = attention.each_layer(problem, lambda weights: with_identity(fused(weights), discard_ratio))
    attention.check_start(start_layer, tokens)
    yield estimate(problem, tokens, rolled(layers[start_layer:]), "No attention goes to any patch.")


INFO = MethodInfo(
    name="attention_rollout",
    label="Attention rollout",
    family="attention",
    summary="Which patches all layers' attention leads back to. The same for every class; no evidence for one.",
    run=attention_rollout,
    params=(
        Param(
            "head_fusion", str, "mean", "What becomes of a layer's heads; the paper takes the mean.",
            choices=("mean", "max", "min"),
        ),
        Param(
            "discard_ratio", float, 0.0,
            "Share of each layer's weakest attention to leave out. The paper leaves out none, vit-explain 0.9.",
            low=0, high=0.99,
        ),
        Param("start_layer", int, 0, "The first layer that counts; 0, as in the paper, is all.", low=0, high=63),
    ),
    needs="attention",
    differentiates=False,
    signed=False,
    space="logit",
    source="Abnar and Zuidema, Quantifying Attention Flow in Transformers, ACL 2020",
)  # fmt: skip
