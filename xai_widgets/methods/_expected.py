"""Expected gradients and its relative with noise: gradients between the picture and a background of pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from xai_widgets.errors import ArgumentError
from xai_widgets.methods._noise import noise_scale
from xai_widgets.methods._paths import Moves, balance, line_integral
from xai_widgets.problem import Estimate, Problem, Steps
from xai_widgets.registry import Param

if TYPE_CHECKING:
    from torch import Tensor

BACKGROUND = Param(
    "background",
    object,
    None,
    "What the picture is compared with: a list of pictures of its size, or of names of baselines, as for baseline=; or "
    "a tensor (n, C, h, w) as the model is given it. Default: the baseline alone.",
)


def expected(problem: Problem, background: Any, n_samples: int, noise_level: float = 0.0) -> Steps:
    """Mean of ``(x - b) ⊙ ∂ score / ∂ x (b + α (x - b))`` over α in 0–1, b of the background, and noise on x."""
    from xai_widgets.gradients import flat, scores

    pictures = read_background(problem, background)
    rng = problem.rng()
    shares, which = draws(rng, n_samples, len(pictures))
    used = np.unique(which)
    total, done = cost(problem, background, n_samples), 0

    asked: list[np.ndarray] = []
    for found in scores(problem, ((problem.inputs if at < 0 else pictures[at])[None] for at in (-1, *used))):
        asked.append(found)
        done += len(found)
        yield Estimate(done=done, total=total, n_forward=done)
    whole, *answers = np.concatenate(asked).tolist()
    empty = np.zeros(len(pictures))
    empty[used] = answers

    # What each sample adds to the sum less what it should on average: all that is left is chance, and noise.
    surplus = empty[which] - whole
    moves, start, sampled = _moves(problem, pictures, shares, which, noise_level, rng), done, 0
    for sums, attribution in line_integral(problem, moves):
        surplus[sampled : sampled + len(sums)] += n_samples * sums
        sampled += len(sums)
        values, done = flat(attribution * (n_samples / sampled)), start + sampled
        report = _report(problem, values, whole, empty[which], surplus, shares) if done == total else {}
        yield Estimate(values=values, done=done, total=total, n_forward=done, **report)


def draws(rng: np.random.Generator, n_samples: int, n_pictures: int) -> tuple[np.ndarray, np.ndarray]:
    """α and the number of a background picture for each sample, in random order.

    One α falls into each `n_samples`-th of 0–1, and each picture is used as often as any other, or once more. Taken one
    by one they are distributed as if drawn freely; together their mean scatters less.
    """
    shares = rng.permutation((np.arange(n_samples) + rng.random(n_samples)) / n_samples)
    return shares, rng.permutation(np.resize(rng.permutation(n_pictures), n_samples))


def cost(problem: Problem, background: Any, n_samples: int) -> int:
    """Forward passes: the samples, the picture, and each background picture that is used."""
    return n_samples + 1 + min(n_samples, len(items_of(background)))


def _moves(
    problem: Problem, pictures: Tensor, shares: np.ndarray, which: np.ndarray, level: float, rng: np.random.Generator
) -> Moves:
    import torch

    from xai_widgets.gradients import wide

    inputs, scale = wide(problem.inputs), noise_scale(problem, level)
    for share, number in zip(shares, which, strict=True):
        end, start = inputs, wide(pictures[number])
        if scale:
            end = inputs + scale * torch.from_numpy(rng.standard_normal(inputs.shape, "float32")).to(inputs.device)
        yield start + float(share) * (end - start), (end - start) / len(shares)


def _report(
    problem: Problem, values: np.ndarray, whole: float, empty: np.ndarray, surplus: np.ndarray, shares: np.ndarray
) -> dict[str, Any]:
    """Whether the map adds up to ``whole`` less the mean of `empty`, and how far chance alone would take it off."""
    # There is one draw in each stratum of α, and second differences are free of the trend from one to the next.
    bends = np.diff(surplus[np.argsort(shares)], 2)
    error = float(np.sqrt(np.mean(bends**2) / 6 / len(surplus)))
    mean = float(empty.mean())
    report = balance(problem, values, whole, mean, f"Take more samples: n_samples={4 * len(shares)}")
    gap, verdict = report["checks"]["completeness_gap"]
    if verdict == "rough" and gap <= 2 * error:
        verdict = "within sampling error"
    checks = {
        "completeness_gap": (gap, verdict),
        "sampling_error": (error, "good" if error <= 0.05 * abs(whole - mean) + 1e-6 else "rough"),
    }
    return {**report, "checks": checks}


def items_of(background: Any) -> list[Any]:
    """One entry a picture."""
    if background is None:
        return [None]
    many = isinstance(background, (list, tuple)) or getattr(background, "ndim", 0) == 4
    return list(background) if many else [background]


def read_background(problem: Problem, background: Any) -> Tensor:
    """The background as model input (n, C, h, w)."""
    import torch

    items = items_of(background)
    if not items:
        raise ArgumentError("background= is empty; pass one picture or more, or None for the baseline alone.")
    return torch.stack(list(_inputs(problem, items)))


def _inputs(problem: Problem, items: list[Any]) -> Iterator[Tensor]:
    import torch

    from xai_widgets.baselines import baseline_picture

    shape = tuple(problem.inputs.shape)
    for item in items:
        if item is None:
            yield problem.off_inputs
        elif isinstance(item, torch.Tensor) or getattr(getattr(item, "dtype", None), "kind", "") == "f":
            if tuple(item.shape) != shape:
                raise ArgumentError(
                    f"background= holds numbers of shape {tuple(item.shape)}; as the model is given them each picture "
                    f"has {shape}. Pictures themselves may be uint8 arrays (h, w, 3) or PIL images."
                )
            given = problem.classifier.tensor(item).detach()
            if not bool(torch.isfinite(given).all()):
                raise ArgumentError("background= holds numbers that are NaN or infinite.")
            yield given
        else:
            planes = baseline_picture(problem.view, problem.labels, item, problem.seed)
            yield problem.classifier.tensor(problem.view.encode(planes))
