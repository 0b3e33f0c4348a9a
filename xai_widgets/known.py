"""What was found out about a model, kept for the next call for as long as the model lives and stays as it is.

Getting to know a model costs several answers; a second `explain` of the same model must not pay for them again. Nothing
here keeps a model alive: what refers to its modules is pickled with their places in it instead.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Hashable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from xai_widgets.guard import LOCK

_known: WeakKeyDictionary[nn.Module, tuple[Hashable, dict[Hashable, Any]]] = WeakKeyDictionary()

os.register_at_fork(after_in_child=_known.clear)  # what was compiled needs threads that a forked process has not

_OF_TORCH = frozenset(vars(nn.Module()))
"""What torch keeps in each module; of that, weights, buffers, hooks and submodules are looked at by themselves."""


def stamp(model: nn.Module) -> Hashable:
    """Changes whenever the model might answer otherwise: weights, modules, hooks or attributes.

    Weights are told by where they are and by torch's count of writes, so a write through ``p.data`` goes unseen, as
    does what a function that the model calls finds elsewhere.
    """
    seen: list[Hashable] = []
    with LOCK:  # nobody's passing hooks and nothing half put back
        for module in model.modules():
            seen += (id(type(module)), id(module))
            if isinstance(module, torch.jit.ScriptModule):
                seen += [_mark(tensor) for tensor in (*module.parameters(), *module.buffers())]
                continue
            content = vars(module)
            # Their numbers, for an address may come back.
            seen += (*content["_forward_hooks"], "|", *content["_forward_pre_hooks"])
            seen += [_mark(tensor) for kind in ("_parameters", "_buffers") for tensor in content[kind].values()]
            seen += [_value(value) for name, value in content.items() if name not in _OF_TORCH]
    return hash(tuple(seen))


def _value(value: Any) -> Hashable:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (tuple, list)):
        return tuple(map(_value, value))
    return _mark(value) if isinstance(value, Tensor) else id(value)


def _mark(tensor: Tensor | None) -> Hashable:
    if tensor is None or tensor.layout != torch.strided or tensor.is_quantized:
        return id(tensor)
    return tensor.data_ptr(), -1 if tensor.is_inference() else tensor._version, id(tensor.dtype)  # noqa: SLF001


def recall(model: Any, key: Hashable, now: Hashable = None) -> Any:
    """What was last kept of this very model under `key`, or None; its modules are found in their places again.

    `now` is its stamp, for who has it at hand.
    """
    if not isinstance(model, nn.Module) or key is None or model not in _known:
        return None
    of, found = _known[model]
    if of != (stamp(model) if now is None else now):
        forget(model)
        return None
    kept = found.get(key)
    return _Unpickler(io.BytesIO(kept), list(model.modules())).load() if isinstance(kept, bytes) else kept


def keep(model: Any, key: Hashable, facts: Any, *, modules: bool = False) -> None:
    """Keep something about a model, until the model changes.

    Parameters
    ----------
    model : object
        Of anything but a torch module nothing is kept.
    key : hashable
        None keeps nothing.
    facts : object
        Must not refer to the model.
    modules : bool
        That it may do so after all: a mapping or dataclass that can be pickled but for the model's modules.
    """
    if not isinstance(model, nn.Module) or key is None:
        return
    if modules:
        buffer = io.BytesIO()
        try:
            _Pickler(buffer, list(model.modules())).dump(facts)
        except (pickle.PicklingError, TypeError, AttributeError):
            return  # then it is found out again
        facts = buffer.getvalue()
    now = stamp(model)
    of, found = _known.get(model, (None, {}))
    _known[model] = now, {**(found if of == now else {}), key: facts}


def forget(model: nn.Module) -> None:
    """Know nothing of a model."""
    _known.pop(model, None)


class _Pickler(pickle.Pickler):
    def __init__(self, file: Any, modules: list[nn.Module]) -> None:
        super().__init__(file)
        self._places = {id(module): place for place, module in enumerate(modules)}

    def persistent_id(self, value: Any) -> int | None:
        if not isinstance(value, nn.Module):
            return None
        if id(value) not in self._places:
            raise pickle.PicklingError("a module of another model")
        return self._places[id(value)]


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, modules: list[nn.Module]) -> None:
        super().__init__(file)
        self._modules = modules

    def persistent_load(self, place: int) -> nn.Module:
        return self._modules[place]
