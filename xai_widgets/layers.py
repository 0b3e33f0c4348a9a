"""Find the layer that a class activation map reads, and where in the picture its values are, without being told."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from xai_widgets import known
from xai_widgets.classifiers import Classifier
from xai_widgets.errors import MethodError, ModelError, XaiError, first_line, nearest
from xai_widgets.grids import Grid, Grids

ENOUGH = 16
"""Places below which a map says too little: ResNet at 32 × 32 ends in 1 × 1."""

_MAPS = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.Upsample, nn.PixelShuffle)
"""Modules that return (B, channels, rows, cols), whatever happens around them."""

_PASSES_ON = re.compile(
    "identity|drop|stochasticdepth|flatten|permute|rearrange|reshape|softmax|upsample|pool", re.IGNORECASE
)
"""Names of modules that, if they have no parameters, only pass on what others made."""


@dataclass(frozen=True)
class Layer:
    """A layer that knows where in the picture its values are.

    Attributes
    ----------
    name : str
        Dotted, as in ``model.get_submodule(name)``.
    module : Module
    arrangement : {"NCHW", "NHWC", "tokens", "tokens first"}
        Tokens are (B, tokens, channels), tokens first (tokens, B, channels).
    grid : (int, int)
        Rows and columns of places.
    prefix : int
        Tokens before the patches: class, distillation, registers.
    channels : int
    calls : int
        How often it is called in one answer.
    makes : bool
        Whether it makes features, once an answer: no pool, no dropout, no part of an attention.
    alive : bool
        Whether the answer depends on what it returns at its places. After the last attention of a transformer that
        answers from its class token it does not: the patches' gradients are exactly zero.
    inner : bool
        Whether it is part of a block that knows places itself.
    note : str
        What the reader should know if it is read.
    """

    name: str
    module: nn.Module = field(repr=False)
    arrangement: str
    grid: Grid
    prefix: int
    channels: int
    makes: bool = True
    calls: int = 1
    alive: bool = True
    inner: bool = False
    note: str = ""

    @property
    def n_places(self) -> int:
        """Rows times columns."""
        return self.grid[0] * self.grid[1]

    def places(self, values: Tensor) -> Tensor:
        """What the layer returned, or its gradient, as (B, channels, rows, cols).

        Raises
        ------
        MethodError
            If it is of another shape than the one that was surveyed.
        """
        if self.arrangement == "tokens first" and values.ndim == 3:
            values = values.transpose(0, 1)
        if self.arrangement.startswith("tokens"):
            if values.ndim == 3 and values.shape[1] == self.prefix + self.n_places:
                return values[:, self.prefix :].transpose(1, 2).unflatten(2, self.grid)
        elif values.ndim == 4:
            return values if self.arrangement == "NCHW" else values.permute(0, 3, 1, 2)
        raise MethodError(
            f"The layer {self.name!r} returned shape {tuple(values.shape)}, and {self.grid[0]} × {self.grid[1]} places "
            "when it was looked at: it changes from call to call. Choose another: target_layer=…"
        )


def survey(classifier: Classifier) -> tuple[Layer, ...]:
    """Every layer that knows places, in the order in which they answer; empty where `unfit` has the reason."""
    return tuple(layer for layer in _look(classifier).layers if layer.n_places > 1)


def unfit(classifier: Classifier, *, asking: bool = True) -> str:
    """Why no layer of this model can be read, in one line, or an empty string.

    Unless `asking`, it is told only if it is known already.
    """
    look = _look(classifier, asking=asking)
    return "" if look is None else look.reason


def choose(classifier: Classifier) -> Layer:
    """The layer to read when none is named: the last one on whose places the answer depends.

    If the network has shrunk the picture to fewer than 4 × 4 places there, the last that sees as many is taken, the
    end of a block if possible, and its `note` says so.

    Raises
    ------
    MethodError
        If there is none.
    """
    look = _look(classifier)
    if look.reason:
        raise MethodError(look.reason)
    # A head whose weights are zero leaves none alive. Then the map is empty, and the message about that says more.
    layers = (
        [layer for layer in look.layers if layer.makes and layer.alive]
        or [layer for layer in look.layers if layer.alive]
        or [layer for layer in look.layers if layer.makes]
        or list(look.layers)
    )
    last, layers = layers[-1], [layer for layer in layers if layer.n_places > 1]
    if last.n_places >= ENOUGH:
        return last
    wide = [layer for layer in layers if layer.n_places >= ENOUGH and min(layer.grid) > 1]
    if not wide:
        most = max(layer.n_places for layer in layers)
        chosen = [layer for layer in layers if layer.n_places == most][-1]
        note = f"{chosen.name} sees {_times(chosen.grid)} here, no layer more, so the map is coarse."
        return replace(chosen, note=f"{note} {chosen.note}".strip())
    chosen = ([layer for layer in wide if not layer.inner] or wide)[-1]
    note = f"{last.name} sees only {_times(last.grid)} here, so {chosen.name} is read: {_times(chosen.grid)}."
    return replace(chosen, note=f"{note} {chosen.note}".strip())


def find(classifier: Classifier, wanted: str | nn.Module | None) -> Layer:
    """The layer to read: `wanted`, by its dotted name or itself, or the one to `choose`.

    Raises
    ------
    MethodError
        If it is no part of the model, took no part in the answer, or knows no places.
    """
    if wanted is None:
        return choose(classifier)
    name, _ = get_layer(classifier, wanted)
    look = _look(classifier)
    for layer in look.layers:
        if layer.name == name and layer.n_places > 1:
            return layer
    if look.reason and not look.shapes:
        raise MethodError(look.reason)
    if name not in look.shapes:
        raise MethodError(f"The layer {name!r} took no part in the answer. Choose another: target_layer=…")
    shapes = look.shapes[name]
    raise MethodError(
        f"The layer {name!r} returns {'no tensor' if shapes is None else f'shape {shapes}'}; a map needs places: "
        "(1, channels, height, width), or tokens (1, patches, channels). Choose an earlier layer: target_layer=…"
    )


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


# ---- looking ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one pass through a model has shown.

    Attributes
    ----------
    reason : str
        Why it has shown nothing, in one line, or empty.
    lasting : bool
        False where another look may show more: the model failed, and may answer when it is asked again.
    """

    reason: str = ""
    lasting: bool = True


