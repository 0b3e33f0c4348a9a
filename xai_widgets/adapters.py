"""Whatever people call a model → something that can be asked, and what it declares about itself."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xai_widgets.errors import ModelError
from xai_widgets.holding import held_modules


@dataclass(frozen=True)
class Adapted:
    """A model, made ready to be asked.

    Attributes
    ----------
    ask : Module or callable
        Float batch (B, C, h, w) → answer.
    name : str
    opaque : str
        Why one cannot look inside, in half a sentence; empty for a torch module whose submodules and gradients can be
        followed.
    notes : tuple of str
        What was done to it, in plain words.
    batch : int or None
        The only number of pictures it takes at once.
    channels : int or None
        Channels of the pictures that it takes.
    size : (int, int) or None
        Height and width that it needs.
    best_size : int or None
        The side it was made for, where it takes others too.
    mean, std : tuple of float or None
    activation : str or None
        What turns its scores into probabilities, where it says so.
    holds : tuple of Module
        The modules behind a function or an object: they are guarded like any other.
    origin : object
        What it was made from, unwrapped.
    class_names, preprocess
        Its attributes of these names, or what its configuration says.
    """

    ask: Callable[[Tensor], Any]
    name: str
    opaque: str = ""
    notes: tuple[str, ...] = ()
    batch: int | None = None
    channels: int | None = None
    size: tuple[int, int] | None = None
    best_size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    activation: str | None = None
    holds: tuple[nn.Module, ...] = ()
    origin: Any = None
    class_names: Any = None
    preprocess: Callable[[Any], Any] | None = None


def adapt(model: Any) -> Adapted:
    """Recognise a model.

    Parameters
    ----------
    model : object
        A torch module, compiled, wrapped, scripted, exported or quantised ones included; an ``ExportedProgram``; an
        ONNX Runtime session; anything with scikit-learn's ``predict_proba``; a function of a batch.

    Raises
    ------
    ModelError
        If it cannot be asked about a batch of pictures.
    """
    if model is None:
        raise ModelError("There is no model. Pass a torch module or a callable on a batch: xw.explain(model, image)")
    model, notes = _unwrap(model)
    for recognise in (_module, _exported, _onnx, _sklearn, _function):
        adapted = recognise(model, notes)
        if adapted is not None:
            names, own = _attribute(model, "class_names"), _attribute(model, "preprocess")
            return replace(
                adapted,
                origin=model,
                class_names=names if names is not None else adapted.class_names,
                preprocess=own if callable(own) else None,
            )
    raise ModelError(_no_model(model))


def _attribute(model: Any, name: str) -> Any:
    """An attribute that may be a property which raises, as those of a LightningModule without a trainer do."""
    try:
        return getattr(model, name, None)
    except Exception:  # noqa: BLE001 - whatever it raises, there is none
        return None


def _unwrap(model: Any) -> tuple[Any, tuple[str, ...]]:
    """The module inside what torch.compile and DataParallel wrapped: compiled code calls no hooks."""
    notes: list[str] = []
    while isinstance(model, nn.Module):
        names = {parent.__name__ for parent in type(model).__mro__}
        if names & {"FullyShardedDataParallel", "FSDPModule"}:
            raise ModelError(
                f"This {type(model).__name__} is sharded over several processes (FSDP); none of them has the whole "
                "model. Gather it first: load its full state_dict into the plain module"
            )
        if "_orig_mod" in vars(model).get("_modules", {}):
            model, note = model._orig_mod, "torch.compile set aside, the same model runs eagerly"  # noqa: SLF001
        elif isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
            model, note = model.module, f"taken out of {type(model).__name__}"
        else:
            break
        notes.append(note)
    return model, tuple(notes)


# ---- torch ----------------------------------------------------------------------------------------------------------


def _module(model: Any, notes: tuple[str, ...]) -> Adapted | None:
    if not isinstance(model, nn.Module):
        return None
    name = type(model).__name__
    for where, tensor in (*model.named_parameters(), *model.named_buffers()):
        if torch.nn.parameter.is_lazy(tensor) or tensor.is_meta:
            state = "not initialised" if torch.nn.parameter.is_lazy(tensor) else "on the meta device"
            raise ModelError(
                f"{name} has no weights yet: {where!r} is {state}. "
                "Load a checkpoint first: model.load_state_dict(…, assign=True)"
            )
    opaque = ""
    if isinstance(model, torch.jit.ScriptModule):
        name = getattr(model, "original_name", name)
        opaque = "is scripted by torch.jit, which takes no hooks"
    elif any(parent.__name__ == "_StatefulGraphModule" for parent in type(model).__mro__):
        name = "The exported model"
        opaque = "is exported by torch.export, its layers are gone"
    elif any(".quantized" in type(part).__module__ for part in model.modules()):
        opaque = "is quantised, which leaves no gradients"
    elif any(tensor.is_inference() for tensor in (*model.parameters(), *model.buffers())):
        opaque = "was built under torch.inference_mode(), which forbids gradients; explain copy.deepcopy(model) instead"
    first = next((part for part in model.modules() if isinstance(part, nn.Conv2d)), None)
    declared = {} if opaque else _declared(model)
    return Adapted(
        model, name, opaque, notes,
        batch=_static_batch(model) if opaque else None,
        **{"channels": first.in_channels if first is not None else None, **declared},
    )  # fmt: skip


def _exported(model: Any, notes: tuple[str, ...]) -> Adapted | None:
    if not isinstance(model, torch.export.ExportedProgram):
        return None
    return _module(model.module(), (*notes, "the exported program was made a module"))


def _static_batch(model: nn.Module) -> int | None:
    """The number of pictures that an exported graph was fixed to."""
    for node in model.graph.nodes if isinstance(model, torch.fx.GraphModule) else ():
        if node.op == "placeholder":
            shape = getattr(node.meta.get("val"), "shape", ())
            return shape[0] if len(shape) == 4 and isinstance(shape[0], int) else None
    return None


def _declared(model: nn.Module) -> dict[str, Any]:
    """What timm, transformers and torchvision write into their models about the pictures these want."""
    found: dict[str, Any] = {}
    timm = getattr(model, "pretrained_cfg", None)
    if isinstance(timm, Mapping):
        size = timm.get("input_size")
        if _is_size(size and size[-2:]):
            found["best_size"], found["channels"] = size[-1], size[0]
        if _is_numbers(timm.get("mean")) and _is_numbers(timm.get("std")):
            found["mean"], found["std"] = tuple(timm["mean"]), tuple(timm["std"])
    config = getattr(model, "config", None)
    names = getattr(config, "id2label", None)
    if isinstance(names, Mapping) and not all(str(v) == f"LABEL_{k}" for k, v in names.items()):
        found["class_names"] = names
    if isinstance(getattr(config, "num_channels", None), int):
        found["channels"] = config.num_channels
    if getattr(config, "problem_type", None) == "multi_label_classification":
        found["activation"] = "sigmoid"
    # Models with position embeddings take one size only; torchvision, timm and transformers call it differently.
    sizes = [getattr(part, "img_size", None) for part in model.modules() if type(part).__name__ == "PatchEmbed"]
    sizes.append(getattr(model, "image_size", None))
    if getattr(config, "model_type", "") not in ("resnet", "convnext", "convnextv2", "regnet"):
        sizes.append(getattr(config, "image_size", None))
    pairs = [(size, size) if isinstance(size, int) else size for size in sizes]
    fixed = next((size for size in pairs if _is_size(size)), None)
    if fixed:
        found["size"] = (fixed[0], fixed[1])
    return found


def _is_size(value: Any) -> bool:
    return isinstance(value, Sequence) and len(value) == 2 and all(isinstance(side, int) and side > 1 for side in value)


def _is_numbers(value: Any) -> bool:
    return isinstance(value, Sequence) and bool(value) and all(isinstance(v, (int, float)) for v in value)


# ---- others ---------------------------------------------------------------------------------------------------------


def _onnx(model: Any, notes: tuple[str, ...]) -> Adapted | None:
    """An ONNX Runtime session, known by what it offers, so that the package need not be imported."""
    if not all(hasattr(model, name) for name in ("run", "get_inputs", "get_outputs")):
        return None
    inputs = model.get_inputs()
    if len(inputs) != 1:
        asked = ", ".join(f"{each.name!r} {each.shape}" for each in inputs)
        raise ModelError(
            f"The ONNX model has {len(inputs)} inputs: {asked}. Pass a function of the picture alone: "
            "xw.explain(lambda batch: session.run(None, {…})[0], image)"
        )
    wanted, shape = inputs[0], list(inputs[0].shape)
    if len(shape) != 4:
        raise ModelError(f"The ONNX model's input {wanted.name!r} has shape {shape}; pictures (B, C, h, w) are needed.")
    dtype = _ONNX_TYPES.get(wanted.type)
    if dtype is None:
        raise ModelError(f"The ONNX model's input {wanted.name!r} holds {wanted.type}; floats are needed.")
    last = shape[3] in (1, 3, 4) and shape[1] not in (1, 3, 4)  # as TensorFlow lays pictures out
    batch, channels, height, width = (shape[0], shape[3], *shape[1:3]) if last else shape
    names = [output.name for output in model.get_outputs()]

    def ask(pictures: Tensor) -> Any:
        array = pictures.permute(0, 2, 3, 1) if last else pictures
        if dtype is np.uint8:
            array = (array * 255).round().clamp(0, 255)
        answers = model.run(None, {wanted.name: np.ascontiguousarray(array.cpu().numpy().astype(dtype))})
        return answers[0] if len(answers) == 1 else dict(zip(names, answers, strict=True))

    what = ["runs in ONNX Runtime"]
    if last:
        what.append("its pictures have their channels last")
    if dtype is np.uint8:
        what.append("values 0–1 handed over as 0–255")
    return Adapted(
        ask, "The ONNX model", "runs in ONNX Runtime, which only answers", (*notes, *what),
        batch=_whole(batch), channels=_whole(channels),
        size=(height, width) if _whole(height) and _whole(width) else None,
    )  # fmt: skip


_ONNX_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
}


def _whole(value: Any) -> int | None:
    """A static dimension; dynamic ones are strings or None."""
    return value if isinstance(value, int) and value > 0 else None


def _sklearn(model: Any, notes: tuple[str, ...]) -> Adapted | None:
    """An estimator with ``predict_proba``, or that method itself."""
    owner = getattr(model, "__self__", None)
    if getattr(model, "__name__", "") == "predict_proba" and hasattr(owner, "predict_proba"):
        model = owner
    if not callable(getattr(model, "predict_proba", None)) or isinstance(model, type):
        return None
    n_features = getattr(model, "n_features_in_", None)
    flat = n_features is not None or hasattr(model, "get_params")  # as every scikit-learn estimator wants it

    def ask(pictures: Tensor) -> Any:
        array = pictures.cpu().numpy()
        if flat:
            array = np.moveaxis(array, 1, -1).reshape(len(array), -1)
        answers = model.predict_proba(array)
        if isinstance(answers, list):  # one (B, 2) a label, from forests that learned several
            answers = np.stack([np.asarray(each)[:, -1] for each in answers], axis=1)
        return np.asarray(answers)

    channels, side = _square(n_features)
    classes = getattr(model, "classes_", None)
    named = isinstance(classes, np.ndarray) and classes.ndim == 1
    return Adapted(
        ask, type(model).__name__, "only answers, through predict_proba",
        (*notes, "asked through predict_proba" + (", pixels row by row, channels last" if flat else "")),
        channels=channels, size=(side, side) if side else None,
        class_names=[str(name) for name in classes] if named else None,
        activation="none", holds=held_modules(model),
    )  # fmt: skip


def _square(n_features: int | None) -> tuple[int | None, int | None]:
    """Channels and side of the square pictures that have so many values."""
    for channels in (1, 3):
        if n_features and n_features % channels == 0:
            side = round((n_features / channels) ** 0.5)
            if side > 1 and side * side * channels == n_features:
                return channels, side
    return None, None


def _function(model: Any, notes: tuple[str, ...]) -> Adapted | None:
    if not callable(model) or isinstance(model, type):
        return None
    owner = getattr(model, "__self__", None)
    if isinstance(owner, nn.Module) and model in (owner.forward, owner.__call__):
        return _module(owner, notes)
    inner = model.func if isinstance(model, functools.partial) else model
    name = getattr(inner, "__name__", type(inner).__name__)
    return Adapted(_Function(model), name, "is a plain callable", notes, holds=held_modules(model))


class _Function:
    """A function of a batch, given a tensor or, if it does not take that, a numpy array."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function
        self._arrays = False

    def __call__(self, pictures: Tensor) -> Any:
        if self._arrays:
            return self.function(pictures.cpu().numpy())
        try:
            return self.function(pictures)
        except torch.OutOfMemoryError:
            raise
        except Exception:
            try:
                answer = self.function(pictures.cpu().numpy())
            except Exception:  # noqa: BLE001 - what it said about the tensor is raised
                answer = None
            if answer is None:
                raise
        self._arrays = True
        return answer


def _no_model(model: Any) -> str:
    if isinstance(model, type):
        return f"{model.__name__} is a class, not a model. Make one: xw.explain({model.__name__}(…), image)"
    if isinstance(model, Mapping) and model and all(isinstance(value, Tensor) for value in model.values()):
        return (
            f"This is a state_dict of {len(model)} weights, not a model. Load it into one: "
            "model.load_state_dict(weights)"
        )
    if isinstance(model, str) and model.endswith(".onnx"):
        return f"{model!r} is a file. Open it: xw.explain(onnxruntime.InferenceSession({model!r}), image)"
    if isinstance(model, str):
        return f"{model!r} is a string, not a model. Load it first: model = torch.load({model!r}, weights_only=False)"
    return (
        f"A {type(model).__name__} cannot be called on a batch. Pass a torch module, or a function from a "
        "float tensor (B, C, h, w) to class scores (B, classes)."
    )
