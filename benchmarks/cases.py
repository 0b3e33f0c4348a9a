"""What is explained: a model, a photo and a class, the same for us and for the peers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import xai_widgets as xw
from xai_widgets import demo, registry

HALF = (0.5, 0.5, 0.5)
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
PEERS_BATCH = 10
"""Pictures that lime and shap hand over at once unless told otherwise."""


@dataclass(frozen=True, eq=False)
class Case:
    """A question about one picture, in the forms that we and the peers are given it.

    Attributes
    ----------
    name : str
    model : nn.Module
    photo : PIL.Image
    options : mapping
        How `attribute` is told to prepare the photo.
    mean, std : tuple of float
        What peers, who are handed the picture as the model sees it, have to do with it.
    image, off : ndarray of uint8, shape (h, w, 3)
        What the model sees, and that with every region in its mean colour.
    segments : ndarray of int, shape (h, w)
    target : int
    """

    name: str
    model: nn.Module
    photo: Image.Image
    options: Mapping[str, Any]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    image: np.ndarray
    off: np.ndarray
    segments: np.ndarray
    target: int

    @property
    def n_segments(self) -> int:
        """How many regions there are."""
        return int(self.segments.max()) + 1

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    # ---- as we are asked -------------------------------------------------------------------------------------------

    def attribute(self, method: str, seed: int, n_samples: int | None = None, **options: Any) -> xw.Explanation:
        """Our explanation with just so many samples, for nothing stops early; `options` may say another model."""
        if any(param.name == "confidence" for param in registry.get_method(method).params):
            options.setdefault("confidence", None)
        if n_samples is not None:
            options["n_samples"] = n_samples
        options = {**self.options, "segments": self.segments, "target": self.target, "seed": seed, **options}
        return xw.attribute(options.pop("model", self.model), self.photo, method=method, **options)

    # ---- as peers are asked ----------------------------------------------------------------------------------------

    def tensor(self, images: np.ndarray) -> Tensor:
        """Pictures (n, h, w, 3) of 0 … 255 → model input (n, 3, h, w), plain float32 as torchvision makes it."""
        batch = torch.tensor(images, device=self.device)
        batch = batch.permute(0, 3, 1, 2).float().div_(255).contiguous()
        shape = (3, 1, 1)
        mean, std = (torch.tensor(rows, device=self.device).view(shape) for rows in (self.mean, self.std))
        return batch.sub_(mean).div_(std)

    @cached_property
    def inputs(self) -> Tensor:
        """The whole picture (1, 3, h, w)."""
        return self.tensor(self.image[None])

    @cached_property
    def off_inputs(self) -> Tensor:
        """The picture with every region off (1, 3, h, w)."""
        return self.tensor(self.off[None])

    def probabilities(self, batch: Tensor) -> Tensor:
        """(n, classes), as captum wants to be given a model."""
        return self.model(batch).softmax(1)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Probabilities (n, classes) of pictures, as lime and shap want to be given a model."""
        with torch.no_grad():
            return self.probabilities(self.tensor(images)).cpu().numpy()

    def predict_regions(self, masks: np.ndarray, batch: int = PEERS_BATCH) -> np.ndarray:
        """The target's probability (n,) for regions on or off (n, S), which is how shap's explainers of tables ask."""
        kept = np.asarray(masks, bool)
        return np.concatenate(
            [
                self.predict(np.where(part[:, self.segments, None], self.image, self.off))[:, self.target]
                for part in np.split(kept, range(batch, len(kept), batch))
            ]
        )


def make(
    name: str, model: nn.Module, photo: Image.Image, mean: Any, std: Any, options: Mapping[str, Any], **cut: Any
) -> Case:
    """A case of the top class, with regions and off colours as `attribute` makes them; `cut` says into which."""
    seen = xw.attribute(model, photo, method="center", **options, **cut)
    target = int(seen.probabilities.argmax())
    return Case(name, model, photo, options, mean, std, seen.image, seen.off_image, seen.segments, target)


def lite0(photo: str = "coffee") -> Case:
    """EfficientNet-Lite0 with its ImageNet weights, 224 × 224."""
    model = demo.imagenet_classifier()
    return make(f"lite0, {photo}", model, demo.sample(photo), HALF, HALF, {"preprocess": model.preprocess})


def torchvision_model(name: str, device: str = "cpu") -> Case:
    """A network of torchvision, 224 × 224; its weights are random, so only its price means something."""
    import torchvision

    torch.manual_seed(0)
    model = getattr(torchvision.models, name)(weights=None).eval().to(device)
    options = {**IMAGENET, "size": 224, "activation": "softmax"}
    return make(name, model, demo.sample("coffee"), **IMAGENET, options=options)


def vit() -> Case:
    """The small vision transformer on a Fashion-MNIST picture, 28 × 28 in 16 squares: few enough to ask all."""
    model, photo = demo.fashion_transformer(), demo.fashion_sample(6)
    return make(
        "vit, shirt", model, photo, HALF, HALF, {"preprocess": model.preprocess}, segments="grid", n_segments=16
    )
