"""Activation maximisation: a picture, made from noise, that a class or a channel answers to most."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xai_widgets.errors import MethodError
from xai_widgets.methods._units import read
from xai_widgets.problem import Estimate, Pace, Problem, Steps
from xai_widgets.registry import MethodInfo, Param

if TYPE_CHECKING:
    from torch import Tensor

    from xai_widgets.layers import Layer

COLOURS = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
"""Square root of the covariance of ImageNet's red, green and blue, as Lucid publishes it (Apache-2.0): a step along
one of its columns changes colours as they change together in photos."""

USUAL = 128
"""Shorter side, in pixels, of the pictures that Lucent moves about by 8 and 4 pixels; smaller ones are moved less."""


def activation_maximization(
    problem: Problem,
    *,
    target_layer: Any = None,
    channel: int | None = None,
    n_steps: int = 128,
    n_pictures: int = 1,
    learning_rate: float = 0.05,
) -> Steps:
    """``argmax_x a(x)`` (Erhan et al. 2009), with the Fourier prior of Olah, Mordvintsev and Schubert 2017.

    ``a`` is the target's score, or the mean over places of one channel of a layer. The picture is
    ``sigmoid(M · F⁻¹(z / f))``: z starts as noise of 0.01, f is the frequency, so that no detail is cheaper than a
    shape, and M mixes colours as photos do (three channels; others stay apart). So it never leaves the range between
    black and white, which the preprocessing's scaling then turns into model input; of a preprocessing that cannot be
    undone it is the range of the picture at hand. At each step, Adam's, the model sees the picture moved by up to 6
    pixels, scaled by 0.9 to 1.1 and turned by up to 10°, grey around it, in one resampling at its own size: what only
    one placing of pixels provokes does not last. While no gradient comes back at all, the noise is doubled instead.
    Defaults are Lucent's but for 128 steps instead of 512.

    The numbers in the caption are the scores of the first and the last picture, unmoved and rounded to the 8 bits that
    are shown, so anyone can ask the model again. There is no map.

    Proof: a linear unit in a ball ends at w / ‖w‖ to a cosine of 0.999; the last score exceeds that of 1000 pictures,
    half noise, half smooth; permuted channels permute the result; Adam equals torch's to 1e-6; the picture fed back to
    the model gives the caption's number (tests/test_units.py).
    """
    goal, asked = _goal(problem, target_layer, channel)
    total = asked + n_pictures * (n_steps + 2)
    warnings = []
    if problem.view.stretched:
        warnings.append(
            "The preprocessing cannot be undone, so black and white are not known: the picture keeps to the range of "
            "values that this photo has for the model, channel by channel."
        )
    rng, pace = problem.rng(), Pace(1.0)
    finished: list[tuple[np.ndarray, str]] = []
    for _ in range(n_pictures):
        canvas = _Canvas(problem, rng)
        first = _score(problem, goal, canvas.pixels())
        asked += 1
        for score in maximise(canvas.spectrum, canvas.moved, _listening(problem, goal, canvas), n_steps, learning_rate):
            asked += 1
            growing = ()
            if pace.due():
                growing = ((_shown(problem, canvas.pixels()), goal.caption(first, f"about {score:.2g} so far")),)
            yield Estimate(pictures=(*finished, *growing), done=asked, total=total, n_forward=asked)
        pixels = canvas.pixels()
        last = _score(problem, goal, pixels)
        asked += 1
        finished.append((_shown(problem, pixels), goal.caption(first, f"{last:.3g}")))
        if not last > first and not any("Nothing was found" in words for words in warnings):
            warnings.append(f"Nothing was found that raises {goal.name}: the picture is as good as noise.")
        yield Estimate(
            pictures=tuple(finished),
            done=asked,
            total=total,
            n_forward=asked,
            layer=goal.layer.name if goal.layer else None,
            warnings=tuple(warnings),
        )


def maximise(
    parameters: Tensor,
    render: Callable[[Tensor], Tensor],
    ask: Callable[[Tensor], tuple[float, Tensor]],
    n_steps: int,
    learning_rate: float,
) -> Iterator[float]:
    """Climb with Adam (Kingma and Ba 2015, algorithm 1, their defaults), changing `parameters` in place.

    Parameters
    ----------
    parameters : Tensor
    render : callable
        Parameters → picture, with its graph.
    ask : callable
        Picture → score and ``∂ score / ∂ picture``.

    Yields
    ------
    float
        The score at each step, before it is taken.
    """
    import torch

    with torch.inference_mode(False):  # the caller's, in which nothing made could be changed later
        mean, square = torch.zeros_like(parameters), torch.zeros_like(parameters)
    for step in range(1, n_steps + 1):
        with torch.inference_mode(False), torch.enable_grad():
            leaf = parameters.detach().clone().requires_grad_()
            picture = render(leaf)
            score, slope = ask(picture.detach())
            (gradient,) = torch.autograd.grad(picture, leaf, slope.to(picture.dtype))
        with torch.inference_mode(False), torch.no_grad():
            mean.lerp_(gradient, 0.1)
            square.lerp_(gradient**2, 0.001)
            size = (square / (1 - 0.999**step)).sqrt() + 1e-8
            parameters += learning_rate * mean / (1 - 0.9**step) / size
        yield score


class _Canvas:
    """A picture in the making: its spectrum, and what the model sees of it."""

    def __init__(self, problem: Problem, rng: np.random.Generator) -> None:
        import torch

        classifier, view = problem.classifier, problem.view
        height, width = view.shape
        count = len(view.scale)
        frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
        mix = COLOURS / np.linalg.norm(COLOURS, axis=0).max() if count == 3 else np.eye(count)

        def there(array: Any) -> Tensor:
            return torch.tensor(np.asarray(array, np.float32), device=classifier.device)

        with torch.inference_mode(False):
            self.spectrum = there(rng.normal(0, 0.01, (count, *frequency.shape, 2)))
            self._fall = there(0.25 / np.maximum(frequency, 1 / max(height, width)))
            self._mix = there(mix)
            self._offset, self._scale = there(view.offset)[:, None, None], there(view.scale)[:, None, None]
        self._shape, self._rng = (height, width), rng

    def levels(self, spectrum: Tensor) -> Tensor:
        """The picture (C, h, w), black 0 and white 1."""
        import torch

        waves = torch.fft.irfft2(torch.view_as_complex(spectrum) * self._fall, s=self._shape, norm="ortho")
        return torch.tensordot(self._mix, waves, dims=1).sigmoid()

    def pixels(self) -> np.ndarray:
        """The picture as it is now in 8 bits: uint8 (h, w, C)."""
        levels = self.levels(self.spectrum).detach().cpu().numpy()
        return np.moveaxis(np.rint(levels * 255).astype(np.uint8), 0, -1)

    def louder(self) -> None:
        """Double the noise, up to one in which colours are as good as saturated."""
        import torch

        with torch.inference_mode(False), torch.no_grad():
            if float(self.spectrum.std()) < 2:
                self.spectrum *= 2

    def moved(self, spectrum: Tensor) -> Tensor:
        """The picture moved, scaled and turned by chance, as model input in float32."""
        import torch
        from torch.nn import functional

        sides = np.array(self._shape[::-1])  # x comes first
        reach = min(1.0, sides.min() / USUAL)
        shift = reach * (self._rng.uniform(-4, 4, 2) + self._rng.uniform(-2, 2, 2))
        angle, scale = np.deg2rad(self._rng.uniform(-10, 10)), self._rng.uniform(0.9, 1.1)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
        # Torch counts from -1 to 1 along each side.
        way = np.column_stack([turn * sides[None] / sides[:, None], 2 * shift / sides])
        way = torch.tensor(way[None], dtype=torch.float32, device=spectrum.device)
        grid = functional.affine_grid(way, [1, 1, *self._shape], align_corners=False)
        beyond_grey = self.levels(spectrum)[None] - 0.5
        levels = functional.grid_sample(beyond_grey, grid, align_corners=False)[0] + 0.5
        return self._offset + self._scale * levels


@dataclass(frozen=True)
class _Goal:
    """What is to be raised: the target's score, or a channel's mean activation."""

    name: str
    verb: str
    unit: str
    layer: Layer | None = None
    channel: int = 0

    def caption(self, first: float, last: str) -> str:
        """``"what raises espresso most · logit 3.1 → 48.2"``."""
        return f"what {self.verb} {self.name} most · {self.unit} {first:.3g} → {last}".replace("-", "−")


def _goal(problem: Problem, target_layer: Any, channel: int | None) -> tuple[_Goal, int]:
    """What is to be raised, and how many forward passes it took to find out."""
    if target_layer is None and channel is None:
        plain = problem.target.index is not None and problem.target.rather_than is None
        return _Goal(problem.target.name, "raises", problem.space if plain else "score"), 0
    from xai_widgets.layers import find

    layer, asked = find(problem.classifier, target_layer), 0
    if channel is None:
        totals, asked = read(problem, layer).totals, 1
        if not totals.any():
            raise MethodError(
                f"Nothing that the layer {layer.name!r} returns at its places changes {problem.target.name}, so none "
                "of its channels is the strongest. Name one: channel=0"
            )
        channel = int(np.argmax(totals))
    elif channel >= layer.channels:
        raise MethodError(
            f"The layer {layer.name!r} has no channel {channel}; it has {layer.channels}, 0 to {layer.channels - 1}."
        )
    return _Goal(f"channel {channel} of {layer.name}", "excites", "activity", layer, channel), asked


def _ask(problem: Problem, goal: _Goal, picture: Tensor) -> tuple[float, Tensor]:
    """The goal's score of model input (C, h, w), and its gradient."""
    from contextlib import nullcontext

    import torch

    from xai_widgets.guard import captured

    classifier = problem.classifier
    watched = captured(goal.layer.module) if goal.layer else nullcontext([])
    with classifier.differentiable(picture.to(classifier.dtype)) as (leaf, forward), watched as seen:
        answer = forward(leaf[None], problem.space)
        if goal.layer:
            score = goal.layer.places(seen[-1])[0, goal.channel].float().mean()
        else:
            score = problem.target.of(answer)[0]
        slope = classifier.gradient(score, leaf, "its input").detach()
        value = float(score.detach())
    if not (np.isfinite(value) and bool(torch.isfinite(slope).all())):
        raise MethodError(
            f"What raises {goal.name} cannot be followed: scores or gradients overflow {slope.dtype}. Pass the model "
            "in full precision: model.float()"
        )
    return value, slope


