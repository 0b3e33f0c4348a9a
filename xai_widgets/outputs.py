"""Any answer of a model → scores (B, classes), and what kind of scores they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xai_widgets.errors import ArgumentError, ModelError

SPACES = ("probability", "logit")

KINDS = {
    "logits": "logits, softmax makes them probabilities",
    "probabilities": "probabilities of one class among several",
    "single logit": "one logit for two classes, sigmoid makes it a probability",
    "single probability": "one probability for two classes",
    "multi-label logits": "a logit a class, each for itself; sigmoid makes them probabilities",
    "multi-label probabilities": "a probability a class, each for itself",
}
"""What a model's scores may be → in words."""

ACTIVATIONS = ("softmax", "sigmoid", "none")
"""What `activation=` may say: which function turns the model's scores into probabilities."""


def pick(raw: Any, output: Any, name: str) -> Any:
    """The part of an answer that holds the classes.

    Parameters
    ----------
    raw : object
        Tensor, array, list of numbers, tuple, dict, dataclass or ModelOutput.
    output : str, int, callable or None
        Which part, or a function of the answer. None finds it: ``logits``, or the only tensor there is.
    name : str
        The model's, for errors.

    Raises
    ------
    ModelError
        If there are several tensors and none is called ``logits``, or `output` is not there.
    """
    if callable(output):
        try:
            return output(raw)
        except Exception as error:
            raise ModelError(f"output= raised {type(error).__name__}: {error} on {_describe(raw)}.") from error
    parts = _parts(raw)
    if output is not None:
        try:
            if isinstance(output, str) and not isinstance(raw, Mapping):
                return getattr(raw, output)
            return raw[output]
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            known = f"; it has {', '.join(map(repr, parts))}" if parts else ""
            raise ModelError(f"output={output!r} is not in the answer, {_describe(raw)}{known}.") from error
    if _is_array(raw):
        return raw
    if _is_array(getattr(raw, "logits", None)):  # ModelOutput, GoogLeNet's and Inception's named tuples
        return raw.logits
    arrays = {key: part for key, part in parts.items() if _is_array(part)}
    if "logits" in arrays:
        return arrays["logits"]
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    if arrays:
        found = ", ".join(f"{key!r} {tuple(part.shape)}" for key, part in arrays.items())
        raise ModelError(
            f"{name} answered with several tensors: {found}. Say which holds the classes: output={next(iter(arrays))!r}"
        )
    return raw


def rows(raw: Any, n: int, output: Any, name: str) -> Tensor:
    """Scores (n, classes), float32 or better, of an answer to a batch of `n` pictures.

    Raises
    ------
    ModelError
        If there are none in it, with the line to type where one can be told.
    """
    answer = _tensor(pick(raw, output, name), name)
    if answer.ndim == 0 and n == 1:
        answer = answer[None]
    if answer.ndim == 1 and len(answer) == n:
        answer = answer[:, None]
    if answer.ndim == 1 and n == 1 and len(answer) > 0:
        raise ModelError(
            f"{name} answered with shape {tuple(answer.shape)} for a batch of one picture; (1, classes) is needed. If "
            "it drops the axis of the batch, keep that: output=lambda y: y.reshape(-1, " + f"{len(answer)})"
        )
    while answer.ndim > 2 and answer.shape[-1] == 1:
        answer = answer[..., 0]
    if answer.ndim > 2:
        what = "several rows a picture, not one. To explain their mean pass output=lambda y: y.mean(1)"
        if answer.ndim > 3:
            axes = ", ".join(map(str, range(2, answer.ndim)))
            what = (
                "scores for every pixel: this looks like segmentation. To explain the mean score of a class pass "
                f"output=lambda y: y.mean(({axes}))"
            )
        raise ModelError(f"{name} answered with shape {tuple(answer.shape)}, {what}")
    if answer.ndim != 2 or len(answer) != n or answer.shape[1] == 0:
        raise ModelError(f"{name} answered with shape {tuple(answer.shape)}; ({n}, classes) is needed.")
    if answer.is_complex():
        raise ModelError(f"{name} answered with complex numbers; real scores are needed: output=lambda y: y.abs()")
    finite = torch.isfinite(answer)
    if not bool(finite.all()):
        bad = int((~finite).sum())
        raise ModelError(f"{name} answered with {bad} scores that are NaN or infinite; are its weights sound?")
    return answer if answer.dtype == torch.float64 else answer.float()


