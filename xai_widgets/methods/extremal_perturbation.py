"""Extremal perturbation: the smooth mask of a given area through which the score is highest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xai_widgets.problem import Estimate, Pace, Problem, Steps
from xai_widgets.registry import MethodInfo, Param

if TYPE_CHECKING:
    from torch import Tensor

_CELLS = 32
"""Cells of the grid along the shorter side: the paper's step of 7 pixels at 224."""

_SMOOTH = 3.0
"""σ of the bumps in cells: the paper's 21 pixels at 224."""

_TEMPERATURE = 1 / 20
"""Of the smooth maximum; the paper's."""


_REACH = 9
"""How far a bump is followed, in cells: 3 σ, where it has fallen to a hundredth."""

_WEIGHT = 300.0
"""λ of the area, the paper's, for a score that changes by about 10 as logits of ImageNet networks do."""

_CHANGE = 10.0


def extremal_perturbation(problem: Problem, *, area: float = 0.1, n_steps: int = 200) -> Steps:
    """``argmax_m f(m x + (1 - m) off) - λ ‖sort(m) - r‖²`` over smooth masks m (Fong, Patrick and Vedaldi 2019, §3).

    ``r`` is 0 for the lower ``1 - area`` of the sorted cells and 1 for the rest, so that the area is a constraint and
    no price to be weighed. A mask is a grid p in [0, 1], 32 cells along the shorter side, under a smooth
    max-convolution with a Gaussian bump k of σ 3 cells (the paper's step of 7 and σ of 21 pixels at 224):
    ``m(u) = smax_v k(u - v) p(v)`` with ``smax z = Σ z exp(z/T) / Σ exp(z/T)``, T = 1/20. Gradient steps with momentum.

    Ours: "off" is the problem's baseline instead of a blur; m is enlarged bilinearly; the score counts in units of a
    tenth of ``f(x) - f(off)``, so that λ = 300 means the same for every model; λ grows from 0, so that the score
    chooses the place before the area is enforced, to four times that; 200 steps instead of 800, which is enough here.

    The values are the mask; nothing is drawn at random. `score_kept` is ``(f(m) - f(off)) / (f(x) - f(off))``.

    Proof: the mean of the mask is `area` to 0.03 for areas of 5 to 40 %; where one patch alone decides, the mask is
    above 0.7 on it on average; on random networks it keeps at least the score of the best of 200 random blobs of the
    same area; its smooth maximum equals the formula summed cell by cell to 1e-5, and its steps follow
    autograd's gradient to 1e-5 (tests/test_search.py).
    """
    from xai_widgets.gradients import gradient
    from xai_widgets.perturb import compose

    shape, total = problem.view.shape, n_steps + 3
    whole, empty = problem.scores(np.stack([np.ones(shape, bool), np.zeros(shape, bool)]))
    yield Estimate(done=2, total=total, n_forward=2)
    unit = float(whole - empty)
    mask, pace, reacts = Mask(shape, area), Pace(), False
    change = (problem.inputs - problem.off_inputs).float()
    for step in range(n_steps):
        picture = compose(problem, mask.values()[None])[0]
        # The score's change with each pixel of the mask.
        pull = (gradient(problem, picture).gradients[0].float() * change).sum(0).cpu() / (abs(unit) or 1.0)
        reacts = reacts or bool(pull.any())
        mask.step(_CHANGE * pull, _weight(step / n_steps))
        done = step + 3
        yield Estimate(values=mask.values() if reacts and pace.due() else None, done=done, total=total, n_forward=done)
    (score,) = problem.scores(mask.values()[None])
    warnings, checks = [], {}
    if not reacts:
        warnings.append(f"No mask changes the score of {problem.target.name}, so there is none to show.")
    elif unit <= 0:
        warnings.append(
            f"With every region off {problem.target.name} scores no lower ({empty:.3g}) than with the whole picture "
            f"({whole:.3g}): there is nothing to keep, and the mask shows what scores highest."
        )
    else:
        kept = float((score - empty) / unit)
        checks["score_kept"] = (kept, "good" if kept >= 0.5 else "rough")
    yield Estimate(
        values=mask.values() if reacts else np.zeros(shape, np.float32),
        coarse=mask.cells().numpy() if reacts else None,
        done=total,
        total=total,
        n_forward=total,
        checks=checks,
        warnings=tuple(warnings),
    )


