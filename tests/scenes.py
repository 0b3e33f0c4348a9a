"""Scenes in which one shape alone decides the class, and two small networks that have learnt to name it.

A scene is 64×64: dark textured ground, bars and blobs of any bright colour, and one shape of any bright colour, a disc,
a triangle or a cross, or none. Which of them is there is the class; everything else is drawn without regard to it.
"Nothing" is a class of its own, so that each shape has to be seen: none is what remains when the others are not there.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import binary_dilation, gaussian_filter
from torch import Tensor, nn

SIDE = 64
NAMES = ("nothing", "disc", "triangle", "cross")
VIT_WEIGHTS = Path(__file__).parent / "data" / "scenes_vit.pt"


class Scene(NamedTuple):
    """A picture, its class, and where the shape is."""

    image: np.ndarray
    """uint8 (64, 64, 3)"""
    label: int
    shape: np.ndarray
    """bool (64, 64): the shape and two pixels around it, for its outline is what tells it from the others."""


def scene(seed: int, label: int | None = None) -> Scene:
    """The scene number `seed`; `label` chooses the shape and leaves everything else as it is."""
    rng = np.random.default_rng(seed)
    ground, textures = rng.uniform(30, 70, 3), _textures()
    shift = rng.integers(0, SIDE, 2)
    image = ground + np.roll(textures[rng.integers(len(textures))], shift, (0, 1))
    y, x = np.mgrid[0:SIDE, 0:SIDE] + 0.5
    for draw in (_bar, _blob, _blob):
        image[draw(rng, y, x)] = _bright(rng)
    radius = rng.uniform(9, 13)
    place = rng.uniform(radius + 1, SIDE - radius - 1, 2)
    colour, turn, drawn = _bright(rng), rng.uniform(-0.3, 0.3), rng.integers(len(NAMES))
    label = int(drawn) if label is None else label
    shape = _shape(NAMES[label], y - place[0], x - place[1], radius, turn)
    image[shape] = colour
    image = np.clip(image + 5 * rng.standard_normal(image.shape), 0, 255).astype(np.uint8)
    return Scene(image, label, binary_dilation(shape, iterations=2))


@cache
def _textures() -> list[np.ndarray]:
    """Coloured noise of several scales that can be tiled, (64, 64, 3), mean 0."""
    made, rng = [], np.random.default_rng(0)
    for _ in range(32):
        noise = rng.standard_normal((3, SIDE, SIDE, 3))
        scales = ((1, 25), (3, 50), (8, 120))
        fields = [k * gaussian_filter(n, (s, s, 0), mode="wrap") for n, (s, k) in zip(noise, scales, strict=True)]
        made.append(sum(fields))
    return made


def _bright(rng: np.random.Generator) -> np.ndarray:
    """A colour that stands out from the ground."""
    colour = rng.uniform(60, 255, 3)
    colour[rng.integers(3)] = rng.uniform(200, 255)
    return colour


def _bar(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    angle, offset, width = rng.uniform(0, np.pi), rng.uniform(-20, 20), rng.uniform(1.5, 3)
    return np.abs((y - SIDE / 2) * np.cos(angle) + (x - SIDE / 2) * np.sin(angle) - offset) < width


def _blob(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A patch with a wavy outline, like none of the shapes."""
    centre, phase, radius = rng.uniform(0, SIDE, 2), rng.uniform(0, 6, 2), rng.uniform(3, 6)
    angle = np.arctan2(y - centre[0], x - centre[1])
    waves = 1 + 0.3 * np.sin(3 * angle + phase[0]) + 0.25 * np.sin(5 * angle + phase[1])
    return np.hypot(y - centre[0], x - centre[1]) < radius * waves


def _shape(name: str, y: np.ndarray, x: np.ndarray, radius: float, turn: float) -> np.ndarray:
    y, x = y * np.cos(turn) - x * np.sin(turn), y * np.sin(turn) + x * np.cos(turn)
    if name == "disc":
        return np.hypot(y, x) < radius
    if name == "triangle":
        return (y < 0.7 * radius) & (np.abs(x) < 0.62 * (y + 1.1 * radius))
    if name == "cross":
        return (np.minimum(np.abs(y), np.abs(x)) < 0.3 * radius) & (np.maximum(np.abs(y), np.abs(x)) < radius)
    return np.zeros(y.shape, bool)


