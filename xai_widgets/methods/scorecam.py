"""Score-CAM: each channel of a layer as a mask on the picture, and how the score likes what shows through."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from xai_widgets.methods._cam import N_CHANNELS, TARGET_LAYER, Reading, channels_asked, enlarged, one_by_one
from xai_widgets.problem import Problem, Steps
from xai_widgets.registry import MethodInfo

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 32
"""Masks made at once: they are of the picture's size, and a layer may have thousands."""


def scorecam(problem: Problem, *, target_layer: Any = None, n_channels: int | None = None) -> Steps:
    """``ReLU(Σ_k α_k A_k)``, ``α = softmax_k f(X_k) - f(X_b)`` (Wang et al. 2020, algorithm 1).

    ``X_k`` is the picture seen through channel k, enlarged and brought to 0 … 1: 1 shows the picture, 0 the baseline
    ``X_b``. The paper multiplies, which is the same with a baseline of zeros after preprocessing; here the baseline is
    the one chosen for every method. ``f`` is the logit, and the softmax runs over the channels, so that ``f(X_b)``
    cancels and need not be asked for. The numbers are weighted means of activations; they are no shares of a score.

    With `n_channels` only those that vary most are asked about, as in Faster Score-CAM, and only they get weight.

    Proof: equals pytorch-grad-cam and torchcam before their min-max to 1e-5 at a layer as fine as the picture, where
    they enlarge nothing, and the formula by hand at a coarser one (tests/test_cams.py).
    """
    return one_by_one(problem, INFO, target_layer, n_channels, _through, _softmax)


def _through(problem: Problem, reading: Reading, channels: Tensor) -> Iterator[np.ndarray]:
    """Answers to the picture seen through each of `channels`."""
    masks = (_masks(reading.activations[chunk], problem.view.shape) for chunk in channels.split(CHUNK))
    return (answers for _, answers in problem.perturb(masks))


def _masks(channels: Tensor, shape: tuple[int, int]) -> np.ndarray:
    """Each channel enlarged to the picture and brought to 0 … 1; one without relief hides everything."""
    masks = enlarged(channels, shape)
    masks -= masks.amin((1, 2), keepdim=True)
    top = masks.amax((1, 2), keepdim=True)
    return (masks / top.where(top > 0, 1)).cpu().numpy()


def _softmax(scores: np.ndarray, _whole: float) -> np.ndarray:
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


INFO = MethodInfo(
    name="scorecam",
    label="Score-CAM",
    family="cam",
    summary="Shows the picture through each channel of a layer and asks. No gradients; slow, coarse, support only.",
    run=scorecam,
    params=(TARGET_LAYER, N_CHANNELS),
    needs="layer",
    perturbs=True,
    differentiates=False,
    signed=False,
    space="logit",
    cost=channels_asked,
    source="Wang et al., Score-CAM, CVPR workshops 2020",
    quick={"n_channels": 8},
)