def kind_of(answers: Tensor, activation: str | None = None) -> str:
    """What kind of scores these are: a key of `KINDS`.

    Parameters
    ----------
    answers : Tensor, shape (B, classes)
        To as many and as different pictures as can be had: that all of them lie in 0–1 is what tells a probability.
    activation : {"softmax", "sigmoid", "none"}, optional
        What the user says.
    """
    single = answers.shape[1] == 1
    bounded = bool(((answers >= 0) & (answers <= 1)).all())
    summed = bool(((answers.sum(1) - 1).abs() < 2e-3).all()) and bool((answers >= 0).all())
    if activation not in (None, *ACTIVATIONS):
        raise ArgumentError(f"activation={activation!r} must be one of {', '.join(map(repr, ACTIVATIONS))}.")
    if activation == "none" and not bounded:
        low, high = float(answers.min()), float(answers.max())
        raise ArgumentError(
            f'activation="none" says that the answers are probabilities, but they go from {low:.3g} to {high:.3g}. '
            'Pass activation="softmax" for one class among several, "sigmoid" for classes each for itself.'
        )
    if activation == "softmax" and single:
        raise ArgumentError('activation="softmax" of one score is always 1. Pass activation="sigmoid", or "none".')
    if single:
        probability = activation == "none" or (activation is None and bounded and bool(answers.any()))
        return "single probability" if probability else "single logit"
    if activation == "softmax":
        return "logits"
    if activation == "sigmoid":
        return "multi-label logits"
    if summed:
        return "probabilities"
    return "multi-label probabilities" if activation == "none" or (bounded and bool(answers.any())) else "logits"


def finish(scores: Tensor, kind: str, space: str) -> Tensor:
    """Raw scores (B, classes) of a kind → probabilities or logits (B, classes).

    One logit z becomes (-z/2, z/2), so that its softmax is (1-σ, σ) and the two classes' maps are negatives. The logit
    of a probability p is ``log p`` where the classes share one, ``log p / (1 - p)`` where each has its own.
    """
    if kind == "single probability" and space == "logit":
        scores, kind = scores.clamp(1e-7, 1 - 1e-7).logit(), "single logit"
    if kind == "single logit":
        scores, kind = torch.cat([-scores / 2, scores / 2], 1), "logits"
    elif kind == "single probability":
        scores, kind = torch.cat([1 - scores, scores], 1), "probabilities"
    if kind == "logits":
        return scores.softmax(1) if space == "probability" else scores
    if kind == "multi-label logits":
        return scores.sigmoid() if space == "probability" else scores
    if space == "probability":
        return scores
    scores = scores.clamp(1e-12, 1)
    return scores.log() if kind == "probabilities" else scores.clamp_max(1 - 1e-7).logit()


def _is_array(value: Any) -> bool:
    return isinstance(value, (Tensor, np.ndarray))


def _tensor(answer: Any, name: str) -> Tensor:
    if not isinstance(answer, Tensor):
        foreign = not isinstance(answer, (str, bytes, Mapping))
        try:
            array = np.asarray(answer) if foreign else np.asarray(None)  # lists of numbers, arrays of other libraries
        except Exception:  # noqa: BLE001 - whatever it is, it is no array
            array = np.asarray(None)
        if array.dtype.kind not in "fiubc":
            raise ModelError(
                f"{name} answered with {_describe(answer)}; scores of shape (B, classes) are needed. "
                "Say where they are: output=lambda answer: …"
            )
        answer = torch.from_numpy(np.ascontiguousarray(array, array.dtype.newbyteorder("=")))
    return answer.dequantize() if answer.is_quantized else answer.to_dense() if answer.is_sparse else answer


def _describe(raw: Any) -> str:
    kind = type(raw).__name__
    return f"an {kind}" if kind[:1].lower() in "aeiou" else f"a {kind}"


def _parts(raw: Any) -> dict[Any, Any]:
    if isinstance(raw, Mapping):
        return dict(raw)
    if isinstance(raw, Sequence) and not isinstance(raw, (str, bytes)):
        return dict(enumerate(raw))
    if dataclasses.is_dataclass(raw) and not isinstance(raw, type):
        return {f.name: getattr(raw, f.name) for f in dataclasses.fields(raw)}
    return {}
