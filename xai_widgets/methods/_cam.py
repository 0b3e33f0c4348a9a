"""What the class activation maps share: reading layers, and making one map of what was read there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from xai_widgets.errors import ArgumentError, MethodError
from xai_widgets.problem import Estimate, Pace, Problem, Steps
from xai_widgets.registry import MethodInfo, Param

if TYPE_CHECKING:
    from torch import Tensor

    from xai_widgets.classifiers import Classifier
    from xai_widgets.layers import Layer

TARGET_LAYER = Param(
    "target_layer",
    object,
    None,
    "Layer to read, by dotted name or itself, or a list of layers, whose maps are averaged, each divided by its "
    "largest value. Default: the last one on whose places, at least 4 × 4 of them, the answer depends; in a "
    "transformer that is before its last attention.",
)

N_CHANNELS = Param(
    "n_channels",
    int,
    None,
    "Channels to ask about, those that vary most over the picture first; the rest count for nothing. Default: all, "
    "as in the paper; each costs a forward pass.",
    1,
    100_000,
)


class Reading(NamedTuple):
    """What one layer returned for the picture.

    Attributes
    ----------
    layer : Layer
    activations : Tensor, shape (channels, rows, cols)
        In single precision at least.
    gradients : Tensor, shape (channels, rows, cols), or None
        ``∂ score / ∂ activations`` where it was asked for.
    """

    layer: Layer
    activations: Tensor
    gradients: Any = None


def chosen(classifier: Classifier, target_layer: Any) -> list[Layer]:
    """The layers to read: one, or as many as a list or tuple names."""
    from xai_widgets.layers import find

    if not isinstance(target_layer, (list, tuple)):
        return [find(classifier, target_layer)]
    if not target_layer:
        raise ArgumentError("target_layer=[] names no layer; leave it out to have one chosen.")
    return [find(classifier, each) for each in target_layer]


def read(problem: Problem, target_layer: Any, score: Callable[[Tensor], Tensor] | None = None) -> list[Reading]:
    """Activations and gradients in one forward and one backward pass.

    Parameters
    ----------
    problem : Problem
    target_layer : str, Module, list of them or None
    score : callable, optional
        Answers (1, classes) → the number to differentiate. Default: the problem's target.
    """
    from xai_widgets.guard import captured

    classifier = problem.classifier
    layers = chosen(classifier, target_layer)
    with ExitStack() as stack:
        leaf, forward = stack.enter_context(classifier.differentiable(problem.inputs))
        calls = [stack.enter_context(captured(layer.module)) for layer in layers]
        number = (score or problem.target.of)(forward(leaf[None], problem.space)).sum()
        outputs = [_last(layer, seen) for layer, seen in zip(layers, calls, strict=True)]
        found = classifier.gradients(number, outputs)
        for layer, output, gradient in zip(layers, outputs, found, strict=True):
            if gradient is None:  # let the classifier say why
                classifier.gradient(number.detach(), output, f"the layer {layer.name!r}")
        return [
            Reading(layer, _places(layer, output), _places(layer, gradient))
            for layer, output, gradient in zip(layers, outputs, found, strict=True)
        ]


def look(problem: Problem, target_layer: Any) -> tuple[list[Reading], float]:
    """Activations alone, and the target's number, in one forward pass without gradients."""
    from xai_widgets.guard import LOCK, captured

    layers = chosen(problem.classifier, target_layer)
    with LOCK, ExitStack() as stack:  # the lock: nobody else's question may pass our hooks
        calls = [stack.enter_context(captured(layer.module)) for layer in layers]
        answers = problem.classifier.answers(problem.inputs[None], problem.space)
    outputs = [_last(layer, seen) for layer, seen in zip(layers, calls, strict=True)]
    readings = [Reading(layer, _places(layer, output)) for layer, output in zip(layers, outputs, strict=True)]
    return readings, float(problem.target.of(answers)[0])


def _last(layer: Layer, seen: list[Tensor]) -> Tensor:
    if not seen:
        raise MethodError(f"The layer {layer.name!r} took no part in the answer. Choose another: target_layer=…")
    return seen[-1]


def _places(layer: Layer, values: Tensor) -> Tensor:
    from xai_widgets.gradients import wide

    return wide(layer.places(values.detach())[0])