_AnyLook = TypeVar("_AnyLook", bound=Look)


def once(look: Callable[[Classifier], _AnyLook]) -> Callable[..., Any]:
    """Look once at each classifier and picture: what lasts is the same for every class and method.

    With ``asking=False`` nobody looks who has not looked before: then it is None.
    """
    looks: WeakKeyDictionary[Classifier, tuple[Tensor | None, _AnyLook]] = WeakKeyDictionary()

    @wraps(look)
    def kept(classifier: Classifier, *, asking: bool = True) -> _AnyLook | None:
        example, found = looks.get(classifier, (None, None))
        if found is None or example is not classifier.example:
            # An earlier call may have looked at the same model and size.
            key = (
                None
                if classifier.example is None
                else classifier.key(f"{look.__module__}.{look.__qualname__}", classifier.example)
            )
            found = known.recall(classifier.model, key)
            if found is None and not asking:
                return None
            if found is None:
                found = look(classifier)
                if found.lasting:
                    known.keep(classifier.model, key, found, modules=True)
            if found.lasting:
                looks[classifier] = classifier.example, found
        return found

    return kept


@dataclass(frozen=True)
class _Look(Look):
    layers: tuple[Layer, ...] = ()  # also those that have shrunk the picture to one place
    shapes: dict[str, tuple[int, ...] | None] = field(default_factory=dict)


@once
def _look(classifier: Classifier) -> _Look:
    name = classifier.name
    if classifier.opaque:
        return _Look(reason=f'{name} {classifier.opaque}, so it shows no layers. Use method="occlusion"')
    if classifier.example is None:
        return _Look(reason=f"{name} has not been asked about a picture yet: classifier.probe(inputs)")
    try:
        with classifier.differentiable(classifier.example) as (leaf, forward):
            with _watched(classifier.model) as calls:
                answer = forward(leaf[None], "logit")
            found = _places(calls, tuple(leaf.shape[1:]))
            layers = _alive(found, answer)
        shapes = {call.name: None if call.value is None else tuple(call.value.shape) for call in calls}
    except (ModelError, torch.OutOfMemoryError) as error:
        said = error if isinstance(error, ModelError) else first_line(error)
        return _Look(reason=f'Its layers cannot be looked at. {said} Use method="occlusion"', lasting=False)
    except XaiError as error:
        return _Look(reason=f'Its layers cannot be looked at. {error} Use method="occlusion"')
    except Exception as error:  # noqa: BLE001 - a model may do anything, and every method asks whether this one fits
        return _Look(
            reason=f"Its layers cannot be looked at: torch raised {type(error).__name__}: {first_line(error)} "
            'Use method="occlusion"'
        )
    if all(layer.n_places == 1 for layer, _ in found):
        return _Look(
            shapes=shapes,
            reason=f"No layer of {name} knows places: none returns (1, channels, height, width), nor tokens, with "
            'more than one place. Use method="saliency"',
        )
    if layers is None:
        return _Look(
            shapes=shapes,
            reason=f"No gradient of {name} reaches a layer that knows places: it computes under no_grad, detaches or "
            'is quantised. Use method="occlusion"',
        )
    return _Look(layers, shapes)


@dataclass
class _Call:
    """One module's part in the answer."""

    name: str
    module: nn.Module
    value: Tensor | None
    took: tuple[int, ...] = ()
    times: int = 1


