"""What counts as an activation: the module that does what a function does, and the ones no module shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode

from xai_widgets.canonical._nested import tensors_in

# ---- functions → modules ---------------------------------------------------------------------------------------------


def _clamp(min: float | None = None, max: float | None = None) -> nn.Module | None:  # noqa: A002 - torch's names
    if min == 0 and max is None:
        return nn.ReLU()
    return nn.Hardtanh(min, max) if isinstance(min, (int, float)) and isinstance(max, (int, float)) else None


def _softmax(kind: type[nn.Module]) -> Callable[..., nn.Module | None]:
    def make(dim: int | None = None, _stacklevel: Any = 3, dtype: Any = None) -> nn.Module | None:
        dtype = _stacklevel if isinstance(_stacklevel, torch.dtype) else dtype
        return kind(dim) if dim is not None and dtype is None else None

    return make


def _max_pool(kind: type[nn.Module]) -> Callable[..., nn.Module]:
    def make(
        kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
    ) -> nn.Module:
        return kind(kernel_size, stride or None, padding, dilation, ceil_mode=ceil_mode)

    return make


MODULES: dict[str, Callable[..., nn.Module | None]] = {
    "relu": lambda inplace=False: nn.ReLU(),
    "relu6": lambda inplace=False: nn.ReLU6(),
    "leaky_relu": lambda negative_slope=0.01, inplace=False: nn.LeakyReLU(negative_slope),
    "elu": lambda alpha=1.0, inplace=False: nn.ELU(alpha),
    "celu": lambda alpha=1.0, inplace=False: nn.CELU(alpha),
    "selu": lambda inplace=False: nn.SELU(),
    "gelu": lambda approximate="none": nn.GELU(approximate),
    "silu": lambda inplace=False: nn.SiLU(),
    "mish": lambda inplace=False: nn.Mish(),
    "hardswish": lambda inplace=False: nn.Hardswish(),
    "hardsigmoid": lambda inplace=False: nn.Hardsigmoid(),
    "hardtanh": lambda min_val=-1.0, max_val=1.0, inplace=False: nn.Hardtanh(min_val, max_val),
    "sigmoid": nn.Sigmoid,
    "logsigmoid": nn.LogSigmoid,
    "tanh": nn.Tanh,
    "softplus": lambda beta=1.0, threshold=20.0: nn.Softplus(beta, threshold),
    "softsign": nn.Softsign,
    "softmax": _softmax(nn.Softmax),
    "log_softmax": _softmax(nn.LogSoftmax),
    "clamp": _clamp,
    "clip": _clamp,
    "clamp_min": _clamp,
    "max_pool1d": _max_pool(nn.MaxPool1d),
    "max_pool2d": _max_pool(nn.MaxPool2d),
    "avg_pool2d": nn.AvgPool2d,
    "adaptive_avg_pool1d": nn.AdaptiveAvgPool1d,
    "adaptive_avg_pool2d": nn.AdaptiveAvgPool2d,
    "adaptive_max_pool2d": nn.AdaptiveMaxPool2d,
}
"""Function → the module that does the same, made from the function's arguments without the tensor. PReLU has weights
and is a module already."""


def as_module(name: str, args: Any, kwargs: Any) -> nn.Module | None:
    """A new module for a call of an activation or pooling, None where there is none that does just this.

    Parameters
    ----------
    name : str
        The function's or method's, with or without the underscore of those that write in place.
    args, kwargs : tuple and dict
        What it was called with, the tensor first.
    """
    make = MODULES.get(name.rstrip("_"))
    if make is None or not args or any(True for _ in tensors_in((args[1:], kwargs))):
        return None
    # What changes nothing, and the module cannot be told.
    idle = {"dtype": args[0].dtype, "return_indices": False}
    kwargs = {key: value for key, value in kwargs.items() if key not in idle or value is not idle[key]}
    try:
        return make(*args[1:], **kwargs)
    except TypeError:  # an argument that the module has no place for
        return None


# ---- what no module shows --------------------------------------------------------------------------------------------

_NONLINEAR = frozenset({
    "relu", "threshold", "gelu", "silu", "elu", "celu", "selu", "leaky_relu", "rrelu_with_noise", "hardtanh", "glu",
    "hardswish", "hardsigmoid", "sigmoid", "tanh", "softplus", "mish", "log_sigmoid_forward", "_softmax",
    "_log_softmax", "_safe_softmax", "max_pool2d_with_indices", "_native_multi_head_attention",
})  # fmt: skip
"""Names under which torch's core runs activations, to find those that stayed hidden in a function."""


def watched(module: fx.GraphModule, one: Tensor) -> tuple[Any, tuple[str, ...]]:
    """Run a copy, to see which activations are not modules of their own.

    Parameters
    ----------
    module : torch.fx.GraphModule
        The copy.
    one : Tensor (1, C, h, w)
        A picture as it takes it.

    Returns
    -------
    answer : object
        The copy's.
    hidden : tuple of str
        What runs them and in which module of the model, such as ``"GRU in rnn"``.
    """
    found: list[str] = []

    class Watch(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            with _Names() as names:
                result = super().run_node(n)
            layer = self.fetch_attr(n.target) if n.op == "call_module" else None
            own = type(layer).__module__ in ("torch.nn.modules.activation", "torch.nn.modules.pooling")
            many = isinstance(layer, (nn.MultiheadAttention, nn.RNNBase))  # seen by no name on some devices
            if many or (names.activates and not own):
                scope, what = n.meta.get("scope", ""), getattr(n.target, "__name__", type(layer).__name__)
                found.append(f"{what} in {scope}" if scope else what)
            return result

    with torch.no_grad():
        return Watch(module).run(one.clone()), tuple(found)


class _Names(TorchDispatchMode):
    """Collects the names of what torch's core runs."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    @property
    def activates(self) -> bool:
        return bool(self.seen & _NONLINEAR) or any("dot_product" in name for name in self.seen)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.add(func.overloadpacket.__name__.rstrip("_"))
        return func(*args, **(kwargs or {}))
