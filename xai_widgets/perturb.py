"""The engine of everything that perturbs: a stream of masks in, the model's answers out.

Pictures are composed on the model's device, one batch at a time, so memory does not grow with the number of samples.
Closing the stream stops it between two batches; the model is inside the guard only while a batch runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from xai_widgets.problem import Problem

AUTO_BATCH = {"cpu": 4, "cuda": 64}
"""On a CPU the activations of a small batch stay in its caches; a GPU wants many pictures at once."""


def compose(problem: Problem, masks: np.ndarray) -> Tensor:
    """Pictures with parts switched off, as model input.

    Parameters
    ----------
    problem : Problem
    masks : ndarray, shape (n, S) or (n, h, w)
        True or 1 keeps a region or pixel, False or 0 takes the baseline's, floats in between mix the two.

    Returns
    -------
    Tensor, shape (n, C, h, w)
    """
    kept = torch.tensor(masks, device=problem.classifier.device)
    if kept.ndim == 2:
        kept = kept[:, problem.label_tensor]
    kept = kept[:, None]
    if kept.dtype == torch.bool:
        return torch.where(kept, problem.inputs, problem.off_inputs)
    return torch.lerp(problem.off_inputs, problem.inputs, kept.to(problem.inputs.dtype))


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
    size = problem.batch_size
    if size == "auto":
        size = AUTO_BATCH.get(problem.classifier.device.type, 16)
    for chunk in masks:
        start = 0
        while start < len(chunk):
            batch = chunk[start : start + size]
            try:
                answers = problem.classifier.answers(compose(problem, batch), problem.space)
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
                size = max(1, len(batch) // 2)
                continue
            yield batch, answers
            start += len(batch)
