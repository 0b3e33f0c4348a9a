"""Answers to pictures that differ in one box, from the activations of the whole picture: only what the box reaches is
computed anew.

A convolution sees a few pixels, so behind a window of 32 pixels only a small box of each early map changes; it grows by
what each layer sees until it fills most of the map, and from there on everything is computed as usual. An operation
that is not known to keep places ends it, too, so the answers are the model's whatever it is built of.

Source: Nakandala, Kumar and Papakonstantinou, Incremental and Approximate Inference for Faster Occlusion-based Deep CNN
Explanations, SIGMOD 2019, §3; without its approximations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from xai_widgets.answers import Answers
from xai_widgets.errors import MethodError, ModelError
from xai_widgets.guard import LOCK
from xai_widgets.outputs import finish, rows
from xai_widgets.perturb import compose

if TYPE_CHECKING:
    from xai_widgets.problem import Problem

TOLERANCE = 1e-5
"""How far an answer may be from the model's own, as a part of the largest in it."""

FULL = 0.6
"""Part of a map from which on all of it is computed: to cut and to paste costs time, too."""

WORTH = 0.65
"""Part of the model's multiplications from which on it is not used. Counted, not timed: a clock would choose now this
way and now the other, and the last bits of a map would change with it."""

LARGE = 50e6
"""Multiplications of a picture below which a model is so quick that what is cut and pasted costs more."""

COPY = 50
"""Forward passes that must be saved: the canonical copy costs about 20, and knowing the whole picture a few."""

_POINTWISE = (
    nn.Identity, nn.Dropout, nn.Dropout2d, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU,
    nn.SiLU, nn.Mish, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Sigmoid, nn.LogSigmoid, nn.Tanh, nn.Softplus,
    nn.Softsign, nn.BatchNorm2d,
)  # fmt: skip
"""Modules that look at one place at a time, in evaluation mode."""

_JOINS = frozenset({"add", "sub", "mul", "iadd", "isub", "imul", "radd", "rmul", "cat", "concat", "concatenate"})
"""Functions of several maps that look at one place at a time."""


@dataclass(frozen=True)
class _Boxes:
    """What has changed of a map: `values` (n, C, h, w), each at its own place `at` (n, 2); elsewhere it is `whole`."""

    values: Tensor
    at: np.ndarray
    whole: Tensor

    @property
    def size(self) -> tuple[int, int]:
        return self.values.shape[2], self.values.shape[3]

    def all(self) -> Tensor:
        """The maps, (n, C, H, W)."""
        n, (h, w) = len(self.values), self.size
        full = self.whole.expand(n, -1, -1, -1).clone(memory_format=torch.channels_last)
        for one, (y, x), box in zip(full, self.at.tolist(), self.values, strict=True):
            one[:, y : y + h, x : x + w] = box
        return full

    def cut(self, at: np.ndarray, size: tuple[int, int], whole: Tensor, shift: Any = (0, 0)) -> Tensor:
        """Patches (n, C, *size) at `at` of a map that is `whole` elsewhere; this map lies in it at `shift`."""
        if size == self.size and np.array_equal(at, self.at + shift):
            return self.values
        down, across = (torch.from_numpy(at[:, [i]] + np.arange(size[i])) for i in (0, 1))
        plane = whole[0].permute(1, 2, 0)
        patch = plane[down[:, :, None], across[:, None, :]].permute(0, 3, 1, 2)  # channels last
        start = self.at + shift - at
        low = np.maximum(start, 0)
        high = np.minimum(start + self.size, size)
        if (start == start[0]).all():  # as a rule: away from the border all lie alike
            (a, b), (c, d), (y, x) = low[0].tolist(), high[0].tolist(), (low[0] - start[0]).tolist()
            if c > a and d > b:
                patch[:, :, a:c, b:d] = self.values[:, :, y : y + c - a, x : x + d - b]
            return patch
        for one, box, (a, b), (c, d), (y, x) in zip(
            patch, self.values, low.tolist(), high.tolist(), (low - start).tolist(), strict=True
        ):
            if c > a and d > b:
                one[:, a:c, b:d] = box[:, y : y + c - a, x : x + d - b]
        return patch


