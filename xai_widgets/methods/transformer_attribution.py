"""Transformer attribution: relevance and gradient of every attention, combined through the layers."""

from __future__ import annotations

from xai_widgets.methods._attention import estimate, rolled
from xai_widgets.problem import Estimate, Problem, Steps
from xai_widgets.registry import MethodInfo, Param


def transformer_attribution(problem: Problem, *, start_layer: int = 0) -> Steps:
    """``Ā_L ⋯ Ā_1`` with ``Ā = I + E_h[(∇A ⊙ R_A)⁺]`` (Chefer, Gur and Wolf 2021a, equations 13 and 14).

    ``R_A`` is the relevance of the attention by layer-wise relevance propagation from the class, with the rules of the
    authors' code for vision transformers: positive parts for linear layers, half to each factor of a product,
    normalised shares at residual connections, unchanged through softmax, norms and activations. Rows are not made to
    sum to 1. A network with anything else between its attentions and its answer is refused. Read is the row of the
    class token, at the patches, as in `attention_gradient`.

    Proof: relevances equal an independent implementation layer by layer in numpy to 1e-6 of their largest, and are
    conserved through each rule (tests/test_attention.py).
    """
    import torch

    from xai_widgets import attention
    from xai_widgets.rules.transformers import attention_relevance

    relevances = attention_relevance(problem)
    yield Estimate(done=1, total=2, n_forward=1)
    tokens, gradients = attention.each_layer_with_gradient(problem, lambda _, gradient: gradient)
    attention.check_start(start_layer, tokens)
    both = zip(gradients[start_layer:], relevances[start_layer:], strict=True)
    identity = torch.eye(tokens.number, dtype=gradients[0].dtype, device=gradients[0].device)
    relevance = rolled(identity + (gradient * found).clamp(min=0).mean(0) for gradient, found in both) - identity
    yield estimate(problem, tokens, relevance, f"No attention speaks for {problem.target.name}.", 2)


INFO = MethodInfo(
    name="transformer_attribution",
    label="Transformer attribution",
    family="attention",
    summary="What all attention brings to this class, weighted by its relevance. Shows support only; coarse.",
    run=transformer_attribution,
    params=(Param("start_layer", int, 0, "The first layer that counts; 0, the default, is all.", low=0, high=63),),
    needs="attention",
    signed=False,
    space="logit",
    cost=lambda problem, **params: 2,
    source="Chefer, Gur and Wolf, Transformer Interpretability Beyond Attention Visualization, CVPR 2021",
)
