"""DeepLIFT SHAP: DeepLIFT averaged over a background of pictures."""

from __future__ import annotations

from typing import Any

import numpy as np

from xai_widgets.problem import Estimate, Problem, Steps
from xai_widgets.registry import MethodInfo, Param

_WHY = "Numbers of this size are lost in rounding."


def deeplift_shap(problem: Problem, *, background: Any = None) -> Steps:
    """Mean over the background of DeepLIFT's maps (Lundberg and Lee 2017, §4.2): captum's DeepLiftShap.

    It adds up to the score less its mean over the background. captum and shap have no default background; without data
    it is every baseline that the package knows besides the one chosen: own average colours, blur, grey, black, noise.

    Proof: equals captum's DeepLiftShap to 1e-5 on a network of ReLUs; is the mean of DeepLIFT's maps of each picture
    (tests/test_rules.py).
    """
    import torch

    from xai_widgets import gradients
    from xai_widgets.methods import _expected
    from xai_widgets.methods._paths import balance
    from xai_widgets.rules.rescale import lift

    pictures = _expected.read_background(problem, _items(problem, background))
    total: torch.Tensor | int = 0
    parts, whole, empty = 0, 0.0, []
    for found in gradients.batches(problem, [pictures], lambda p, batch: lift(p, batch, "DeepLIFT SHAP")):
        total = total + found.contributions.sum(0)
        parts += len(found.empty)
        empty.extend(found.empty)
        whole = float(found.whole[0])
        values, last = gradients.flat(total / parts), parts == len(pictures)
        report = balance(problem, values, whole, float(np.mean(empty)), _WHY) if last else {}
        yield Estimate(values=values, done=2 * parts, total=2 * len(pictures), n_forward=2 * parts, **report)


def _items(problem: Problem, background: Any) -> list[Any]:
    """One entry a picture, as `_expected` takes them: None is the baseline that was chosen."""
    from xai_widgets.baselines import BASELINES, baseline_picture
    from xai_widgets.methods import _expected

    if background is not None:
        return _expected.items_of(background)
    names = ("mean", "blur") if problem.view.stretched else BASELINES
    made = {name: baseline_picture(problem.view, problem.labels, name, problem.seed) for name in names}
    return [None, *(name for name, picture in made.items() if not np.array_equal(picture, problem.baseline))]


INFO = MethodInfo(
    name="deeplift_shap",
    label="DeepLIFT SHAP",
    family="gradient",
    summary="DeepLIFT averaged over background pictures, so that no single baseline decides. It adds up.",
    run=deeplift_shap,
    params=(
        Param(
            "background",
            object,
            None,
            "What the picture is compared with: a list of pictures of its size, or of names of baselines, as for "
            "baseline=; or a tensor (n, C, h, w) as the model is given it. Default: the baseline and every other kind.",
        ),
    ),
    needs="canonical",
    differentiates=False,
    linear=True,
    space="logit",
    cost=lambda problem, background=None: 2 * len(_items(problem, background)),
    source="Lundberg and Lee, A Unified Approach to Interpreting Model Predictions, NeurIPS 2017",
)
