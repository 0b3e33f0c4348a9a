"""What the methods of attention share: from one matrix of relevances to a map of the picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xai_widgets.errors import MethodError
from xai_widgets.problem import Estimate, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from xai_widgets.attention import Tokens


def rolled(layers: Iterable[Tensor]) -> Tensor:
    """``Â_L ⋯ Â_1`` of layers in the order of computation, each (tokens, tokens)."""
    layers = iter(layers)
    product = next(layers)
    for layer in layers:
        product = layer @ product
    return product


def with_identity(fused: Tensor, discard_ratio: float = 0.0) -> Tensor:
    """``(A + I) / 2``, rows made to sum to 1, after the share `discard_ratio` of A's entries, the lowest, is zero."""
    import torch

    if discard_ratio:
        lowest = fused.flatten().topk(int(fused.numel() * discard_ratio), largest=False).indices
        fused = fused.flatten().index_fill(0, lowest, 0).view_as(fused)
    mixed = (fused + torch.eye(len(fused), dtype=fused.dtype, device=fused.device)) / 2
    return mixed / mixed.sum(1, keepdim=True)


def estimate(problem: Problem, tokens: Tokens, relevance: Tensor, empty: str, n_forward: int = 1) -> Estimate:
    """The map of what the answer's tokens take from each patch, enlarged to the picture bilinearly.

    Parameters
    ----------
    relevance : Tensor, shape (tokens, tokens)
    empty : str
        What to say if there is nothing in it.
    """
    import torch
    from torch.nn import functional

    coarse = tokens.places(relevance).float()
    if not bool(torch.isfinite(coarse).all()):
        raise MethodError(
            f"The map is not finite: attention or its gradients overflow {problem.classifier.dtype}. Pass the model in "
            "full precision: model.float()"
        )
    enlarged = functional.interpolate(coarse[None, None], problem.view.shape, mode="bilinear", align_corners=False)
    moves = bool(relevance.fill_diagonal_(0)[list(tokens.read)].any())  # what stays where it is says nothing
    warnings = (empty * (not moves), tokens.note)
    return Estimate(
        values=enlarged[0, 0].cpu().numpy().astype(np.float32),
        coarse=coarse.cpu().numpy().astype(np.float32),
        n_forward=n_forward,
        warnings=tuple(words for words in warnings if words),
    )
