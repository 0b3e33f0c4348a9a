"""What was found out about a model, kept for the next call for as long as the model lives and stays as it is.

Getting to know a model costs several answers; a second `explain` of the same model must not pay for them again. Nothing
here keeps a model alive: what refers to its modules is pickled with their places in it instead.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Hashable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

_known: WeakKeyDictionary[nn.Module, tuple[Hashable, dict[Hashable, Any]]] = WeakKeyDictionary()

_OWN = frozenset({"training", "_parameters", "_buffers", "_modules", "_compiled_call_impl"})


def stamp(model: nn.Module) -> Hashable:
    """Changes whenever the model might answer otherwise: weights, modules, hooks or plain attributes.

    Weights are told by where they are and by torch's count of writes, so a write through ``p.data`` goes unseen.
    """
    seen: list[Hashable] = []
    for module in model.modules():
        seen.append(id(module))
        if isinstance(module, torch.jit.ScriptModule):
            continue
        content = vars(module)
        for name in ("_forward_hooks", "_forward_pre_hooks"):
            seen += map(id, content.get(name, {}).values())
        seen += [(k, v) for k, v in content.items() if k not in _OWN and isinstance(v, (bool, int, float, str, tuple))]
        tensors = {**content.get("_parameters", {}), **content.get("_buffers", {})}
        seen += [_mark(tensor) for tensor in tensors.values() if isinstance(tensor, Tensor)]
    try:
        return hash(tuple(seen))
    except TypeError:  # a tuple of something that has no hash
        return hash(repr(seen))


def _mark(tensor: Tensor) -> Hashable:
    if tensor.layout != torch.strided or tensor.is_quantized:
        return id(tensor)
    return tensor.data_ptr(), -1 if tensor.is_inference() else tensor._version, tensor.dtype  # noqa: SLF001


def recall(model: Any, key: Hashable) -> Any:
    """What was last kept of this very model under `key`, or None; its modules are found in their places again."""
    if not isinstance(model, nn.Module) or key is None or model not in _known:
        return None
    of, found = _known[model]
    if of != stamp(model):
        del _known[model]
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
