"""Tensors inside of other things: tuples, dicts, slices, and objects such as a dataclass or a ModelOutput."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn


@dataclass(frozen=True)
class Slot:
    """Stands for tensor number `index` in the form of an answer."""

    index: int


class Answer(nn.Module):
    """Puts tensors into the form in which the model answers."""

    def __init__(self, form: Any) -> None:
        super().__init__()
        self.form = form

    def forward(self, tensors: list[Tensor]) -> Any:
        return mapped(self.form, lambda value: tensors[value.index] if isinstance(value, Slot) else value, deep=True)


def parts_of(value: Any) -> list[tuple[Any, Any]]:
    """Keys and values of a mapping, positions and values of a tuple or list, nothing of anything else."""
    if isinstance(value, Mapping):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, (tuple, list)) else []


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested tuples, lists, dicts, slices and plain objects."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, slice):
        yield from tensors_in((value.start, value.stop, value.step))
    elif parts := parts_of(value):
        for _, part in parts:
            yield from tensors_in(part)
    elif _is_record(value):
        yield from tensors_in(vars(value))


def mapped(value: Any, change: Callable[[Any], Any], *, deep: bool = False) -> Any:
    """`value` with each thing in it changed.

    Parameters
    ----------
    value : object
        Tuples, lists, slices and mappings are gone into.
    change : callable
        From a thing to what takes its place.
    deep : bool
        Go into plain objects as well, and keep the types of mappings, named tuples and objects, as an answer has to.
        Without it they become what a `torch.fx.Graph` can write down: tuples and dicts.
    """
    if isinstance(value, (Tensor, Slot)):
        return change(value)
    if isinstance(value, np.generic):
        return value.item()  # the code that torch.fx writes knows no numpy
    if isinstance(value, slice):
        return slice(*(mapped(part, change, deep=deep) for part in (value.start, value.stop, value.step)))
    if isinstance(value, (tuple, list)):
        parts = [mapped(part, change, deep=deep) for part in value]
        if deep and hasattr(value, "_fields"):
            return type(value)(*parts)
        return parts if isinstance(value, list) else tuple(parts)
    if isinstance(value, Mapping):
        parts = {key: mapped(part, change, deep=deep) for key, part in value.items()}
        if not deep or type(value) is dict:
            return parts
        made = copy.copy(value)
        for key, part in parts.items():  # a ModelOutput forbids update()
            made[key] = part
        return made
    if deep and _is_record(value):
        made = copy.copy(value)
        vars(made).update(mapped(vars(value), change, deep=True))
        return made
    return change(value)


def _is_record(value: Any) -> bool:
    """Whether it is an object that only holds values, such as a dataclass."""
    return hasattr(value, "__dict__") and not callable(value) and type(value).__module__.partition(".")[0] != "torch"
