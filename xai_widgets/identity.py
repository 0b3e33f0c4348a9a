"""What a model is known by: a hash of its structure and weights."""

from __future__ import annotations

import functools
import hashlib
import pickle
import weakref
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xai_widgets.guard import LOCK
from xai_widgets.holding import held_modules

_fingerprints: weakref.WeakKeyDictionary[nn.Module, tuple[tuple, str]] = weakref.WeakKeyDictionary()


def fingerprint(model: Any) -> str:
    """What a model is known by: SHA-256 of its structure and weights, as 64 hex digits.

    Kept until a weight is changed, which torch counts. A function is known by its name and code, an ONNX Runtime
    session by its graph, any other object by what pickle makes of it.
    """
    if not isinstance(model, nn.Module):
        return hashlib.sha256(_description(model)).hexdigest()
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
            raw = value.int_repr() if value.is_quantized else value.to_dense() if value.is_sparse else value
            raw = raw.detach().cpu().contiguous().flatten()
            hashed.update(raw.view(torch.uint8).numpy() if raw.numel() else b"")
        _fingerprints[model] = stamp, hashed.hexdigest()
        return hashed.hexdigest()


def _description(model: Any) -> bytes:
    """What makes an object that is no module the one it is."""
    if hasattr(model, "get_inputs"):  # a session of ONNX Runtime
        path, graph = getattr(model, "_model_path", None), getattr(model, "_model_bytes", None)
        return graph or (Path(path).read_bytes() if path and Path(path).exists() else repr(path).encode())
    inner = model.func if isinstance(model, functools.partial) else model
    code = getattr(inner, "__code__", None)
    if code is None:
        try:
            return pickle.dumps(model)
        except Exception:  # noqa: BLE001 - an object may refuse in any way
            code = None
    name = getattr(inner, "__qualname__", type(inner).__qualname__)
    held = " ".join(map(fingerprint, held_modules(model)))
    # Of the constants only numbers and text: others print with their address.
    plain = code and [value for value in code.co_consts if isinstance(value, (int, float, str, bytes))]
    return f"callable {name} {code and (code.co_code, code.co_names)} {plain} {held}".encode()


def _version(tensor: Tensor) -> int:
    """How often a tensor was written to; tensors made in inference mode do not count."""
    return -1 if tensor.is_inference() else tensor._version  # noqa: SLF001 - torch has no public one
