"""Which torch modules stand behind a function or an object that is no module itself."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

from torch import nn

DEEP = 4
"""How many functions, objects and containers inside one another are looked into."""


_LIBRARIES = frozenset(("torch", "torchvision", "numpy", "scipy", "skimage", "PIL", "onnxruntime", "builtins"))
"""Whose functions hold nobody's model; there is much in them to search."""


def held_modules(function: Any) -> tuple[nn.Module, ...]:
    """Modules that a call of `function` may reach: through its closure, globals it names, arguments, owner.

    What is found is guarded as if it had been passed itself. A module that is made or loaded inside the function cannot
    be found, and needs no guard.
    """
    return tuple(dict.fromkeys(_search(function, DEEP, set())))


def _search(thing: Any, depth: int, seen: set[int]) -> Iterator[nn.Module]:
    if isinstance(thing, nn.Module):
        yield thing
        return
    owner = getattr(thing, "__self__", None)
    if isinstance(owner, nn.Module):
        yield owner
    if not depth or id(thing) in seen or isinstance(thing, (type, ModuleType, str, bytes, int, float, type(None))):
        return
    if str(getattr(thing, "__module__", "")).partition(".")[0] in _LIBRARIES:
        return
    seen.add(id(thing))
    for part in _parts(thing):
        yield from _search(part, depth - 1, seen)


def _parts(thing: Any) -> Iterator[Any]:
    if isinstance(thing, Mapping):
        yield from thing.values()
    elif isinstance(thing, (list, tuple, set)):
        yield from thing
    elif isinstance(thing, functools.partial):
        yield from (thing.func, *thing.args, *thing.keywords.values())
    elif hasattr(thing, "__code__"):
        yield getattr(thing, "__self__", None)
        yield from (_content(cell) for cell in thing.__closure__ or ())
        yield from (*(thing.__defaults__ or ()), *(getattr(thing, "__kwdefaults__", None) or {}).values())
        known = getattr(thing, "__globals__", {})
        yield from (known[name] for name in _names(thing.__code__) if name in known)
    elif hasattr(thing, "__dict__"):
        yield from vars(thing).values()
        yield vars(type(thing)).get("__call__")


def _names(code: Any) -> Iterator[str]:
    """Global names that a function's code uses, those of functions inside it included."""
    yield from code.co_names
    for constant in code.co_consts:
        if hasattr(constant, "co_names"):
            yield from _names(constant)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None