def _listening(problem: Problem, goal: _Goal, canvas: _Canvas) -> Callable[[Tensor], tuple[float, Tensor]]:
    """`_ask`, but while nothing answers, as behind a shut ReLU, the noise is made louder: zero leads nowhere."""

    def ask(picture: Tensor) -> tuple[float, Tensor]:
        score, slope = _ask(problem, goal, picture)
        if not bool(slope.any()):
            canvas.louder()
        return score, slope

    return ask


def _score(problem: Problem, goal: _Goal, pixels: np.ndarray) -> float:
    """The goal's score of a picture as it is shown, uint8 (h, w, C)."""
    return _ask(problem, goal, problem.classifier.tensor(problem.view.encode(pixels)))[0]


def _shown(problem: Problem, pixels: np.ndarray) -> np.ndarray:
    """Pixels (h, w, C) to look at, (h, w, 3)."""
    return problem.view.show(np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels)


INFO = MethodInfo(
    name="activation_maximization",
    label="Activation maximization",
    family="unit",
    summary="A picture made from noise that the class, or one channel, answers to most. "
    "It says nothing about this photo.",
    run=activation_maximization,
    params=(
        Param(
            "target_layer",
            object,
            None,
            "Layer whose channel is raised, by dotted name or itself. Default: none, the class itself is raised; or, "
            "if a channel is given, the layer that Grad-CAM reads.",
        ),
        Param(
            "channel",
            int,
            None,
            "Which channel of the layer. Default: the one that adds most to the class in this photo.",
            0,
            65_535,
        ),
        Param(
            "n_steps", int, 128, "Steps uphill; Lucent takes 512, of which a quarter shows the same shapes.", 1, 4096
        ),
        Param("n_pictures", int, 1, "How many pictures, each from other noise.", 1, 12),
        Param("learning_rate", float, 0.05, "Step size of Adam; Lucent's default.", 0.001, 1.0),
    ),
    needs="gradients",
    differentiates=False,
    signed=False,
    space="logit",
    cost=lambda problem, target_layer=None, channel=None, n_steps=128, n_pictures=1, learning_rate=0.05: (
        (target_layer is not None and channel is None) + n_pictures * (n_steps + 2)
    ),
    source="Olah, Mordvintsev and Schubert, Feature Visualization, Distill 2017",
    quick={"n_steps": 4},
)
