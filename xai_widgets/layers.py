"""Find the layer that a class activation map reads, without being told."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from xai_widgets.classifiers import Classifier
from xai_widgets.errors import MethodError, nearest

_POOLS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Dropout, nn.Dropout2d, nn.Flatten, nn.Identity)
"""Modules behind the features: they average places away or change nothing."""


def has_spatial_layers(model: nn.Module) -> bool:
    """Whether the model has a convolution at all."""
    return any(isinstance(module, nn.Conv2d) for module in model.modules())


def last_spatial_layer(classifier: Classifier, inputs: Tensor) -> str:
    """Name of the last layer that still knows where things are.

    One forward pass watches every module. Taken is the last one that returns (1, channels, h, w) with more than one
    place, is called once, and is no pooling; plain ``nn.Sequential`` containers are descended into, so that the name
    says ``layer4.1`` rather than ``layer4``.

    Raises
    ------
    MethodError
        If no module qualifies.
    """
    calls: dict[str, list[tuple[int, tuple[int, ...], int]]] = {}
    order = 0

    def watch(name: str) -> Any:
        def hook(module: nn.Module, _args: Any, output: Any) -> None:
            nonlocal order
            order += 1
            shape = tuple(output.shape) if isinstance(output, Tensor) else ()
            calls.setdefault(name, []).append((order, shape, id(output)))

        return hook

    modules = {name: module for name, module in classifier.model.named_modules() if name}
    handles = []
    try:
        for name, module in modules.items():
            handles.append(module.register_forward_hook(watch(name)))
        classifier.answers(inputs[None], "logit")
    finally:
        for handle in handles:
            handle.remove()

    fit = {
        name: seen[0]
        for name, seen in calls.items()
        if len(seen) == 1 and len(seen[0][1]) == 4 and min(seen[0][1][2:]) > 1 and not isinstance(modules[name], _POOLS)
    }
    if not fit:
        raise MethodError(
            f"No layer of {classifier.name} returns (1, channels, height, width) with more than one place, so there "
            'is nothing to read a map from. Use method="saliency" or method="occlusion"'
        )
    chosen = max(fit, key=lambda name: fit[name][0])
    while type(modules[chosen]) is nn.Sequential:
        inner = [
            name
            for name, call in fit.items()
            if name.startswith(chosen + ".") and name.count(".") == chosen.count(".") + 1 and call[2] == fit[chosen][2]
        ]
        if not inner:
            break
        chosen = inner[-1]
    return chosen


def get_layer(classifier: Classifier, layer: str | nn.Module) -> tuple[str, nn.Module]:
    """A layer by its dotted name or itself, as (name, module)."""
    modules = dict(classifier.model.named_modules())
    if isinstance(layer, nn.Module):
        for name, module in modules.items():
            if module is layer:
                return name, module
        raise MethodError(f"The {type(layer).__name__} given as target_layer is no part of this {classifier.name}.")
    if not isinstance(layer, str):
        raise MethodError(f"target_layer={layer!r} must be one layer: its dotted name, or the module itself.")
    if layer not in modules or not layer:
        raise MethodError(f"{classifier.name} has no layer {layer!r}.{nearest(layer, modules)}")
    return layer, modules[layer]
