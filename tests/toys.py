"""A model and a picture small enough for tests of everything around them."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

NAMES = ["red", "green", "blue"]


class ColourModel(nn.Module):
    """Three classes: how red, green, blue the picture is on average. A region's effect can be computed by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        with torch.no_grad():
            self.conv.weight.copy_(4 * torch.eye(3)[:, :, None, None])
            self.conv.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).mean((2, 3))


class Fails(ColourModel):
    """Raises for as long as `broken` is set, with a message that must be shown as text."""

    broken = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.broken:
            raise RuntimeError("<b>no such</b> kernel image")
        return super().forward(x)


def quarters() -> np.ndarray:
    """A 32×32 picture, a red, a green, a blue and a grey quarter with some texture, uint8 (32, 32, 3)."""
    rng = np.random.default_rng(0)
    image = np.full((32, 32, 3), 60, np.uint8)
    image[:16, :16] = (230, 20, 20)
    image[:16, 16:] = (20, 200, 20)
    image[16:, :16] = (20, 20, 180)
    return np.clip(image.astype(int) + rng.integers(-12, 12, image.shape), 0, 255).astype(np.uint8)
