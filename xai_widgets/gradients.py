"""The engine of everything that differentiates: a stream of pictures in, the target's gradients out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from xai_widgets.errors import MethodError

if TYPE_CHECKING:
    from xai_widgets.problem import Problem

_Answer = TypeVar("_Answer")

AT_ONCE = {"cpu": 4, "cuda": 64}
"""Pictures at once: fewer than are asked without gradients, for all that a model computes on the way must be kept."""


class Gradients(NamedTuple):
    """One batch of answers.

    Attributes
    ----------
    inputs : Tensor, shape (b, C, h, w)
    gradients : Tensor, shape (b, C, h, w)
        ``∂ score / ∂ input`` of each picture.
    scores : Tensor, shape (b,)
        The target's number for each picture, in the problem's space.
    """

    inputs: Tensor
    gradients: Tensor
    scores: Tensor


def gradients(problem: Problem, chunks: Iterable[Tensor]) -> Iterator[Gradients]:
    """Ask for the target's gradient at a stream of pictures.

    Parameters
    ----------
    problem : Problem
    chunks : iterable of Tensor
        Model input on the model's device, each (n, C, h, w) of any n; may be a generator, and is read no faster than
        it is used.

    Yields
    ------
    Gradients
        In order, in batches that fit into memory, whatever the chunks. Closing the stream stops it between two batches;
        the model is inside the guard only while a batch runs.

    Raises
    ------
    MethodError
        If no gradient reaches the picture.
    """
    return batches(problem, chunks, _ask)


def gradient(problem: Problem, picture: Tensor) -> Gradients:
    """The same for one picture (C, h, w); the batch has one row."""
    return _ask(problem, picture[None])


def scores(problem: Problem, chunks: Iterable[Tensor]) -> Iterator[np.ndarray]:
    """The target's number for a stream of pictures, without gradients, as float64 (b,); a batch at a time, as above."""
    return batches(problem, chunks, _score)


def batches(problem: Problem, chunks: Iterable[Tensor], ask: Callable[[Problem, Tensor], _Answer]) -> Iterator[_Answer]:
    """Put a question to a stream of pictures, or of whatever else it is about.

    Parameters
    ----------
    problem : Problem
    chunks : iterable of Tensor
        What the question is about, each (n, …) of any n; may be a generator, and is read no faster than it is used.
    ask : callable
        Gets the problem and a batch (b, …); what it returns is yielded.

    Yields
    ------
    object
        In order, one answer a batch. A batch that does not fit into memory is halved, and so are those after it.
    """
    size = problem.batch_size
    if size == "auto":
        size = AT_ONCE.get(problem.classifier.device.type, 16)
    pictures = chain.from_iterable(chunks)
    while batch := list(islice(pictures, size)):
        try:
            found = ask(problem, torch.stack(batch))
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
            size = len(batch) // 2
            pictures = chain(batch, pictures)
            continue
        yield found


def _ask(problem: Problem, batch: Tensor) -> Gradients:
    classifier = problem.classifier
    with classifier.differentiable(batch) as (leaf, forward):
        scores = problem.target.of(forward(leaf, problem.space))
        found = classifier.gradient(scores.sum(), leaf, "its input")
    return Gradients(batch, found.detach(), scores.detach())


def _score(problem: Problem, batch: Tensor) -> np.ndarray:
    # A target of the user's own is written for tensors where gradients are wanted.
    answers = torch.from_numpy(problem.classifier.answers(batch, problem.space))
    return problem.target.of(answers).numpy()


def wide(tensor: Tensor) -> Tensor:
    """The same in single precision at least: what half precision is added up in."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def flat(attribution: Tensor) -> np.ndarray:
    """One number a pixel: the sum over channels of an attribution (C, h, w), float32 (h, w).

    The sum keeps the sign and what adds up; a picture's channels are no features of their own to a reader.

    Raises
    ------
    MethodError
        If it is not finite.
    """
    values = attribution.detach().cpu().double().sum(0)  # the CPU has doubles, not every device does
    if not bool(torch.isfinite(values).all()):
        raise MethodError(
            "The map is not finite: gradients overflow the model's precision. Pass the model in full precision: "
            "model.float()"
        )
    return values.numpy().astype(np.float32)


def completeness(values: np.ndarray, whole: float, empty: float) -> dict[str, tuple[float, str]]:
    """The check of a map that should add up to ``whole - empty``: by how much it does not, and whether that is little.

    Up to a hundredth of the difference is "good", as users of integrated gradients are advised (Sundararajan et al.
    2017, §5: within 5 %, with more steps if not).
    """
    gap = abs(float(np.sum(values, dtype=np.float64)) - (whole - empty))
    little = 0.01 * abs(whole - empty) + 1e-6 * max(abs(whole), abs(empty))
    return {"completeness_gap": (gap, "good" if gap <= little else "rough")}