@cache
def scenes(first: int, n: int) -> tuple[Tensor, Tensor]:
    """Scenes `first` … as a network takes them: float32 (n, 3, 64, 64) in 0–1, and their classes."""
    made = [scene(seed) for seed in range(first, first + n)]
    images = torch.from_numpy(np.stack([each.image for each in made])).permute(0, 3, 1, 2).float() / 255
    return images, torch.tensor([each.label for each in made])


def new_cnn() -> nn.Sequential:
    """Convolutions with batch norm and ReLU, max pooling, global average pooling, one linear layer.

    Max pooling matters: without it a deconvolution does not depend on the picture.
    """
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(12, 24, 3, padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(24, 48, 3, padding=1, bias=False), nn.BatchNorm2d(48), nn.ReLU(),
        nn.Conv2d(48, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, len(NAMES)),
    )  # fmt: skip


def new_vit() -> nn.Module:
    """torchvision's vision transformer, small: 64 patches of 8×8."""
    from torchvision.models import VisionTransformer

    return VisionTransformer(
        image_size=SIDE, patch_size=8, num_layers=4, num_heads=4, hidden_dim=64, mlp_dim=128, num_classes=len(NAMES)
    )


def train(make, epochs: int, n: int, rate: float, seed: int = 0) -> nn.Module:
    """Train on `n` scenes with fixed seeds: the same machine gives the same weights."""
    images, labels = scenes(seed * n, n)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            model = make().train().requires_grad_(requires_grad=True)
            steps = epochs * (n // 64)
            optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.05)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
            for _ in range(epochs):
                for batch in torch.randperm(n)[: n // 64 * 64].split(64):
                    loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
                    schedule.step()
    finally:
        torch.set_num_threads(threads)
    return model.eval().requires_grad_(requires_grad=False)


def accuracy(model: nn.Module, first: int = 1_000_000, n: int = 500) -> float:
    """On scenes that no network was trained on."""
    images, labels = scenes(first, n)
    with torch.no_grad():
        return float((model(images).argmax(1) == labels).float().mean())


@cache
def cnn() -> nn.Module:
    """The convolutional network, trained here: a quarter of a minute."""
    return train(new_cnn, epochs=5, n=3000, rate=1e-2)


@cache
def vit() -> nn.Module:
    """The transformer; it takes minutes to train, so its weights are kept. ``python tests/scenes.py`` makes them."""
    model = new_vit()
    model.load_state_dict(torch.load(VIT_WEIGHTS, weights_only=True))
    return model.float().eval().requires_grad_(requires_grad=False)


@cache
def known(n: int, network) -> tuple[Scene, ...]:
    """The first `n` unseen scenes with a shape that a network names with at least 80 %, as many of each shape."""
    found: list[Scene] = []
    for seed in range(2_000_000, 2_000_500):
        one = scene(seed, 1 + len(found) % (len(NAMES) - 1))
        image = torch.from_numpy(one.image).permute(2, 0, 1)[None].float() / 255
        model = network()  # may have to be trained first
        with torch.no_grad():
            if model(image).softmax(1)[0, one.label] >= 0.8:
                found.append(one)
        if len(found) == n:
            break
    return tuple(found)


if __name__ == "__main__":
    once = train(new_vit, epochs=14, n=6000, rate=2e-3)
    twice = train(lambda: once, epochs=12, n=6000, rate=1e-3, seed=1)
    trained = train(lambda: twice, epochs=14, n=6000, rate=1e-3, seed=2)
    VIT_WEIGHTS.parent.mkdir(exist_ok=True)
    torch.save({name: value.half() for name, value in trained.state_dict().items()}, VIT_WEIGHTS)
    print(f"{accuracy(vit()):.1%} of unseen scenes")  # noqa: T201
