"""Results of captum, shap, lime and pytorch-grad-cam as explanations: shown, kept and compared like our own.

None of these libraries is imported; what they return is arrays. A result keeps the name of what made it.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from xai_widgets import __version__, images, targets, views
from xai_widgets.errors import ArgumentError, InputError, TargetError, nearest
from xai_widgets.explanation import Explanation
from xai_widgets.segments import contiguous, segment


def from_captum(
    attribution: Any, *, image: Any, target: Any, method: Any = "captum", signed: bool | None = None, **about: Any
) -> Explanation:
    """See `Explanation.from_captum`."""
    if isinstance(attribution, (tuple, list)):
        raise InputError(
            f"A {type(attribution).__name__} of {len(attribution)} was given: attributions of several inputs, or one "
            "with its convergence delta. Pass the tensor alone: attribution[0]"
        )
    array = _numbers(attribution, "attribution")
    if array.ndim == 4:
        array = _only_one(array, "attribution")
    if array.ndim == 3:
        if array.shape[2] in (1, 3) and array.shape[0] not in (1, 3):
            raise InputError(
                f"The attribution has shape {array.shape}, channels last; captum's has them first. Pass "
                "np.moveaxis(attribution, -1, 0)"
            )
        picture = _read(image, array.shape[0], about)
        _must_fit(array.shape[1:], picture, "LayerAttribution.interpolate(attribution, {size})")
    elif array.ndim == 2:
        picture = _read(image, 3, about)
        _must_fit(array.shape, picture, "LayerAttribution.interpolate(attribution[None, None], {size})")
        array = array[None]
    else:
        raise InputError(
            f"The attribution has shape {array.shape}; a picture's is (C, H, W) or (1, C, H, W). Of features there is "
            "no map: ask captum for the attribution of the picture."
        )
    return _made(
        "captum", method, array.astype(np.float64).sum(0), picture, _target(target, about),
        signed=bool((array < 0).any()) if signed is None else signed,
        notes=[f"Its {len(array)} channels are added up"] if len(array) > 1 else [], **about,
    )  # fmt: skip


def from_shap(
    explanation: Any, *, target: Any = None, image: Any = None, method: Any = "Explanation", space: str | None = None,
    **about: Any,
) -> Explanation:  # fmt: skip
    """See `Explanation.from_shap`."""
    rich = hasattr(explanation, "values") and hasattr(explanation, "base_values")
    if isinstance(explanation, (list, tuple)):  # one array a class, as shap gave them before 0.45
        explanation = np.stack([_numbers(part, "values") for part in explanation], axis=-1)
    array = _numbers(explanation.values if rich else explanation, "values")
    if image is None:
        image = getattr(explanation, "data", None) if rich else None
        if image is None:
            raise ArgumentError("There is no picture in this. Pass the one that shap explained: image=…")
        try:
            picture = _read(image, None, about)
        except InputError as error:
            raise InputError(
                f"shap keeps what the model got, and that is no picture to look at. Pass the photo: image=… ({error})"
            ) from error
    else:
        picture = _read(image, None, about)
    values = _shap_layout(array, picture)  # (channels, h, w, outputs)
    names = getattr(explanation, "output_names", None) if rich else None
    names = [names] if isinstance(names, str) else None if names is None else [str(name) for name in np.ravel(names)]
    which, chosen = _output(target, values.shape[-1], names, about)
    if space is None:
        base = getattr(explanation, "base_values", None) if rich else None
        space = _space(base, values.sum((0, 1, 2)))
    return _made("shap", method, values[..., which].sum(0), picture, chosen, signed=True, space=space,
                 notes=[f"Its {len(values)} channels are added up"] if len(values) > 1 else [], **about)  # fmt: skip


def from_lime(
    explanation: Any, *, label: Any = None, image: Any = None, method: Any = "LimeImageExplainer",
    space: str = "probability", **about: Any,
) -> Explanation:  # fmt: skip
    """See `Explanation.from_lime`."""
    if not all(hasattr(explanation, name) for name in ("local_exp", "segments", "image")):
        raise ArgumentError(
            f"A {type(explanation).__name__} is no explanation of a picture by lime. Pass what "
            "LimeImageExplainer().explain_instance(…) returned."
        )
    known = [int(label) for label in explanation.local_exp]
    if label is None:
        label = explanation.top_labels[0] if getattr(explanation, "top_labels", None) else known[0]
    key, name = _target(label, about)
    if key not in known:
        raise TargetError(f"lime has explained the classes {known}, not {label!r}. Pass one of them: label={known[0]}")
    segments = np.asarray(explanation.segments)
    picture = _read(explanation.image if image is None else image, None, about)
    _must_fit(segments.shape, picture)
    found = {int(region): float(weight) for region, weight in explanation.local_exp[key]}
    regions = np.unique(segments)
    missing = sum(int(region) not in found for region in regions)
    weights = np.array([found.get(int(region), 0.0) for region in regions])
    about["segments"] = contiguous(segments)
    few = f"lime kept the weights of {len(regions) - missing} of {len(regions)} regions; the others are shown as 0."
    return _made("lime", method, weights[about["segments"]], picture, (key, name), signed=True, space=space,
                 weights=weights, warnings=[few] if missing else [], **about)  # fmt: skip


def from_gradcam(
    cam: Any, *, image: Any, target: Any, method: Any = "pytorch-grad-cam", target_layer: str | None = None,
    signed: bool | None = None, **about: Any,
) -> Explanation:  # fmt: skip
    """See `Explanation.from_gradcam`."""
    array = _numbers(cam, "map")
    if array.ndim == 3:
        array = _only_one(array, "map")
    if array.ndim != 2:
        raise InputError(
            f"The map has shape {array.shape}; pytorch-grad-cam's is (H, W) or (1, H, W). Pass what "
            "cam(input_tensor=…, targets=…) returned, not the picture it is painted on."
        )
    picture = _read(image, None, about)
    _must_fit(array.shape, picture)
    warnings = []
    if array.min() == 0 and 0.99 < array.max() <= 1:
        warnings.append(
            "pytorch-grad-cam has stretched this map to 0–1: it compares places, but does not say how much evidence "
            "there is, so maps of two classes cannot be compared."
        )
    signed = bool((array < 0).any()) if signed is None else signed
    return _made("pytorch-grad-cam", method, array, picture, _target(target, about), signed=signed,
                 warnings=warnings, target_layer=target_layer, **about)  # fmt: skip


# ---- parts -----------------------------------------------------------------------------------------------------------


def _numbers(data: Any, what: str) -> np.ndarray:
    try:
        array = images.to_numpy(data)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"A {type(data).__name__} holds no {what}: {error}. Pass an array or a tensor.") from error
    if array.dtype.kind not in "uifb" or array.ndim == 0:
        raise InputError(f"A {type(data).__name__} holds no {what}. Pass an array or a tensor of numbers.")
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        raise InputError(f"{bad:,} of {array.size:,} numbers of the {what} are NaN or infinite; no map shows that.")
    return array


def _only_one(array: np.ndarray, what: str) -> np.ndarray:
    if len(array) != 1:
        raise InputError(
            f"The {what} has shape {array.shape}: of {len(array)} pictures. Pass that of one: {what}[0]; and its image."
        )
    return array[0]


def _read(image: Any, channels: int | None, about: dict[str, Any]) -> images.Picture:
    """The picture; takes what says how to read it out of `about`."""
    if image is None:
        raise ArgumentError("There is no picture in this. Pass the one that was explained: image=…")
    how = {name: about.pop(name) for name in ("layout", "value_range", "mean", "std", "bands") if name in about}
    return images.read(image, channels=None if channels in (1, 3) else channels, **how)


def _must_fit(shape: Sequence[int], picture: images.Picture, line: str = "") -> None:
    height, width = picture.pixels.shape[:2]
    if tuple(shape) == (height, width):
        return
    do = f" Of a layer, enlarge it first: {line.format(size=(height, width))}" if line else ""
    raise InputError(
        f"The map has {shape[0]} × {shape[1]} rows and columns, the picture {height} × {width}. Pass the picture as "
        f"the model saw it, after resizing and cropping: image=…{do}"
    )


def _target(wanted: Any, about: Mapping[str, Any]) -> tuple[int | list[int] | None, str]:
    """The class as an explanation records it, and its name."""
    if wanted is None:
        raise TargetError("Say which class was explained: target=…, an index or a name.")
    names = about.get("class_names")
    if isinstance(wanted, str) and names is None:
        return None, wanted
    count = len(about["probabilities"]) if about.get("probabilities") is not None else len(names) if names else 0
    if not count:
        pair = wanted if isinstance(wanted, (tuple, list)) else [wanted]
        count = 1 + max((int(part) for part in pair if hasattr(part, "__index__")), default=0)
    found = targets.resolve(wanted, np.zeros(count), targets.check_names(names, count))
    return found.key, found.name


def _shap_layout(array: np.ndarray, picture: images.Picture) -> np.ndarray:
    """Shap's values as (channels, h, w, outputs), float64, whichever of its explainers made them."""
    height, width = picture.pixels.shape[:2]
    usual = {1, 3} if picture.data is None else {1, 3, len(picture.data)}
    shape = array.shape
    for lead in (1, 0) if shape[0] == 1 else (0,):  # an axis of one picture, rather than one of one channel
        rest = shape[lead:]
        if rest == (height, width):
            return array.reshape(1, height, width, 1).astype(np.float64)
        if rest[:2] == (height, width) and len(rest) in (3, 4) and rest[2] in usual:
            channels_last = array.reshape(height, width, rest[2], -1)
            return np.moveaxis(channels_last, 2, 0).astype(np.float64)
        if rest[1:3] == (height, width) and len(rest) in (3, 4) and rest[0] in usual:
            return array.reshape(rest[0], height, width, -1).astype(np.float64)
    if len(shape) >= 4 and shape[0] > 1 and (height, width) in (shape[1:3], shape[2:4]):
        raise InputError(
            f"These are the values of {shape[0]} pictures, shape {shape}. Pass those of one: explanation[0]"
        )
    raise InputError(
        f"The values have shape {shape}, the picture {height} × {width}. Values of a picture are (H, W, C) or "
        "(C, H, W), with a last axis for the outputs if there are several. Pass the picture as the model saw it: "
        "image=…"
    )


