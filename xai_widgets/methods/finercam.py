"""Finer-CAM: Grad-CAM of what sets the class apart from those most like it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xai_widgets.errors import MethodError
from xai_widgets.methods._cam import TARGET_LAYER, estimate, read
from xai_widgets.problem import Problem, Steps
from xai_widgets.registry import MethodInfo, Param
from xai_widgets.targets import name_of

if TYPE_CHECKING:
    from torch import Tensor


def finercam(problem: Problem, *, target_layer: Any = None, alpha: float = 0.6, n_similar: int = 3) -> Steps:
    """Grad-CAM of ``y_c - α mean_d y_d`` over the classes d most like c (Zhang et al. 2025).

    Most alike are the classes whose scores are closest to the target's. Of a target ``(a, b)`` the class b is the one
    to compare with. Strength 0.6, the paper's γ, and three classes are the paper's; 0 is Grad-CAM. pytorch-grad-cam
    weights the differences by the classes' probabilities and differentiates those too, which the paper does not.

    Proof: equals torchcam before its min-max to 1e-5, and pytorch-grad-cam for one similar class (tests/test_cams.py).
    """
    target = problem.target
    if target.index is None:
        raise MethodError(
            f"Finer-CAM compares classes, and {target.name} is a function. Name a class or two: target=(3, 5)"
        )
    similar: list[int] = []

    def apart(rows: Tensor) -> Tensor:
        if target.rather_than is not None:
            similar.append(target.rather_than)
        else:
            distance = (rows[0] - rows[0, target.index]).detach().abs()
            distance[target.index] = float("inf")
            similar.extend(distance.argsort(stable=True)[: min(n_similar, len(distance) - 1)].tolist())
        return rows[:, target.index] - alpha * rows[:, similar].mean(1)

    readings = read(problem, target_layer, apart)
    maps = [(g.mean((1, 2), keepdim=True) * a).sum(0).relu() for _, a, g in readings]
    compared = f"It is compared with {', '.join(name_of(each, problem.class_names) for each in similar)}."
    yield estimate(problem, INFO, readings, maps, warnings=(compared,))


INFO = MethodInfo(
    name="finercam",
    label="Finer-CAM",
    family="cam",
    summary="Support for the class rather than for those most like it. One quick call; coarse, and shows support only.",
    run=finercam,
    params=(
        TARGET_LAYER,
        Param("alpha", float, 0.6, "How much of the other classes is taken off; the paper's. 0 is Grad-CAM.", 0, 1),
        Param("n_similar", int, 3, "How many classes to compare with, of closest score; the paper's.", 1, 100),
    ),
    needs="layer",
    signed=False,
    space="logit",
    source="Zhang et al., Finer-CAM, CVPR 2025",
)
