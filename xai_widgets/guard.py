"""The guard: everything that touches a model does so through it, and leaves the model as it was found."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

LOCK = threading.RLock()
"""Held while a model runs: cells, comm handlers and the worker are different threads of one kernel."""


@contextmanager
def guard(model: Any, *, random_state: bool = True) -> Iterator[None]:
    """Run a model in evaluation mode and leave no trace: modes and random state are put back whatever happens.

    Random state belongs to all threads: put back by the worker, it would rewind what a cell draws meanwhile. So for a
    model that is known to draw nothing it is left alone, ``random_state=False``.

    ``training`` is set on each module directly, because ``model.eval()`` may be overridden to do more than that.
    """
    with LOCK:
        modules = list(model.modules()) if isinstance(model, nn.Module) else []
        training = [module for module in modules if module.training]
        # What `module.compile()` made would run without hooks.
        compiled = [(m, vars(m)["_compiled_call_impl"]) for m in modules if vars(m).get("_compiled_call_impl")]
        states = random_states(modules) if random_state else None
        try:
            for module in training:
                module.training = False
            for module, _ in compiled:
                vars(module)["_compiled_call_impl"] = None
            yield
        finally:
            for module, implementation in compiled:
                vars(module)["_compiled_call_impl"] = implementation
            for module in training:
                module.training = True
            if states is not None:
                torch.set_rng_state(states[0])
                np.random.set_state(states[1])  # noqa: NPY002
                random.setstate(states[2])
                for device, state in states[3]:
                    torch.cuda.set_rng_state(state, device)


def random_states(modules: list[nn.Module]) -> tuple[Any, Any, Any, list[tuple[torch.device, Tensor]]]:
    """Of torch, numpy, Python, and of each GPU that the modules are on."""
    devices = {p.device for m in modules for p in m.parameters(recurse=False) if p.is_cuda}
    cuda = [(device, torch.cuda.get_rng_state(device)) for device in devices]
    return torch.get_rng_state(), np.random.get_state(), random.getstate(), cuda  # noqa: NPY002 - theirs, not ours


def same_states(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    """Whether nothing was drawn between two `random_states`."""
    arrays = [(a[0], b[0]), (torch.from_numpy(a[1][1]), torch.from_numpy(b[1][1]))]
    arrays += [(x, y) for (_, x), (_, y) in zip(a[3], b[3], strict=True)]
    return a[1][2:] == b[1][2:] and a[2] == b[2] and all(torch.equal(x, y) for x, y in arrays)


@contextmanager
def captured(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what a module returns, once a call, for as long as the block lasts.

    What goes on through the network is a copy: an in-place activation behind the module would otherwise change the
    very tensor that was collected.
    """
    seen: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        seen.append(tensor)
        return tensor.clone()

    def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
        if isinstance(output, Tensor):
            return keep(output)
        # Blocks of transformers return tuples whose first part goes on.
        if type(output) is tuple and output and isinstance(output[0], Tensor):
            return keep(output[0]), *output[1:]
        return None

    handle = module.register_forward_hook(hook)
    try:
        yield seen
    finally:
        handle.remove()