def _output(
    target: Any, count: int, names: list[str] | None, about: Mapping[str, Any]
) -> tuple[int, tuple[int | list[int] | None, str]]:
    """Which of shap's outputs is meant, and the class that it stands for."""
    classes = about.get("class_names")
    if names is not None and (len(names) != count or names == [f"Output {i}" for i in range(count)]):
        names = None  # shap's stand-ins: numbers of what it explained, which may be a choice of the classes
    if count == 1 and (target is None or names is None):
        if target is None and names is None:
            raise TargetError("Say which class was explained: target=…, an index or a name.")
        return 0, _target(names[0] if target is None and names else target, about)
    held = names or [targets.name_of(i, classes if classes and len(classes) == count else None) for i in range(count)]
    if target is None:
        raise TargetError(f"There are values of {count} outputs. Say which: target={held[0]!r}, or its index.")
    if names and classes and not isinstance(target, str):
        target = _target(target, about)[1]
    if isinstance(target, str):
        if target not in held:
            raise TargetError(
                f"No output is called {target!r}; there are {', '.join(held[:8])}.{nearest(target, held)}"
            )
        which = held.index(target)
    elif not hasattr(target, "__index__") or not 0 <= int(target) < count:
        raise TargetError(f"target={target!r} must be one of the outputs 0 to {count - 1}, or a name of one.")
    else:
        which = int(target)
    if classes and held[which] in classes:
        return which, (list(classes).index(held[which]), held[which])
    if names is None and classes and len(classes) != count:
        return which, (None, f"output {which}")  # which of the classes that is, shap did not say
    return which, (which, held[which])