def _weight(progress: float) -> float:
    """λ, from 0 to four times the paper's, which it reaches half-way."""
    return _WEIGHT * (2 * progress) ** 2


class Mask:
    """A smooth mask and how it climbs. Small enough for the CPU; its gradient is written out, so no graph is kept."""

    def __init__(self, shape: tuple[int, int], area: float) -> None:
        import torch

        step = max(1.0, min(shape) / _CELLS)
        self.grid = tuple(round(side / step) for side in shape)
        self.points = torch.full(self.grid, 0.5)
        self._speed = torch.zeros(self.grid)
        n = self.points.numel()
        self._wanted = (torch.arange(n) >= n - round(area * n)).float()
        places = torch.arange(-_REACH, _REACH + 1) ** 2
        self._bump = torch.exp(-(places[:, None] + places).flatten() / (2 * _SMOOTH**2))[:, None]
        self._enlarge = [_bilinear(cells, side) for cells, side in zip(self.grid, shape, strict=True)]
        self._smoothed = self._smooth()

    def cells(self) -> Tensor:
        """The mask on its grid."""
        return self._smoothed[2]

    def values(self) -> np.ndarray:
        """The mask on the view's grid, float32 (h, w)."""
        rows, columns = self._enlarge
        return (rows @ self.cells() @ columns.T).numpy()

    def _smooth(self) -> tuple[Tensor, Tensor, Tensor]:
        """Bumps at each place (around it, places), their weights, and the smooth maximum (grid)."""
        from torch.nn import functional

        bumps = self._bump * functional.unfold(self.points[None, None], 2 * _REACH + 1, padding=_REACH)[0]
        weights = (bumps / _TEMPERATURE).softmax(0)
        return bumps, weights, (weights * bumps).sum(0).reshape(self.grid)

    def gradient(self, pull: Tensor, weight: float) -> Tensor:
        """Of ``Σ pull · mask - weight · mean (sort(m) - r)²`` with respect to the points."""
        from torch.nn import functional

        bumps, weights, cells = self._smoothed
        rows, columns = self._enlarge
        order = cells.flatten().argsort(stable=True)
        wanted = self._wanted[order.argsort()].reshape(self.grid)
        slope = rows.T @ pull @ columns - 2 * weight * (cells - wanted) / cells.numel()
        inner = weights * (1 + (bumps - cells.flatten()) / _TEMPERATURE) * self._bump
        return functional.fold((inner * slope.flatten())[None], self.grid, 2 * _REACH + 1, padding=_REACH)[0, 0]

    def step(self, pull: Tensor, weight: float) -> None:
        """One step upwards; rate 0.01 and momentum 0.9."""
        self._speed = 0.9 * self._speed + self.gradient(pull, weight)
        self.points = (self.points + 0.01 * self._speed).clamp(0, 1)
        self._smoothed = self._smooth()


def _bilinear(cells: int, side: int) -> Tensor:
    """The matrix (side, cells) that enlarges a line."""
    import torch
    from torch.nn import functional

    return functional.interpolate(torch.eye(cells)[None], size=side, mode="linear", align_corners=False)[0].T


INFO = MethodInfo(
    name="extremal_perturbation",
    label="Extremal perturbation",
    family="perturbation",
    summary="The part of a given size that keeps the score highest. Says what is enough, not what else would be.",
    run=extremal_perturbation,
    params=(
        Param("area", float, 0.1, "Share of the picture that stays on; the paper's middle choice.", 0.01, 0.9),
        Param("n_steps", int, 200, "Gradient steps. Default: enough to settle here; the paper takes 800.", 1, 10_000),
    ),
    needs="gradients",
    signed=False,
    space="logit",
    cost=lambda problem, area=0.1, n_steps=200: n_steps + 3,
    source="Fong, Patrick and Vedaldi, Understanding Deep Networks via Extremal Perturbations, ICCV 2019",
    quick={"n_steps": 20},
)