def one_by_one(
    problem: Problem,
    info: MethodInfo,
    target_layer: Any,
    n_channels: int | None,
    ask: Callable[[Problem, Reading, Tensor], Iterable[np.ndarray]],
    weigh: Callable[[np.ndarray, float], np.ndarray],
) -> Steps:
    """``ReLU(Σ_k w_k A_k)`` over the channels k that vary most, each weighted by the score of a question of its own.

    Parameters
    ----------
    problem : Problem
    info : MethodInfo
    target_layer : str, Module, list of them or None
    n_channels : int or None
    ask : callable
        The problem, a layer's reading and channels (n,) → answers (b, classes), one row a channel, batch by batch.
    weigh : callable
        Scores (m,) of the channels asked about so far, and the picture's own → their weights (m,).
    """
    readings, whole = look(problem, target_layer)
    orders = [_strongest(reading.activations, n_channels) for reading in readings]
    maps = [reading.activations.new_zeros(reading.activations.shape[1:]) for reading in readings]
    done, total, pace, best = 1, 1 + sum(map(len, orders)), Pace(), None
    yield Estimate(done=done, total=total, n_forward=done)
    for place, (reading, order) in enumerate(zip(readings, orders, strict=True)):
        scores = np.zeros(0)
        for answers in ask(problem, reading, order):
            scores = np.append(scores, problem.target.of(answers))
            done += len(answers)
            if pace.due() or len(scores) == len(order):
                channels = reading.activations[order[: len(scores)]]
                weights = channels.new_tensor(weigh(scores, whole))[:, None, None]
                maps[place] = (weights * channels).sum(0).relu()
                best = estimate(problem, info, readings, maps)
            yield replace(best or Estimate(), done=done, total=total, n_forward=done)


def _strongest(activations: Tensor, n_channels: int | None) -> Tensor:
    """The channels (n,) that vary most over the places, in that order, so that a first look shows what matters."""
    import torch

    spread = activations.flatten(1).var(1, correction=0)
    return torch.argsort(spread, descending=True, stable=True)[:n_channels]


def channels_asked(problem: Problem, target_layer: Any = None, n_channels: int | None = None) -> int:
    """Forward passes of a method that asks about one channel at a time, after one that reads the layers."""
    counts = [layer.channels for layer in chosen(problem.classifier, target_layer)]
    return 1 + sum(min(count, n_channels or count) for count in counts)


def estimate(
    problem: Problem,
    info: MethodInfo,
    readings: Sequence[Reading],
    maps: Sequence[Tensor],
    *,
    warnings: tuple[str, ...] = (),
    **progress: int,
) -> Estimate:
    """One map of the layers' maps (rows, cols): enlarged bilinearly, and raw where there is one layer.

    The maps of several layers have no common scale, so each is divided by its largest value before the mean is taken,
    as pytorch-grad-cam does; a warning says so.
    """
    layers = [reading.layer for reading in readings]
    name = ", ".join(layer.name for layer in layers)
    notes = []
    for layer, raw in zip(layers, maps, strict=True):
        if not bool(raw.isfinite().all()):
            raise MethodError(
                f"{info.label} at the layer {layer.name!r} is not finite: its values or gradients overflow "
                f"{problem.classifier.dtype}. Pass the model in full precision: model.float()"
            )
    if not any(bool(raw.any()) for raw in maps):
        what = "Nothing speaks for or against" if info.signed else "There is no positive evidence for"
        notes.append(f"{what} {problem.target.name} at the layer {name}.")
    if len(maps) > 1:
        notes.append(f"The maps of {len(maps)} layers were divided by their largest values and averaged: no raw score.")
        maps = [raw / raw.abs().max().clamp_min(1e-38) for raw in maps]
    notes += [layer.note for layer in layers if layer.note]
    values = sum(enlarged(raw, problem.view.shape) for raw in maps) / len(maps)
    return Estimate(
        values=values.cpu().numpy().astype(np.float32),
        coarse=maps[0].cpu().numpy().astype(np.float32) if len(maps) == 1 else None,
        layer=name,
        warnings=(*notes, *warnings),
        **{"n_forward": 1, **progress},
    )


def enlarged(raw: Tensor, shape: tuple[int, int]) -> Tensor:
    """A map (rows, cols), or several in front of those axes, at the picture's size, bilinearly."""
    from torch.nn import functional

    flat = raw.reshape(1, -1, *raw.shape[-2:])
    return functional.interpolate(flat, shape, mode="bilinear", align_corners=False).reshape(*raw.shape[:-2], *shape)


def principal(values: Tensor) -> Tensor:
    """The places (rows, cols) of values (channels, rows, cols) on their first right singular vector, of either sign.

    In float64 on the CPU, where it repeats itself.
    """
    import torch

    if not bool(values.isfinite().all()):
        return values.sum(0)  # not finite either, which `estimate` reports
    left, sizes, _ = torch.linalg.svd(values.flatten(1).T.cpu().double(), full_matrices=False)
    return (left[:, 0] * sizes[0]).reshape(values.shape[1:]).to(values.device, values.dtype)
