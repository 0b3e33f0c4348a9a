"""What other libraries compute, for tests of agreement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor, nn


def raw_gradcam(
    model: nn.Module, module: nn.Module, batch: Tensor, target: int, to_maps: Callable[[Tensor], Tensor] | None = None
) -> np.ndarray:
    """pytorch-grad-cam's Grad-CAM before its min-max, float (rows, cols)."""
    import pytorch_grad_cam

    with pytorch_grad_cam.GradCAM(model, [module], reshape_transform=to_maps) as cam:
        score = cam.activations_and_grads(batch)[0, target]
        model.zero_grad()
        score.backward()
        held: Any = cam.activations_and_grads
        raw = cam.get_cam_image(batch, module, None, held.activations[0].numpy(), held.gradients[0].numpy())
    return np.maximum(raw[0], 0)


def raw_cam(
    name: str, model: nn.Module, module: nn.Module, batch: Tensor, target: int | Any,
    to_maps: Callable[[Tensor], Tensor] | None = None,
) -> np.ndarray:  # fmt: skip
    """What pytorch-grad-cam's class `name` computes before its ReLU and min-max, float (rows, cols).

    `target` is a class, or a function of one answer.
    """
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    function = target if callable(target) else ClassifierOutputTarget(target)
    with getattr(pytorch_grad_cam, name)(model, [module], reshape_transform=to_maps) as cam:
        score = function(cam.activations_and_grads(batch)[0])
        if cam.uses_gradients:
            model.zero_grad()
            score.backward()
        held: Any = cam.activations_and_grads
        gradients = held.gradients[0].numpy() if cam.uses_gradients else None
        raw = cam.get_cam_image(batch, module, [function], held.activations[0].numpy(), gradients, eigen_smooth=False)
    return np.asarray(raw[0])


def raw_fullgrad(model: nn.Module, batch: Tensor, target: int) -> np.ndarray:
    """pytorch-grad-cam's FullGrad before its last min-max, float (h, w)."""
    import pytorch_grad_cam

    batch = batch.clone().requires_grad_()
    with pytorch_grad_cam.FullGrad(model, []) as cam:
        score = cam.activations_and_grads(batch)[0, target]
        model.zero_grad()
        score.backward()
        terms = cam.compute_cam_per_layer(batch, [target], eigen_smooth=False)
    return np.asarray(terms).sum((0, 1, 2) if np.ndim(terms) == 5 else 1)[0]


def torchcam_map(name: str, model: nn.Module, layer: str, batch: Tensor, target: int, **options: Any) -> np.ndarray:
    """What torchcam's class `name` computes before its min-max, float (rows, cols)."""
    import torchcam.methods

    with getattr(torchcam.methods, name)(model, layer, input_shape=tuple(batch.shape[1:]), **options) as cam:
        scores = model(batch)
        (found,) = cam(target, scores, normalized=False)
    return found[0].detach().numpy()
