"""Which number of the model's answer is explained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xai_widgets.errors import TargetError, nearest


@dataclass(frozen=True)
class Target:
    """One number of an answer: a class, one class rather than another, or a function of the whole row.

    Attributes
    ----------
    index : int or None
        The class; None for a function.
    rather_than : int or None
        The class that is subtracted.
    function : callable or None
        ``f(row)`` with one answer (C,) → one number; must keep gradients where a gradient method is used.
    name : str
    """

    index: int | None
    rather_than: int | None = None
    function: Callable[[Any], Any] | None = None
    name: str = ""

    def of(self, rows: Any) -> Any:
        """Read it off answers of shape (B, C), array or tensor, as (B,)."""
        if self.function is not None:
            return self._own(rows)
        chosen = rows[:, self.index]
        return chosen if self.rather_than is None else chosen - rows[:, self.rather_than]

    def _own(self, rows: Any) -> Any:
        cause = None
        try:
            values = [self.function(row) for row in rows]
            sizes = {tuple(getattr(value, "shape", ())) for value in values} - {(), (1,)}
            trouble = f"gave shape {sizes.pop()}" if sizes else ""
            if not trouble:
                return _stack(values, rows)
        except Exception as error:  # noqa: BLE001 - a callable of the user's may raise anything
            trouble, cause = f"raised {type(error).__name__}: {error}", error
        raise TargetError(
            f"target={self.name} {trouble}. It gets one answer, of shape {tuple(rows.shape[1:])}, and must give one "
            "number: target=lambda row: row[3] - row[5]"
        ) from cause

    @property
    def key(self) -> int | list[int] | None:
        """A form that can be stored as JSON: index, ``[index, rather_than]``, or None for a function."""
        if self.index is None or self.rather_than is None:
            return self.index
        return [self.index, self.rather_than]


def check_names(class_names: Sequence[str] | Mapping[int, str] | None, n_classes: int) -> tuple[str, ...] | None:
    """Class names as a tuple of `n_classes` strings; a wrong number of them is an error, never a guess."""
    if class_names is None:
        return None
    if isinstance(class_names, str):
        raise TargetError(f"class_names={class_names!r} is one string; pass a list of {n_classes} names.")
    if isinstance(class_names, Mapping):
        try:
            by_index = {int(k): v for k, v in class_names.items()}
        except (TypeError, ValueError):
            raise TargetError("class_names as a dict must map class indices to names, {0: 'cat', 1: 'dog'}.") from None
        if set(by_index) != set(range(n_classes)):
            missing = sorted(set(range(n_classes)) - set(by_index))[:5]
            raise TargetError(
                f"class_names has {len(by_index)} names, the model {n_classes} outputs"
                + (f"; there is none for {missing}." if missing else f", 0 to {n_classes - 1}.")
            )
        class_names = [by_index[i] for i in range(n_classes)]
    if not isinstance(class_names, Iterable):
        raise TargetError(f"class_names={class_names!r} must be a list of {n_classes} names.")
    names = tuple(str(name) for name in class_names)
    if len(names) != n_classes:
        raise TargetError(
            f"{len(names)} class_names, {n_classes} outputs: they must be equal, so that no class gets another's name."
        )
    return names


def name_of(index: int, class_names: Sequence[str] | None) -> str:
    """A class's name, or ``class 3`` where there are none."""
    return class_names[index] if class_names else f"class {index}"


def resolve(target: Any, probabilities: np.ndarray, class_names: Sequence[str] | None) -> Target:
    """Turn what the user asked for into a `Target`.

    Parameters
    ----------
    target : None, int, str, (a, b) or callable
        None takes the class with the highest probability; ``(a, b)`` is "a rather than b".
    probabilities : ndarray, shape (C,)
    class_names : sequence of str or None
    """
    if target is None:
        index = int(np.argmax(probabilities))
        return Target(index, name=name_of(index, class_names))
    if isinstance(target, (tuple, list)):
        if len(target) != 2:
            raise TargetError(f"target={target!r} must be one class or two, (a, b) for a rather than b.")
        first, second = (_index(part, len(probabilities), class_names) for part in target)
        if first == second:
            raise TargetError(f"target={target!r} names the same class twice; there is no difference to explain.")
        name = f"{name_of(first, class_names)} rather than {name_of(second, class_names)}"
        return Target(first, second, name=name)
    if callable(target):
        return Target(None, function=target, name=getattr(target, "__name__", "own target"))
    index = _index(target, len(probabilities), class_names)
    return Target(index, name=name_of(index, class_names))


def _index(target: Any, n_classes: int, class_names: Sequence[str] | None) -> int:
    if isinstance(target, str):
        return _index_of_name(target, n_classes, class_names)
    if isinstance(target, bool) or not hasattr(target, "__index__"):
        raise TargetError(
            f"target={target!r} is a {type(target).__name__}; pass an index, a name, (a, b) or a callable."
        )
    index = target.__index__()
    if not 0 <= index < n_classes:
        raise TargetError(f"Class {index} does not exist; the model has {n_classes} (0 to {n_classes - 1}).")
    return index


def _index_of_name(name: str, n_classes: int, class_names: Sequence[str] | None) -> int:
    if class_names is None:
        raise TargetError(f"target={name!r} is a name, but the model has none. Pass class_names=[…{n_classes} names…].")
    wanted = name.strip().lower()
    hits = [i for i, known in enumerate(class_names) if known.lower() == wanted]
    # ImageNet names often list synonyms: "tabby, tabby cat".
    hits = hits or [i for i, known in enumerate(class_names) if wanted in (s.strip().lower() for s in known.split(","))]
    if len(hits) == 1:
        return hits[0]
    if hits:
        raise TargetError(f"{len(hits)} classes are called {name!r}: {hits}. Pass the index: target={hits[0]}")
    raise TargetError(f"No class is called {name!r}.{nearest(name, class_names)}")


def _stack(values: list[Any], rows: Any) -> Any:
    """One number each as an array or tensor (B,), like `rows`."""
    if not hasattr(rows, "detach"):
        return np.array([float(value) for value in values])
    import torch

    return torch.stack([torch.as_tensor(value, dtype=rows.dtype, device=rows.device).reshape(()) for value in values])