@contextmanager
def _watched(model: nn.Module) -> Iterator[list[_Call]]:
    """Collect what every module returns: of a tuple the first part, of several calls the last."""
    calls: dict[str, _Call] = {}

    def watch(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            took = tuple(args[0].shape) if args and isinstance(args[0], Tensor) else ()
            first = output[0] if type(output) is tuple and output else output
            before = calls.pop(name, None)  # put at the end: it answers now
            value = first if isinstance(first, Tensor) else None
            calls[name] = _Call(name, module, value, took, 1 if before is None else before.times + 1)

        return hook

    found: list[_Call] = []
    handles = []
    try:
        for name, module in model.named_modules():
            if name and not isinstance(module, torch.jit.ScriptModule):
                handles.append(module.register_forward_hook(watch(name)))
        yield found
    finally:
        for handle in handles:
            handle.remove()
        found.extend(calls.values())


def _places(calls: list[_Call], picture: Grid) -> list[tuple[Layer, Tensor]]:
    """The calls that know places, as layers, with what they returned."""
    grids = Grids(picture)
    found: dict[str, tuple[Layer, Tensor]] = {}
    once = {call.name: call.value for call in calls if call.times == 1}
    for call in calls:
        if call.value is None or isinstance(call.module, nn.RNNBase):
            continue
        whole = next(call.module.children(), None) is not None
        lies = grids.read(call.value.shape, certain=isinstance(call.module, _MAPS), whole=whole)
        if lies is None or (lies.grid == (1, 1) and not _shrinks(call)):
            continue
        makes = call.times == 1 and _makes_features(call, lies.axes, whole)
        if type(call.module) is nn.Sequential and makes:
            # What its last part returns is that one's: ``layer4.1`` says more than ``layer4``.
            inside = (once.get(f"{call.name}.{part}") for part, _ in call.module.named_children())
            makes = not any(part is call.value for part in inside)
        note = f"{call.name} is called {call.times} times in one answer; the last call is read." * (call.times > 1)
        found[call.name] = Layer(call.name, call.module, *lies, makes, call.times, note=note), call.value
    blocks = {name for name, (layer, _) in found.items() if layer.makes and not _is_sequence(layer.module)}
    return [(replace(layer, inner=any(name in blocks for name in _around(layer.name))), value)
            for layer, value in found.values()]  # fmt: skip


def _shrinks(call: _Call) -> bool:
    """Whether the network shrinks the picture to one place here, and does not mean to: no pool, no head."""
    if len(call.took) != 4 or call.took[2] * call.took[3] == 1:
        return False
    if isinstance(call.module, nn.Conv2d):
        return any(kernel < side for kernel, side in zip(call.module.kernel_size, call.took[2:], strict=True))
    parts = [part for part in call.module.modules() if not isinstance(part, (nn.MaxPool2d, nn.AvgPool2d))]
    pools = any("pool" in type(part).__name__.lower() for part in parts)
    return not pools and any(isinstance(part, nn.Conv2d) for part in parts)


def _makes_features(call: _Call, axes: str, whole: bool) -> bool:
    kind = type(call.module).__name__
    if _PASSES_ON.search(kind) and next(call.module.parameters(), None) is None:
        return False
    if axes == "NCHW":
        return True
    # In a transformer what a block makes, or a norm, is a state; a projection is on its way to one, and so is one with
    # an adapter around it, or a norm of queries and keys.
    part = call.name.rpartition(".")[2]
    return "linear" not in kind.lower() and part not in ("q_norm", "k_norm") and (whole or "norm" in kind.lower())


def _times(grid: Grid) -> str:
    return "one place" if grid == (1, 1) else f"{grid[0]} × {grid[1]} places"


def _is_sequence(module: nn.Module) -> bool:
    """Whether it only runs its parts one after the other, so that each of them is a block of its own."""
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _around(name: str) -> Iterator[str]:
    """``a.b.c`` → ``a.b``, ``a``."""
    while name := name.rpartition(".")[0]:
        yield name


def _alive(found: list[tuple[Layer, Tensor]], answer: Tensor) -> tuple[Layer, ...] | None:
    """The layers, each with whether the answer depends on its places; None if no gradient reaches any.

    Every class is asked about at once, with unequal weights: all logits together may be constant.
    """
    able = [number for number, (_, value) in enumerate(found) if value.requires_grad]
    if not able or not answer.requires_grad:
        return None
    score = (answer * torch.linspace(1, 2, answer.shape[1], device=answer.device, dtype=answer.dtype)).sum()
    gradients = torch.autograd.grad(score, [found[number][1] for number in able], allow_unused=True)
    if all(gradient is None for gradient in gradients):
        return None
    by_number = dict(zip(able, gradients, strict=True))

    def depends(number: int, layer: Layer) -> bool:
        gradient = by_number.get(number)
        return gradient is not None and bool(layer.places(gradient).any())

    return tuple(replace(layer, alive=depends(number, layer)) for number, (layer, _) in enumerate(found))