def _space(base: Any, sums: np.ndarray) -> str:
    """What shap's values are differences of: probabilities where with the base value they all end between 0 and 1."""
    if base is None:
        return "logit"
    base = np.ravel(np.asarray(images.to_numpy(base), np.float64))
    if base.size not in (1, sums.size):
        return "logit"
    ends = np.concatenate([base, base + sums])
    return "probability" if ends.min() >= -1e-6 and ends.max() <= 1 + 1e-6 else "logit"


def _made(
    library: str,
    method: Any,
    values: np.ndarray,
    picture: images.Picture,
    chosen: tuple[int | list[int] | None, str],
    *,
    signed: bool,
    class_names: Any = None,
    probabilities: Any = None,
    space: str = "logit",
    segments: Any = "slic",
    n_segments: int = 50,
    weights: np.ndarray | None = None,
    target_layer: str | None = None,
    notes: Sequence[str] = (),
    warnings: Sequence[str] = (),
) -> Explanation:
    if space not in ("probability", "logit"):
        raise ArgumentError(f"space={space!r} must be 'probability' or 'logit'.")
    answer = np.zeros(0, np.float32)
    if probabilities is not None:
        answer = _numbers(probabilities, "probabilities").astype(np.float32)
        answer = answer[0] if answer.ndim == 2 and len(answer) == 1 else answer
        if answer.ndim != 1:
            raise InputError(f"probabilities= has shape {answer.shape}; it must hold one number a class.")
    names = None if class_names is None else targets.check_names(class_names, len(answer) or len(class_names))
    channels = 3 if picture.bands is None or picture.data is None else len(picture.data)
    view = views.view(picture, views.Preprocess(channels=channels))
    labels, cut = segment(view, segments, n_segments)
    size = list(picture.size)
    same = [] if np.ptp(values) else ["The map is the same everywhere: nothing was found that matters here."]
    title = method if isinstance(method, str) else getattr(method, "__name__", type(method).__name__)
    return Explanation(
        values=np.ascontiguousarray(values, np.float32),
        image=view.image,
        segments=labels,
        probabilities=answer,
        target=chosen[0],
        target_name=chosen[1],
        # Never the name of a method of ours: it was not ours that made the map.
        method=title if title.partition(":")[0].lower() == library else f"{library}: {title}",
        segment_values=weights,
        params={
            "input": {
                "source_size": size,
                "view_size": size,
                "to_source": list(view.to_source) if view.to_source else None,
                "picture_id": picture.digest,
                "steps": [*picture.notes, f"explained by {library} before it came here", *notes],
                "batch_size": None,
                "device": "",
                "model": [],
                "answers": "",
                "answers_in_words": f"scores that {library} does not hand on",
            }
        },
        space=space,
        signed=signed,
        additive=weights is not None,
        target_layer=target_layer,
        baseline=f"as {library} was told",
        warnings=(*warnings, *same, *cut),
        class_names=names,
        versions=_versions(library),
    )


def _versions(library: str) -> dict[str, str]:
    found = {"xai-widgets": __version__, "python": platform.python_version(), "numpy": version("numpy")}
    with suppress(PackageNotFoundError):  # the result may come from another machine
        found[library] = version("grad-cam" if library == "pytorch-grad-cam" else library)
    return found