class _Window:
    """A convolution or pooling: how far it sees, and how it is done on a patch that has its padding already."""

    def __init__(
        self, kernel: Any, stride: Any, padding: Any, dilation: Any, fill: float, run: Callable[[Tensor], Tensor]
    ) -> None:
        kernel, self.stride, self.padding, dilation = (np.array(_two(v)) for v in (kernel, stride, padding, dilation))
        self.reach = dilation * (kernel - 1) + 1
        self.fill, self.run = fill, run

    def padded(self, whole: Tensor, made: tuple[int, ...]) -> Tensor:
        """A map with as much around it as outputs of the shape `made` see."""
        inner, outer = np.array(whole.shape[2:]), np.array(made[2:])
        after = np.maximum((outer - 1) * self.stride + self.reach - inner - self.padding, 0)
        (top, left), (bottom, right) = self.padding.tolist(), after.tolist()
        padded = functional.pad(whole, (left, right, top, bottom), value=self.fill)
        return padded.contiguous(memory_format=torch.channels_last)

    def reached(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The first output that sees something of boxes from `low` to `high`, and one behind the last; (n, 2) each."""
        first = -((self.reach - 1 - self.padding - low) // self.stride)
        return first, (high - 1 + self.padding) // self.stride + 1


def _two(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value) * (2 // len(value))


def _placed(first: np.ndarray, end: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, tuple[int, int]]:
    """Boxes of one size in a map that hold those from `first` to `end`."""
    limit = np.array(shape[2:])
    first, end = np.clip(first, 0, limit), np.clip(end, 0, limit)
    size = np.maximum((end - first).max(0), 1)
    return np.minimum(first, limit - size), (int(size[0]), int(size[1]))


class Incremental:
    """A model, one picture, and what each layer makes of it.

    Runs the canonical copy, whose weights are the model's own, and leaves the model alone.

    Attributes
    ----------
    multiplications : float
        Of one ordinary forward pass.
    """

    BATCH = 16
    """Pictures at once."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._graph = problem.classifier.canonical().module
        self._modules = dict(self._graph.named_modules())
        self._kinds: dict[fx.Node, Any] = {}
        """How a node is computed in a box: a `_Window`, "point", "join", the shift (down, right) of a padding."""
        self._shapes: dict[fx.Node, tuple[int, ...]] = {}
        self._whole: dict[fx.Node, Any] = {}
        """What a node gives for the whole picture, where something around a box is needed of it."""
        self._padded: dict[fx.Node, Tensor] = {}
        self._done_with: dict[fx.Node, list[fx.Node]] = {}
        with torch.no_grad():
            self._look()
        self.multiplications = sum(self._cost(node) for node in self._shapes)

    @classmethod
    def of(
        cls, problem: Problem, n_masks: int, window: tuple[int, int], sample: tuple[np.ndarray, np.ndarray]
    ) -> Incremental | None:
        """For so many masks with a box (h, w) switched off in each, or None where that cannot be, or does not pay.

        `sample` are some of the masks with the model's answers to them; None, too, where those found here are others.
        """
        classifier = problem.classifier
        if classifier.device.type != "cpu" or classifier.batch is not None or classifier.dtype != torch.float32:
            return None  # measured on CPUs only; a GPU waits for its orders, not for multiplications
        if classifier.opaque or n_masks < COPY or problem.plan.runtime != "torch":
            return None  # a translation is as fast, and asks about whole pictures
        try:
            made = cls(problem)
        except (MethodError, ModelError):  # no canonical copy
            return None
        share = made.share(window)
        if share > WORTH or n_masks * (1 - share) < COPY or made.multiplications < LARGE:
            return None
        masks, answers = sample
        gap = np.abs(made.answers(masks) - answers).max()
        return made if gap <= TOLERANCE * max(1.0, float(np.abs(answers).max())) else None

    def perturb(self, masks: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """As `perturb.perturb`: chunks of masks in, masks and answers out, which are kept for later questions."""
        classifier, tally, plan = self._problem.classifier, self._problem.tally, self._problem.plan
        kept = self._problem.answers.of(classifier.stamp())
        tally.incremental = True
        for chunk in masks:
            for start in range(0, len(chunk), self.BATCH):
                batch = chunk[start : start + self.BATCH]
                keys = Answers.keys(batch, self._problem.space, plan.runtime, plan.precision)
                found = [kept.get(key) for key in keys]
                if any(row is None for row in found):
                    found = list(self.answers(batch))
                    for key, row in zip(keys, found, strict=True):
                        kept.put(key, row, pixels=True)
                    tally.asked += len(batch)
                else:
                    tally.reused += len(batch)
                yield batch, np.stack(found)

    def answers(self, masks: np.ndarray) -> np.ndarray:
        """The model's answers, float64 (n, classes), in the problem's space, to masks bool (n, h, w).

        What is off need not be a box; the smallest that holds it counts, of a region that is switched off for one.
        """
        classifier = self._problem.classifier
        first, end = (np.stack(pair, 1) for pair in zip(*(_extent(~masks, axis) for axis in (2, 1)), strict=True))
        at, (h, w) = _placed(first, end, (1, 1, *masks.shape[1:]))
        pictures = compose(self._problem, masks)
        boxes = [one[:, y : y + h, x : x + w] for one, (y, x) in zip(pictures, at.tolist(), strict=True)]
        with LOCK, torch.no_grad():
            answer = self._run(torch.stack(boxes).contiguous(memory_format=torch.channels_last), at)
            scores = rows(answer, len(masks), classifier.output, classifier.name)
            return finish(scores, classifier.kind, self._problem.space).double().numpy()

    # ---- the whole picture -----------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Run the whole picture, and find out which nodes know places."""
        values: dict[fx.Node, Any] = {}
        seen: set[fx.Node] = set()
        nodes = self._graph.graph.nodes
        for node in reversed(nodes):
            self._done_with[node] = [each for each in _sources(node) if each not in seen]
            seen.update(node.all_input_nodes)
        for node in nodes:
            if node.op == "placeholder":
                values[node] = self._problem.inputs[None].contiguous(memory_format=torch.channels_last)
                self._kinds[node] = "picture"
            else:
                # What is written in place is a clone, which is to stay as it was.
                again = {each: values[each].clone() for each in _sources(node) if _name(each) == "clone"}
                values[node] = self._do(node, {**values, **again})
            if isinstance(values[node], Tensor):
                self._shapes[node] = tuple(values[node].shape)
            kind = self._kind(node, values)
            if kind is not None:
                self._kinds[node] = kind
        for node, value in values.items():
            local = node in self._kinds and not all(self._kinds.get(user) == "point" for user in node.users)
            if local or node.op == "get_attr":
                self._whole[node] = value

    def _do(self, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
        """What a node gives, as torch computes it."""
        if node.op == "get_attr":
            found = self._graph
            for name in node.target.split("."):
                found = getattr(found, name)
            return found
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
        if node.op == "output":
            return args[0]
        return (self._modules[node.target] if node.op == "call_module" else node.target)(*args, **kwargs)

    def _kind(self, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
        """How it is computed in a box, None where it cannot be."""
        sources, made = _sources(node), values[node]
        if not sources or not isinstance(made, Tensor) or made.ndim != 4 or node.op == "output":
            return None
        if any(each not in self._kinds for each in sources):
            return None
        if node.op == "call_module":
            alone = len(node.args) == 1 and not node.kwargs
            return _module_kind(self._modules[node.target]) if alone else None
        name = _name(node)
        if name == "conv2d" and sources == [node.args[0]]:
            args, kwargs = fx.node.map_arg((node.args[1:], node.kwargs), values.__getitem__)
            return _convolution(*args, **kwargs)
        if name == "pad" and len(node.args) > 1:
            amounts, *how = (*node.args[1:], *node.kwargs.values())
            plain = how in ([], ["constant"], ["constant", None], ["constant", 0])
            return (amounts[2], amounts[0]) if plain and len(amounts) == 4 and min(amounts) >= 0 else None
        if name in ("clone", "contiguous") and len(node.args) == 1:
            return "point"
        if name in _JOINS and len(sources) == len(node.all_input_nodes):
            channels = name.startswith("conc") or name == "cat"
            if channels and node.args[1:] != (1,) and node.kwargs != {"dim": 1}:
                return None
            drop = 2 if channels else 0
            same = all(self._shapes[each][drop:] == self._shapes[node][drop:] for each in sources)
            return "join" if same else None
        return None

    # ---- what it saves ---------------------------------------------------------------------------------------------

    def share(self, window: tuple[int, int]) -> float:
        """Part of the model's multiplications that windows of this size need, on average over the picture."""
        height, width = self._problem.view.shape
        steps = (np.linspace(0, side - part, 9).astype(int) for side, part in ((height, window[0]), (width, window[1])))
        first = np.stack(np.meshgrid(*steps, indexing="ij"), -1).reshape(-1, 2)
        boxes: dict[fx.Node, tuple[np.ndarray, np.ndarray]] = {}
        needed = 0.0
        for node in self._shapes:
            sources, kind, part = _sources(node), self._kinds.get(node), 1.0
            if kind == "picture":
                boxes[node] = first, first + window
            elif kind is not None and all(each in boxes for each in sources):
                low = np.min([boxes[each][0] for each in sources], 0)
                high = np.max([boxes[each][1] for each in sources], 0)
                if isinstance(kind, _Window):
                    low, high = kind.reached(low, high)
                elif isinstance(kind, tuple):
                    low, high = low + kind, high + kind
                limit = np.array(self._shapes[node][2:])
                low, high = np.clip(low, 0, limit), np.clip(high, 0, limit)
                part = float(np.mean(np.prod((high - low) / limit, 1)))
                if part < FULL or node not in self._whole:
                    boxes[node] = low, high
            needed += self._cost(node) * part
        return needed / max(self.multiplications, 1.0)

    def _cost(self, node: fx.Node) -> float:
        """Multiplications of a convolution or a linear layer."""
        layer = self._modules.get(node.target) if node.op == "call_module" else None
        weight = getattr(layer, "weight", None) if isinstance(layer, (nn.Conv2d, nn.Linear)) else None
        if _name(node) in ("conv2d", "linear") and node.args[1].op == "get_attr":
            weight = self._whole[node.args[1]]
        return float(np.prod(self._shapes[node]) * weight[0].numel()) if weight is not None else 0.0

    # ---- a batch ---------------------------------------------------------------------------------------------------

    def _run(self, boxes: Tensor, at: np.ndarray) -> Any:
        """The model's answer to the picture with `boxes` (n, C, h, w) pasted at `at` (n, 2)."""
        values: dict[fx.Node, Any] = {}
        node = None
        for node in self._graph.graph.nodes:
            sources, kind = _sources(node), self._kinds.get(node)
            if kind == "picture":
                values[node] = _Boxes(boxes, at, self._whole[node])
            elif node.op == "get_attr":
                values[node] = self._whole[node]
            elif kind is not None and all(isinstance(values[each], _Boxes) for each in sources):
                values[node] = self._in_boxes(node, kind, values)
            else:
                values.update({each: values[each].all() for each in sources if isinstance(values[each], _Boxes)})
                values[node] = self._do(node, values)
            for each in self._done_with[node]:
                del values[each]
        return values[node]

    def _in_boxes(self, node: fx.Node, kind: Any, values: dict[fx.Node, Any]) -> _Boxes | Tensor:
        sources, whole, shape = _sources(node), self._whole.get(node), self._shapes[node]
        given = values[sources[0]]
        if isinstance(kind, _Window):
            at, size = _placed(*kind.reached(given.at, given.at + given.size), shape)
            if node not in self._padded:
                self._padded[node] = kind.padded(given.whole, shape)
            seen = (np.array(size) - 1) * kind.stride + kind.reach
            patch = given.cut(at * kind.stride, tuple(seen.tolist()), self._padded[node], kind.padding)
            found = _Boxes(kind.run(patch), at, whole)
        elif isinstance(kind, tuple):
            found = _Boxes(given.values, given.at + kind, whole)
        elif kind == "point":
            found = _Boxes(self._do(node, {**values, sources[0]: given.values}), given.at, whole)
        else:
            low = np.min([values[each].at for each in sources], 0)
            high = np.max([values[each].at + values[each].size for each in sources], 0)
            at, size = _placed(low, high, shape)
            cut = {each: values[each].cut(at, size, values[each].whole) for each in sources}
            found = _Boxes(self._do(node, {**values, **cut}), at, whole)
        enough = whole is not None and np.prod(found.size) >= FULL * np.prod(shape[2:])
        return found.all() if enough else found


def _sources(node: fx.Node) -> list[fx.Node]:
    """The nodes that a node reads, without the model's weights."""
    return [each for each in node.all_input_nodes if each.op != "get_attr"]


def _name(node: fx.Node) -> str:
    """The name of the function that a node calls."""
    return getattr(node.target, "__name__", "").strip("_")


def _extent(off: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """First and one behind the last along an axis, (n,) each, of what is on in `off` (n, h, w) seen along the other."""
    seen = off.any(axis)
    return seen.argmax(1), np.where(seen.any(1), seen.shape[1] - seen[:, ::-1].argmax(1), 0)


def _module_kind(layer: nn.Module) -> Any:
    """How a module is computed in a box."""
    if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is None:
        return None  # the numbers of the whole map
    if isinstance(layer, _POINTWISE):
        return "point"
    if type(layer) is nn.Conv2d and layer.padding_mode == "zeros":
        return _convolution(layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)
    if type(layer) is nn.MaxPool2d and not layer.return_indices:
        run = partial(
            functional.max_pool2d, kernel_size=layer.kernel_size, stride=layer.stride, dilation=layer.dilation
        )
        return _Window(layer.kernel_size, layer.stride, layer.padding, layer.dilation, -torch.inf, run)
    if type(layer) is nn.AvgPool2d and layer.count_include_pad and not layer.ceil_mode:
        run = partial(
            functional.avg_pool2d,
            kernel_size=layer.kernel_size,
            stride=layer.stride,
            divisor_override=layer.divisor_override,
        )
        return _Window(layer.kernel_size, layer.stride, layer.padding, 1, 0.0, run)
    return None


def _convolution(
    weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> _Window | None:
    if isinstance(padding, str):  # "same" may pad one side more than the other
        return None
    run = partial(functional.conv2d, weight=weight, bias=bias, stride=stride, dilation=dilation, groups=groups)
    return _Window(tuple(weight.shape[2:]), stride, padding, dilation, 0.0, run)
