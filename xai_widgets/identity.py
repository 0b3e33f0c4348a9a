"""What a model is known by: a hash of its structure and weights."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, nn

from xai_widgets.guard import LOCK

_fingerprints: weakref.WeakKeyDictionary[nn.Module, tuple[tuple, str]] = weakref.WeakKeyDictionary()


def fingerprint(model: Any) -> str:
    """What a model is known by: SHA-256 of its structure and weights, as 64 hex digits.

    Kept until a weight is changed, which torch counts. A plain callable is known by its name and code.
    """
    import hashlib

    if not isinstance(model, nn.Module):
        code = getattr(model, "__code__", None)
        name = getattr(model, "__qualname__", type(model).__qualname__)
        return hashlib.sha256(f"callable {name} {code and (code.co_code, code.co_names)}".encode()).hexdigest()
    with LOCK:
        state = {key: value for key, value in model.state_dict().items() if isinstance(value, Tensor)}
        stamp = tuple((key, value.data_ptr(), _version(value)) for key, value in state.items())
        known = _fingerprints.get(model)
        if known is not None and known[0] == stamp:
            return known[1]
        hashed = hashlib.sha256()
        for name, module in model.named_modules():
            hashed.update(f"{name} {type(module).__qualname__} {module.extra_repr()}\n".encode())
        for key, value in state.items():
            hashed.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
            raw = value.detach().cpu().contiguous().flatten()
            hashed.update(raw.view(torch.uint8).numpy() if raw.numel() else b"")
        _fingerprints[model] = stamp, hashed.hexdigest()
        return hashed.hexdigest()


def _version(tensor: Tensor) -> int:
    """How often a tensor was written to; tensors made in inference mode do not count."""
    return -1 if tensor.is_inference() else tensor._version  # noqa: SLF001 - torch has no public one
