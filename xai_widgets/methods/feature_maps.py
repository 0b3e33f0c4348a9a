"""Feature maps: where in this picture the strongest channels of a layer answer."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from xai_widgets.methods._units import read
from xai_widgets.problem import Estimate, Problem, Steps
from xai_widgets.registry import MethodInfo, Param

SIDE = 224
"""Longer side, in pixels, of a channel's picture at most; a layer sees far coarser."""


def feature_maps(problem: Problem, *, target_layer: Any = None, n_channels: int = 12, by: str = "class") -> Steps:
    """The activations ``A_k`` of the channels k whose share ``Σ_places ∂ score / ∂ A_k · A_k`` is largest.

    That sum is what channel k adds to the score linearised at this picture: the first term of its Taylor series, which
    Molchanov et al. 2017 (equation 7) rank channels by. Behind the layer a network of average pooling and one linear
    layer is linear, and the share is exactly ``w_ck · mean(A_k)``. With ``by="activation"`` channels are ranked by
    ``mean(A_k)``, whatever the class.

    Each picture shows one channel on a scale of its own, whose ends the caption gives: a channel without negative
    values from dark to bright, any other in orange above zero and blue below. The map is the sum of the shares of the
    channels shown, place by place and signed, enlarged to the picture bilinearly; `coarse` is that sum itself.

    Proof: the activations equal a truncated forward pass bit for bit, shares on average pooling and a linear layer
    equal w · mean(A) to 1e-6, and permuted channels permute the result (tests/test_units.py).
    """
    from xai_widgets.layers import find

    layer = find(problem.classifier, target_layer)
    activations, shares = reading = read(problem, layer)
    totals = reading.totals
    order = totals if by == "class" else activations.mean((1, 2), dtype=np.float64)
    chosen = np.argsort(-order, kind="stable")[:n_channels]
    coarse = shares[chosen].sum(0).astype(np.float32)
    warnings = [layer.note] if layer.note else []
    if not totals.any():
        warnings.insert(0, f"Nothing that {layer.name} returns at its places changes {problem.target.name}.")
    yield Estimate(
        values=_enlarged(coarse, problem.view.shape),
        coarse=coarse,
        pictures=tuple(_shown(problem, activations[k], f"channel {k} · {_points(problem, totals[k])}") for k in chosen),
        layer=layer.name,
        n_forward=1,
        warnings=tuple(warnings),
    )


def _points(problem: Problem, total: float) -> str:
    """``"+1.84 for espresso"``; shares of a probability in points of it."""
    number = f"{100 * total:+.3g} points" if problem.space == "probability" else f"{total:+.3g}"
    return f"{number.replace('-', '−')} for {problem.target.name}"


def _shown(problem: Problem, activation: np.ndarray, words: str) -> tuple[np.ndarray, str]:
    """One channel's activations over the photo, and the caption."""
    from xai_widgets.plotting import shade

    values = activation.astype(np.float32)
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    top = max(-low, high) or 1.0
    photo = Image.fromarray(problem.view.image)
    photo.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    level = _enlarged(values, (photo.height, photo.width)) / top
    scale = f"{low:.2g} (blue) to {high:.2g} (orange)" if low < 0 else f"0 to {high:.2g}"
    picture = shade(np.asarray(photo), level, signed=low < 0)
    return picture, f"{words} · activity {scale.replace('-', '−')}"


def _enlarged(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bilinearly, between the centres of places."""
    import torch
    from torch.nn import functional

    tensor = torch.from_numpy(values)[None, None]
    return functional.interpolate(tensor, shape, mode="bilinear", align_corners=False)[0, 0].numpy()


INFO = MethodInfo(
    name="feature_maps",
    label="Feature maps",
    family="unit",
    summary="Where the channels that count most for the class answer in this picture. "
    "It cannot say what they stand for.",
    run=feature_maps,
    params=(
        Param(
            "target_layer",
            object,
            None,
            "Layer to read, by dotted name or itself. Default: the last one on whose places, at least 4 × 4 of "
            "them, the answer depends; in a transformer that is before its last attention.",
        ),
        Param("n_channels", int, 12, "How many channels to show: three rows of four.", 1, 64),
        Param(
            "by",
            str,
            "class",
            "Which come first: those that add most to the class, or the most active, whatever the class.",
            choices=("class", "activation"),
        ),
    ),
    needs="layer",
    differentiates=False,
    space="logit",
    source="Molchanov et al., Pruning Convolutional Neural Networks for Resource Efficient Inference, ICLR 2017",
    quick={"n_channels": 3},
)
