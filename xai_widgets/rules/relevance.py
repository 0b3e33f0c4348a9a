"""The rules of layer-wise relevance propagation.

What is passed back is c, the relevance of a number divided by the number itself: then a linear operation is passed by
its gradient, and every other rule is a factor. The relevance of the picture is the gradient of a gain in front of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from xai_widgets.rules.lanes import Both, Follow, Layer, bind, double, name_of
from xai_widgets.rules.opening import norm_layer, of_module
from xai_widgets.rules.walk import Walk

RULES = {
    "epsilon_plus_flat": (True, 1, 0),
    "epsilon_plus": (False, 1, 0),
    "alpha2_beta1_flat": (True, 2, 1),
    "alpha2_beta1": (False, 2, 1),
    "epsilon": (False, None, None),
}
"""Name → whether the first layer shares out evenly, and α and β of the convolutions where they are not ε's."""

_GATES = (nn.Sigmoid, nn.Hardsigmoid)


class Relevance(Walk):
    """One lane, on whose way back each operation shares its relevance out among what went into it.

    Parameters
    ----------
    module : torch.fx.GraphModule
    rule : str
        A key of `RULES`.
    epsilon : float
        Added to each sum that is divided by, away from zero.
    gain : Tensor, shape of the picture
        Ones, that autograd follows.
    """

    def __init__(self, module: fx.GraphModule, rule: str, epsilon: float, gain: Tensor) -> None:
        super().__init__(module, "LRP")
        self.flat, self.alpha, self.beta = RULES[rule]
        self.evened = False
        """Whether there was a first layer that shared out evenly."""
        self.epsilon, self.gain = epsilon, gain
        self.folded = dict(self._folds())
        """Convolution or dense layer → the norm that follows it, and nothing else does."""
        self._norms = {norm: layer for layer, norm in self.folded.items()}

    # ---- the rules

    def layer(self, layer: Layer, given: Both) -> Both:
        """ε: Bach et al. 2015, equation 58; αβ: equation 60, where biases get nothing; flat: the same share to each."""
        if self.node in self.folded:
            layer = _merged(layer, norm_layer(self._norm(self.folded[self.node])))
        path = layer.call(given.x, layer.weight, layer.bias)
        value, convolves = path.detach(), layer.kind == "convolution"
        even = self._even(self.node.all_input_nodes[0]) if self.flat and convolves else None
        if even is not None and even.shape == given.x.shape:
            self.evened = True
            counts = layer.call(even, torch.ones_like(layer.weight), None)
            return Both(Follow.apply(value, counts * (value / counts.detach())))
        if self.alpha is None or not convolves:
            return Both(Follow.apply(value, path * self._share(value, value)))
        above, below = layer.weight.clamp(min=0), layer.weight.clamp(max=0)
        path = self._half(layer, given.x, value, above, below) * self.alpha
        if self.beta:
            path = path - self._half(layer, given.x, value, below, above) * self.beta
        return Both(Follow.apply(value, path))

    def _half(self, layer: Layer, x: Tensor, value: Tensor, up: Tensor, down: Tensor) -> Tensor:
        """The contributions of one sign; `up` are the weights that give it to what is positive, `down` to the rest."""
        total = layer.call(x.clamp(min=0), up, None) + layer.call(x.clamp(max=0), down, None)
        return total * self._share(value, total)

    def _share(self, value: Tensor, total: Tensor) -> Tensor:
        """``value / (total ± ε)``."""
        total = total.detach()
        return torch.where(total == 0, 0.0, value / (total + self.epsilon * torch.where(total < 0, -1.0, 1.0)))

    def elementwise(self, function: Callable[[Tensor], Tensor], given: Both) -> Both:
        """Relevance passes activations as it is; a gate has none."""
        with torch.no_grad():
            value = function(given.x)
        if self._is_gate(self.node):
            return Both(value)
        x = double(given.x.detach())
        near = x.abs() <= 1e-10
        with torch.enable_grad():
            middle = torch.where(near, x, 0.0).requires_grad_()
            (there,) = torch.autograd.grad(function(middle).sum(), middle)
        with torch.no_grad():
            factor = torch.where(near, there.nan_to_num(0, 0, 0), function(x) / x).to(value.dtype)
        return Both(Follow.apply(value, given.x * factor))

    def product(self, function: Callable[[Tensor, Tensor], Tensor], one: Both, other: Both) -> Both:
        """Half to each factor (Achtibat et al. 2024, equation 14); all to one where the other is a gate."""
        share = 0.5 if one.x.requires_grad and other.x.requires_grad else 1.0
        with torch.no_grad():
            value = function(one.x, other.x)
        path = function(one.x, other.x.detach()) + function(one.x.detach(), other.x)
        return Both(Follow.apply(value, share * path))

    def largest(self, pool: Callable[[Tensor], tuple[Tensor, Tensor]], given: Both, dims: int) -> Both:
        """All to the largest."""
        return Both(pool(given.x)[0])

    def softmax(self, function: Callable[[Tensor], Tensor], given: Both, way: Callable[[Both], Both]) -> Both:
        """``R_i = x_i (R_i' - s_i Σ R_j')``, by its gradient (Achtibat et al. 2024, equation 13); some is lost."""
        return Both(function(given.x))

    def size(self, way: Callable[[Both], Both], given: Both) -> Both:
        """A constant (Ali et al. 2022, §4.2; Achtibat et al. 2024, §3.3.3)."""
        return Both(way(given).x.detach())

    # ---- the graph

    def run_node(self, n: fx.Node) -> Any:
        """A norm that was merged into the layer before it has been run with that."""
        return self.env[self._norms[n]] if n in self._norms else super().run_node(n)

    def _folds(self) -> Iterator[tuple[fx.Node, fx.Node]]:
        for node in self.module.graph.nodes:
            if len(node.users) != 1 or not self._is(node, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d), _PLAIN):
                continue
            (user,) = node.users
            norms = self._is(user, _BatchNorm, {"batch_norm"}) and user.args[:1] == (node,)
            if norms and self._norm(user).get("running_mean") is not None:
                yield node, user

    def _is(self, node: fx.Node, kinds: Any, names: Any) -> bool:
        if node.op == "call_module":
            return isinstance(self.fetch_attr(node.target), kinds)
        return node.op == "call_function" and name_of(node.target) in names

    def _norm(self, node: fx.Node) -> dict[str, Any]:
        """The statistics, weights and settings of a batch norm."""
        if node.op == "call_module":
            return of_module(self.fetch_attr(node.target))
        args, kwargs = fx.node.map_arg((node.args[1:], node.kwargs), lambda n: self.fetch_attr(n.target))
        return bind((None, *args), kwargs, "input running_mean running_var weight bias training momentum eps")

    def _even(self, node: fx.Node) -> Tensor | None:
        """The gain as it comes in at a node, if what is between the picture and that only scales and pads."""
        if node.op == "placeholder":
            return self.gain
        before = [each for each in node.all_input_nodes if each.meta.get("depends")]
        name = name_of(node.target)
        if node.op != "call_function" or len(before) != 1 or name not in (*_SCALES, "pad"):
            return None
        even = self._even(before[0])
        return node.target(even, *node.args[1:], **node.kwargs) if name == "pad" and even is not None else even

    def _is_gate(self, node: fx.Node) -> bool:
        """Whether a sigmoid only scales something else."""
        return self._is(node, _GATES, {"sigmoid", "hardsigmoid"}) and all(self._scales(user) for user in node.users)

    def _scales(self, node: fx.Node) -> bool:
        if self._is(node, (), {"expand", "expand_as", "view", "reshape", "unsqueeze", "to", "clone", "permute"}):
            return all(self._scales(user) for user in node.users)
        return self._is(node, (), {"mul"}) and sum(bool(each.meta.get("depends")) for each in node.all_input_nodes) == 2


_SCALES = ("add", "sub", "mul", "div", "clone", "to", "contiguous")

_PLAIN = {"linear", "conv1d", "conv2d", "conv3d"}


def _merged(layer: Layer, norm: Layer) -> Layer:
    """A layer and the norm behind it as one layer."""
    scale = norm.weight.to(layer.weight.dtype)
    bias = norm.bias.to(scale.dtype) + (0 if layer.bias is None else layer.bias * scale)
    return Layer(layer.call, layer.weight * scale.reshape(-1, *[1] * (layer.weight.ndim - 1)), bias, layer.kind)
