"""Ablation-CAM: the channels of a layer, weighted by how far the score falls without them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from xai_widgets.methods._cam import N_CHANNELS, TARGET_LAYER, Reading, channels_asked, one_by_one
from xai_widgets.problem import Problem, Steps
from xai_widgets.registry import MethodInfo

if TYPE_CHECKING:
    from torch import Tensor

    from xai_widgets.layers import Layer


def ablationcam(problem: Problem, *, target_layer: Any = None, n_channels: int | None = None) -> Steps:
    """``ReLU(Σ_k w_k A_k)``, ``w_k = (y - y_k) / y``, ``y_k`` without channel k (Desai and Ramaswamy 2020).

    Channel k is set to zero at all places of the layer; the class token of a transformer keeps it. The division is by
    ``|y|``: a negative score would turn evidence round otherwise. At a layer with negative values pytorch-grad-cam sets
    a channel to a huge negative number; here, as in the paper, it is zero everywhere.

    With `n_channels` only those that vary most are taken out; the others get no weight.

    Proof: equals pytorch-grad-cam before its min-max to 1e-5 at layers after a ReLU; on average pooling and a linear
    head ``w_k`` is the channel's share of the score to 1e-5 (tests/test_cams.py).
    """
    return one_by_one(problem, INFO, target_layer, n_channels, _without, _share_lost)


def _without(problem: Problem, reading: Reading, channels: Tensor) -> Iterator[np.ndarray]:
    """Answers to the picture with one channel of `channels` at zero each."""
    from xai_widgets.gradients import batches
    from xai_widgets.guard import LOCK

    def ask(problem: Problem, batch: Tensor) -> np.ndarray:
        inputs = problem.inputs.expand(len(batch), *problem.inputs.shape)
        with LOCK, _zeroed(reading.layer, batch):  # the lock: nobody else's question may pass the hook
            return problem.classifier.answers(inputs, problem.space)

    return batches(problem, [channels], ask)


def _share_lost(scores: np.ndarray, whole: float) -> np.ndarray:
    return (whole - scores) / (abs(whole) or 1.0)


@contextmanager
def _zeroed(layer: Layer, channels: Tensor) -> Iterator[None]:
    """Row i of what the layer returns has channel ``channels[i]`` at zero for as long as the block lasts.

    A batch may pass the layer in parts, where the model takes its pictures one by one; and each part several times, of
    which the last counts, as it does for the activations.
    """
    import torch

    passed = 0

    def hook(_module: Any, _args: Any, output: Any) -> Any:
        nonlocal passed
        value = (output if isinstance(output, torch.Tensor) else output[0]).clone()
        places = layer.places(value)  # a view
        part, call = divmod(passed, layer.calls)
        passed += 1
        if call < layer.calls - 1:
            return None
        rows = torch.arange(len(places), device=places.device)
        places[rows, channels[part * len(places) + rows]] = 0
        return value if isinstance(output, torch.Tensor) else (value, *output[1:])

    handle = layer.module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


INFO = MethodInfo(
    name="ablationcam",
    label="Ablation-CAM",
    family="cam",
    summary="Switches off each channel of a layer and measures the fall. No gradients; slow, coarse, support only.",
    run=ablationcam,
    params=(TARGET_LAYER, N_CHANNELS),
    needs="layer",
    differentiates=False,
    signed=False,
    space="logit",
    cost=channels_asked,
    source="Desai and Ramaswamy, Ablation-CAM, WACV 2020",
    quick={"n_channels": 8},
)
