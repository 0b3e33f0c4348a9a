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
