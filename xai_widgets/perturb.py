"""The stream of everything that perturbs: masks in, the model's answers out.

Pictures are composed on the model's device, one batch at a time, so memory does not grow with the number of samples.
Closing the stream stops it between two batches; the model is inside the guard only while a batch runs. A mask that was
asked about before is answered from memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from xai_widgets.answers import Answers

if TYPE_CHECKING:
    from xai_widgets.problem import Problem


def compose(problem: Problem, masks: np.ndarray, out: Tensor | None = None) -> Tensor:
    """Pictures with parts switched off, as model input.

    Parameters
    ----------
    problem : Problem
    masks : ndarray, shape (n, S) or (n, h, w)
        True or 1 keeps a region or pixel, False or 0 takes the baseline's, floats in between mix the two.
    out : Tensor, shape (m, C, h, w), optional
        Where to put them, for m ≥ n.

    Returns
    -------
    Tensor, shape (n, C, h, w)
    """
    kept = torch.tensor(masks, device=problem.classifier.device)
    if kept.ndim == 2:
        kept = kept.index_select(1, problem.label_tensor).reshape(len(masks), *problem.view.shape)
    kept, out = kept[:, None], None if out is None else out[: len(masks)]
    if kept.dtype == torch.bool:
        return torch.where(kept, problem.inputs, problem.off_inputs, out=out)
    return torch.lerp(problem.off_inputs, problem.inputs, kept.to(problem.inputs.dtype), out=out)


def perturb(problem: Problem, masks: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Ask the model about a stream of masks.

    Parameters
    ----------
    problem : Problem
    masks : iterable of ndarray
        Chunks of any length, each (n, S) or (n, h, w); may be a generator, and is read no faster than it is used.

    Yields
    ------
    masks : ndarray, shape (b, S) or (b, h, w)
    answers : ndarray of float64, shape (b, classes)
        In the problem's space.
    """
    from xai_widgets.engine import engine_of

    classifier, tally = problem.classifier, problem.tally
    stamp = classifier.stamp()
    engine = problem.engine or engine_of(classifier, stamp)
    plan = problem.given_plan or engine.few(classifier, problem.batch_size, quick=True)
    kept = problem.answers.of(stamp)
    size = min(plan.batch_size, tally.largest or plan.batch_size)
    # One place for all batches: if each had its own, the answers that are kept would lie between them, and memory that
    # is given back could not be used again.
    place = problem.inputs.new_empty(0, *problem.inputs.shape)
    for chunk in masks:
        keys = Answers.keys(chunk, problem.space, plan.runtime, plan.precision)
        start = 0
        while start < len(chunk):
            stop, unknown = _reach(kept, keys, start, size)
            try:
                if len(place) < len(unknown):
                    place = problem.inputs.new_empty(len(unknown), *problem.inputs.shape)
                asked = compose(problem, chunk[unknown], place) if unknown else None
                found = () if asked is None else engine.answers(classifier, plan, asked, problem.space)
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
                tally.largest = size = max(1, min(size, len(unknown)) // 2)
                place = problem.inputs.new_empty(0, *problem.inputs.shape)
                continue
            fresh = dict(zip(unknown, found, strict=True))
            for at, answer in fresh.items():
                kept.put(keys[at], answer, pixels=chunk.ndim == 3)
            rows = [fresh[at] if at in fresh else kept.get(keys[at]) for at in range(start, stop)]
            tally.asked += len(unknown)
            tally.reused += stop - start - len(unknown)
            yield chunk[start:stop], np.stack(rows)
            start = stop


def _reach(kept: Answers, keys: list, start: int, size: int) -> tuple[int, list[int]]:
    """How far one batch of questions reaches, and which of the masks until there must be asked about."""
    unknown: list[int] = []
    for at in range(start, len(keys)):
        if kept.get(keys[at]) is None:
            if len(unknown) == size:
                return at, unknown
            unknown.append(at)
    return len(keys), unknown
