"""The guard: everything that touches a model does so through it, and leaves the model as it was found."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xai_widgets.keepsakes import keep

LOCK = threading.RLock()
"""Held while a model runs: cells, comm handlers and the worker are different threads of one kernel."""

_OF_TORCH = frozenset(vars(nn.Module())) - {"_buffers"}
"""What torch keeps in each module: weights, submodules, hooks. A forward pass has no business there, but a cell may
change it while the worker runs, and must find its own change afterwards."""


Place = tuple[nn.Module, str]
"""A module and the name of something that it holds."""


@dataclass(frozen=True)
class Habits:
    """What a model does, beyond answering, when it is asked: what has to be undone after each call.

    Attributes
    ----------
    draws : bool
        It draws random numbers even in evaluation mode.
    attributes : tuple of (Module, str)
        Attributes that it sets, such as ``self.attention = …``, or whose contents it changes, buffers included: see
        `keepsakes`.
    """

    draws: bool = False
    attributes: tuple[Place, ...] = ()


@contextmanager
def guard(model: Any, habits: Habits | None = None) -> Iterator[list[Habits]]:
    """Run a model in evaluation mode and leave no trace, whatever happens inside, a KeyboardInterrupt included.

    `model` may also be a tuple of modules: those that a function holds. Put back are each module's mode, attributes and
    buffers, what ``module.compile()`` made, and random state.
    Without `habits` everything is watched, and the list that the block receives holds them once it has ended. With
    them only those are put back: a cell may work on the model while the worker asks it, and what the cell changes
    must not be rewound; the same goes for random state, which belongs to all threads.

    ``training`` is set on each module directly, because ``model.eval()`` may be overridden to do more than that.
    """
    with LOCK:
        modules = _modules(model)
        training = [module for module in modules if module.training]
        # What `module.compile()` made would run without hooks.
        compiled = [(m, vars(m)["_compiled_call_impl"]) for m in modules if vars(m).get("_compiled_call_impl")]
        states = random_states(modules) if habits is None or habits.draws else None
        attributes = [_remember(*place) for place in (_watched(modules) if habits is None else habits.attributes)]
        found: list[Habits] = []
        try:
            for module in training:
                _set_training(module, False)
            for module, _ in compiled:
                vars(module)["_compiled_call_impl"] = None
            yield found
        finally:
            for module, implementation in compiled:
                vars(module)["_compiled_call_impl"] = implementation
            for module in training:
                _set_training(module, True)
            if habits is None:
                known = {each.place for each in attributes}
                new = [place for place in _watched(modules) if place not in known]
                attributes += [_Attribute(*place, there=False) for place in new]
            changed = tuple(each.place for each in attributes if each.restore())
            drawn = states is not None and not same_states(states, random_states(modules))
            if drawn:
                _put_back(states)
            found.append(Habits(drawn, changed))


def _watched(modules: Iterable[nn.Module]) -> list[Place]:
    """Everything that a forward pass might change."""
    places = [(m, name) for m in modules if not _scripted(m) for name in vars(m) if name not in _OF_TORCH]
    return places + [(module, "_buffers") for module in modules if _scripted(module)]


def _remember(module: nn.Module, name: str) -> _Attribute:
    return _ScriptedBuffers(module) if _scripted(module) else _Attribute(module, name)


def _modules(model: Any) -> list[nn.Module]:
    """All modules of a module, or of several in a tuple, each once."""
    roots = model if isinstance(model, tuple) else (model,)
    return list(dict.fromkeys(m for root in roots if isinstance(root, nn.Module) for m in root.modules()))


def _set_training(module: nn.Module, training: bool) -> None:
    """Set it past any ``__setattr__`` of the module's own."""
    if _scripted(module):
        module.training = training
    else:
        vars(module)["training"] = training


def _scripted(module: nn.Module) -> bool:
    """Whether it lives in TorchScript, where Python's attributes are views of something else."""
    return isinstance(module, torch.jit.ScriptModule)


class _Attribute:
    """A module's attribute as it was, and what it held."""

    def __init__(self, module: nn.Module, name: str, there: bool | None = None) -> None:
        self.place = module, name
        self._there = name in vars(module) if there is None else there  # a model may make it as it answers
        self._value = vars(module).get(name)
        self._held = keep(self._value)

    def restore(self) -> bool:
        """Put it back; whether that was needed."""
        module, name = self.place
        if not self._there:
            return vars(module).pop(name, self) is not self
        changed = vars(module).get(name, self) is not self._value
        if changed:
            vars(module)[name] = self._value
        return bool(self._held and self._held()) or changed


class _ScriptedBuffers(_Attribute):
    """The buffers of a module in TorchScript; Python sees copies of their names, but the tensors themselves."""

    def __init__(self, module: nn.Module) -> None:
        self.place = module, "_buffers"
        self._held = keep(dict(module.named_buffers(recurse=False)))

    def restore(self) -> bool:
        return self._held()


RandomStates = tuple[Any, Any, Any, list[tuple[torch.device, Tensor]]]


def random_states(modules: Iterable[nn.Module]) -> RandomStates:
    """Of torch, numpy, Python, and of each GPU that the modules are on."""
    devices = {p.device for m in modules for p in m.parameters(recurse=False) if p.is_cuda}
    cuda = [(device, torch.cuda.get_rng_state(device)) for device in devices]
    return torch.get_rng_state(), np.random.get_state(), random.getstate(), cuda  # noqa: NPY002 - theirs, not ours


def same_states(a: RandomStates, b: RandomStates) -> bool:
    """Whether nothing was drawn between two `random_states`."""
    arrays = [(a[0], b[0]), (torch.from_numpy(a[1][1]), torch.from_numpy(b[1][1]))]
    arrays += [(x, y) for (_, x), (_, y) in zip(a[3], b[3], strict=True)]
    return a[1][2:] == b[1][2:] and a[2] == b[2] and all(torch.equal(x, y) for x, y in arrays)


def _put_back(states: RandomStates) -> None:
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    random.setstate(states[2])
    for device, state in states[3]:
        torch.cuda.set_rng_state(state, device)


@contextmanager
def same_randomness() -> Iterator[list[bool]]:
    """Put random state back after code of others; the list that the block receives holds whether it was moved."""
    with LOCK:
        states, moved = random_states(()), []
        try:
            yield moved
        finally:
            moved.append(not same_states(states, random_states(())))
            if moved[0]:
                _put_back(states)


@contextmanager
def captured(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what a module returns, once a call, for as long as the block lasts.

    What goes on through the network is a copy: an in-place activation behind the module would otherwise change the
    very tensor that was collected. Of a tuple, as blocks of transformers return it, the first part is collected.
    """
    seen: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        seen.append(tensor)
        return tensor.clone()

    def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
        if isinstance(output, Tensor):
            return keep(output)
        if type(output) is tuple and output and isinstance(output[0], Tensor):
            return keep(output[0]), *output[1:]
        return None

    handle = module.register_forward_hook(hook)
    try:
        yield seen
    finally:
        handle.remove()
