"""Small models with known answers, and small pictures, shared by the tests."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xai_widgets.session import Session

NAMES = ("cat", "tiger cat", "dog", "bus")


def photo(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """A smooth colourful picture, uint8 (height, width, 3), with structure at several scales."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    planes = [
        sum(np.sin(x * rng.uniform(0.05, 0.5) + y * rng.uniform(0.05, 0.5) + rng.uniform(0, 6)) for _ in range(4))
        for _ in range(3)
    ]
    values = np.stack(planes, axis=-1)
    values = (values - values.min()) / np.ptp(values) * 235 + 10
    return (values + rng.uniform(-8, 8, values.shape)).astype(np.uint8)


def cnn(n_classes: int = 4, channels: int = 3, seed: int = 0, *, inplace: bool = True) -> nn.Sequential:
    """Two convolutions with batch norm, dropout and in-place activations; any picture size; answers differ clearly."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(channels, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace),
            nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.BatchNorm2d(12), nn.ReLU(inplace),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(12, n_classes),
        )  # fmt: skip
        model[-1].weight.data.mul_(6)
    return model.eval()


class Linear(nn.Module):
    """Logits that are linear in the pixels: ``weight`` (classes, C, h, w)."""

    def __init__(self, n_classes: int, channels: int, height: int, width: int, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(n_classes, channels, height, width, generator=generator) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bchw,kchw->bk", x, self.weight)


class Answer(nn.Module):
    """`inner`, with its answer put into another form by `wrap`."""

    def __init__(self, inner: nn.Module, wrap: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.inner, self.wrap = inner, wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(self.inner(x))


class Tally:
    """``tally[0]``: a number in an object into which the guard does not look, so that it is not put back."""

    def __init__(self) -> None:
        self._numbers = {0: 0}

    def __getitem__(self, index: int) -> Any:
        return self._numbers[index]

    def __setitem__(self, index: int, value: Any) -> None:
        self._numbers[index] = value


class Breaks(nn.Module):
    """`inner`, until call number `at`, which raises."""

    def __init__(self, inner: nn.Module, at: int) -> None:
        super().__init__()
        self.inner, self.at = inner, at
        self.calls = Tally()

    def forward(self, x: Tensor) -> Tensor:
        self.calls[0] += 1
        if self.calls[0] >= self.at:
            raise RuntimeError("the third call is too much")
        return self.inner(x)


@dataclass
class Output:
    """An answer as a dataclass, the way libraries of transformers give it."""

    logits: Tensor
    hidden: Tensor


class Game:
    """A model that only knows which cells of a grid are on, and answers with logits ``(value(z), 0)``.

    The picture is white, "off" is black, and every cell is 2×2 pixels, so any game of `n` players can be played through
    the whole pipeline.
    """

    def __init__(self, value: Callable[[np.ndarray], np.ndarray], rows: int, cols: int) -> None:
        self.value, self.rows, self.cols = value, rows, cols
        self.n = rows * cols
        self.picture = np.full((2 * rows, 2 * cols, 3), 255, np.uint8)
        self.labels = np.kron(np.arange(self.n).reshape(rows, cols), np.ones((2, 2), int))
        self.asked = 0

    def __call__(self, x: Tensor) -> np.ndarray:
        self.asked += len(x)
        on = x[:, 0, ::2, ::2].reshape(len(x), self.n).cpu().numpy().astype(np.float64)
        value = np.asarray(self.value(on), np.float64)
        return np.stack([value, np.zeros_like(value)], axis=1)

    @property
    def options(self) -> dict[str, Any]:
        """Arguments for `attribute` under which the game is played as it is."""
        return {"segments": self.labels, "baseline": "black", "space": "logit", "target": 0, "batch_size": 4096,
                "layout": "HWC"}  # fmt: skip


def problem(model: Any, image: Any, *, target: Any = None, space: str = "probability", **options: Any) -> Any:
    """A `Problem` as a method sees it."""
    session = Session(model, image, space=space, **options)
    return session._problem(session.target(target), space)


def fingerprint(model: nn.Module) -> SimpleNamespace:
    """Everything about a model and the random state that a guest must leave as it was."""
    modules = dict(model.named_modules())
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    parameters = dict(model.named_parameters())
    return SimpleNamespace(
        state={name: value.detach().clone() for name, value in (*parameters.items(), *model.named_buffers())},
        grads={name: None if p.grad is None else p.grad.clone() for name, p in parameters.items()},
        requires={name: p.requires_grad for name, p in parameters.items()},
        training={name: module.training for name, module in modules.items()},
        hooks={name: [len(getattr(module, kind)) for kind in hooks] for name, module in modules.items()},
        attributes={name: {key: id(value) for key, value in vars(module).items()} for name, module in modules.items()},
        torch=torch.get_rng_state(),
        numpy=np.random.get_state(),  # noqa: NPY002
        python=random.getstate(),
    )


def assert_untouched(model: nn.Module, before: SimpleNamespace) -> None:
    """Fail and name what changed since `before`."""
    after = fingerprint(model)
    for name, value in before.state.items():
        assert torch.equal(value, after.state[name]), f"{name} changed"
    assert list(before.state) == list(after.state)
    for name, grad in before.grads.items():
        assert (grad is None) == (after.grads[name] is None), f"{name}.grad appeared or vanished"
        assert grad is None or torch.equal(grad, after.grads[name]), f"{name}.grad changed"
    for what in ("requires", "training", "hooks", "attributes", "python"):
        assert getattr(before, what) == getattr(after, what), f"{what} changed"
    assert torch.equal(before.torch, after.torch), "torch's random state changed"
    assert all(np.array_equal(a, b) for a, b in zip(before.numpy, after.numpy, strict=True)), "numpy's state changed"


def unusual(model: nn.Module) -> nn.Module:
    """A copy in a state as untidy as a user's: mixed modes, some weights frozen, some gradients filled, a hook."""
    model = copy.deepcopy(model)
    model.train()
    for number, module in enumerate(model.modules()):
        module.training = number % 3 != 1
    for number, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(number % 2 == 0)
        if number % 4 == 0:
            parameter.grad = torch.full_like(parameter, 0.25)
    next(model.children()).register_forward_hook(_nothing)
    return model


def _nothing(_module: nn.Module, _args: Any, _output: Any) -> None:
    """A hook of the user's own."""
