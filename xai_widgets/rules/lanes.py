"""What is on its way through a network that is run on a picture and, for some methods, on a baseline beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from xai_widgets.canonical._nested import mapped, parts_of


@dataclass(frozen=True, eq=False)
class Both:
    """What an operation gives: `x` for the picture, followed by autograd, and `off` for the baseline, or None."""

    x: Any
    off: Any = None


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer with weights, as ``call(x, weight, bias)``.

    Attributes
    ----------
    call : callable
    weight : Tensor
    bias : Tensor or None
    kind : {"convolution", "dense", "norm"}
    """

    call: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    weight: Tensor
    bias: Tensor | None
    kind: str


class Follow(torch.autograd.Function):
    """``Follow.apply(value, path)`` is `value`, and its gradient goes to `path`: this is how a rule is laid down."""

    @staticmethod
    def forward(_ctx: Any, value: Tensor, _path: Tensor) -> Tensor:
        return value

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        return None, gradient


def lane(value: Any, which: str) -> Any:
    """Nested arguments as one lane sees them, ``"x"`` or ``"off"``."""
    return mapped(value, lambda each: getattr(each, which) if isinstance(each, Both) else each)


def lanes(given: Both) -> tuple[Tensor, ...]:
    """One tensor or two."""
    return (given.x,) if given.off is None else (given.x, given.off)


def boths(value: Any) -> Iterator[Both]:
    """Every `Both` in nested arguments."""
    if isinstance(value, Both):
        yield value
    elif isinstance(value, slice):
        yield from boths((value.start, value.stop, value.step))
    for _, part in parts_of(value):
        yield from boths(part)


def places(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[int | str]:
    """Positions and names of the arguments in which there is a `Both`."""
    named = [*enumerate(args), *kwargs.items()]
    return [place for place, value in named if any(True for _ in boths(value))]


def get(args: tuple[Any, ...], kwargs: dict[str, Any], place: int | str) -> Any:
    """The argument at a place."""
    return args[place] if isinstance(place, int) else kwargs[place]


def put(args: tuple[Any, ...], kwargs: dict[str, Any], new: dict[int | str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments with others at some places."""
    return (
        [new.get(place, value) for place, value in enumerate(args)],
        {name: new.get(name, value) for name, value in kwargs.items()},
    )


def bind(args: tuple[Any, ...], kwargs: dict[str, Any], names: str) -> dict[str, Any]:
    """Arguments by name; `names` are the function's, separated by spaces."""
    return {**dict(zip(names.split(), args, strict=False)), **kwargs}


def double(values: Tensor) -> Tensor:
    """In double precision where the device has it: quotients of small differences need it."""
    return values if values.device.type == "mps" else values.double()


def name_of(function: Any) -> str:
    """A function's plain name: ``mul`` of ``__imul__``, ``mul_``, ``__rmul__`` and ``multiply``."""
    name = getattr(function, "__name__", str(function))
    plain = name.strip("_")
    if name.startswith("__") and plain[1:] in ("add", "sub", "mul", "matmul", "truediv", "pow", "div"):
        # x - c and c - x are alike in being linear, but a quotient and a power are not.
        plain = plain if plain in ("rtruediv", "rpow", "rdiv") else plain[1:]
    return _SAME.get(plain, plain)


_SAME = {
    "truediv": "div", "divide": "div", "true_divide": "div", "rdiv": "rtruediv", "multiply": "mul", "subtract": "sub",
    "negative": "neg",
}  # fmt: skip


def writes(function: Any) -> bool:
    """Whether it writes into its first argument."""
    name = getattr(function, "__name__", "")
    inside = name.startswith("__i") and name[3:].strip("_") in ("add", "sub", "mul", "truediv", "pow", "div")
    return name == "_set_item" or inside or (name.endswith("_") and not name.startswith("__"))


def scope_of(node: fx.Node | None) -> str:
    """Where in the model a node is, to be put behind its name."""
    scope = node.meta.get("scope", "") if node is not None else ""
    return f" in {scope}" if scope else ""
