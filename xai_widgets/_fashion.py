"""A small vision transformer for Fashion-MNIST, with its weights and a dozen pictures; imported by ``demo.py`` on use.

The network is torchvision's own `VisionTransformer`, 141,066 parameters, trained by ``scripts/train_fashion_vit.py``;
``_fashion.pt`` holds its weights in half precision and pictures of the held-out split.

The pictures are part of Fashion-MNIST: Copyright (c) 2017 Zalando SE, https://tech.zalando.com, MIT licence (Xiao,
Rasul and Vollgraf, Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms, 2017).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.models import VisionTransformer
from torchvision.transforms import functional as transforms

FILE = Path(__file__).with_name("_fashion.pt")

NAMES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
"""The classes, as the data set calls them."""


class Preprocess:
    """Picture → the tensor the network was trained on: 28 × 28, grey in three equal channels, values from -1 to 1."""

    def __call__(self, image: Image.Image) -> Tensor:
        """PIL image → float32 (3, 28, 28)."""
        image = transforms.resize(image.convert("L"), [28, 28], transforms.InterpolationMode.BICUBIC)
        return ((transforms.to_tensor(image) - 0.5) / 0.5).expand(3, -1, -1).contiguous()

    def __repr__(self) -> str:
        return "Preprocess(grey, resize=(28, 28), mean=0.5, std=0.5, interpolation=bicubic)"


def network() -> VisionTransformer:
    """The untrained network: 7 × 7 patches and a class token, four blocks, four heads."""
    return VisionTransformer(
        image_size=28,
        patch_size=4,
        num_layers=4,
        num_heads=4,
        hidden_dim=64,
        mlp_dim=128,
        num_classes=len(NAMES),
    )


def build() -> VisionTransformer:
    """The trained network, float32, in eval mode."""
    with torch.device("meta"):  # nothing is allocated or drawn
        net = network()
    net.load_state_dict({name: value.float() for name, value in contents()["weights"].items()}, assign=True)
    for parameter in net.parameters():
        parameter.requires_grad_()
    return net.eval()


@cache
def contents() -> dict[str, Any]:
    """``weights``, a state dict of float16; ``pictures``, uint8 (12, 28, 28); ``labels``, their classes."""
    return torch.load(FILE, "cpu", weights_only=True)
