"""Things that a model may change while it answers, kept so that they can be put back."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

DEEP = 3
"""How many containers inside one another are looked into."""

Restore = Callable[[], bool]
"""Puts a thing back as it was; returns whether that was needed."""


def keep(value: Any, depth: int = DEEP) -> Restore | None:
    """Remember what a tensor, array, container or random generator holds.

    Parameters
    ----------
    value : object
    depth : int
        How many levels of containers to remember.

    Returns
    -------
    callable or None
        None for what holds nothing that could be changed in place, as far as it is known here.
    """
    if isinstance(value, Tensor):
        return _tensor(value)
    if isinstance(value, np.ndarray) and value.flags.writeable:
        return _array(value)
    if isinstance(value, torch.Generator):
        return _state(value.get_state, value.set_state, torch.equal)
    if isinstance(value, np.random.Generator):
        bits = value.bit_generator
        return _state(lambda: bits.state, lambda state: setattr(bits, "state", state), lambda a, b: repr(a) == repr(b))
    if isinstance(value, (list, dict, set, deque)) and depth:
        return _container(value, depth)
    return None


def _tensor(value: Tensor) -> Restore | None:
    if value.is_meta or value.is_sparse or value.is_quantized:
        return None
    counted = not value.is_inference()  # tensors made in inference mode do not count what is written to them
    kept, version = value.detach().clone(), value._version if counted else 0  # noqa: SLF001 - torch has no public one

    def restore() -> bool:
        if value._version == version if counted else torch.equal(value, kept):  # noqa: SLF001
            return False
        with torch.no_grad(), torch.inference_mode(not counted):
            value.copy_(kept)
        return True

    return restore


def _array(value: np.ndarray) -> Restore:
    kept = value.copy()

    def restore() -> bool:
        if value.tobytes() == kept.tobytes():
            return False
        value[...] = kept
        return True

    return restore


def _state(get: Callable[[], Any], put: Callable[[Any], Any], same: Callable[[Any, Any], bool]) -> Restore:
    kept = copy.deepcopy(get())

    def restore() -> bool:
        if same(get(), kept):
            return False
        put(kept)
        return True

    return restore


def _container(value: Any, depth: int) -> Restore:
    items = list(value.items()) if isinstance(value, dict) else list(value)
    children = value.values() if isinstance(value, dict) else value
    inner = [restore for child in children if (restore := keep(child, depth - 1))]

    def restore() -> bool:
        changed = [put_back() for put_back in inner]
        now = list(value.items()) if isinstance(value, dict) else list(value)
        if len(now) == len(items) and all(_same(a, b) for a, b in zip(now, items, strict=True)):
            return any(changed)
        value.clear()
        (value.extend if isinstance(value, (list, deque)) else value.update)(items)
        return True

    return restore


def _same(a: Any, b: Any) -> bool:
    """Whether it is the very same thing, or pair of things; == of tensors would give a tensor."""
    if type(a) is tuple and type(b) is tuple and len(a) == len(b) == 2:
        return all(x is y for x, y in zip(a, b, strict=True))
    return a is b
