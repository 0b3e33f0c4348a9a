"""Center: a bump in the middle of the picture, whatever the model and the picture."""

from __future__ import annotations

import numpy as np

from xai_widgets.methods._controls import unasked
from xai_widgets.problem import Problem, Steps
from xai_widgets.registry import MethodInfo


def center(problem: Problem) -> Steps:
    """``exp(-½ (y/σ_y)² - ½ (x/σ_x)²)``, y and x from the middle, each σ a quarter of that side.

    Photographers put things into the middle, so a centre bump scores well in tests of pointing and of annotated boxes
    (Judd et al. 2009 use one as a baseline for where people look); a method should beat it.

    Proof: it equals the formula to 1e-6 and is the same for every model, class and picture (tests/test_controls.py).
    """
    rows, columns = (
        np.exp(-0.5 * ((np.arange(side) - (side - 1) / 2) / (side / 4)) ** 2) for side in problem.view.shape
    )
    yield unasked(np.outer(rows, columns))


INFO = MethodInfo(
    name="center",
    label="Centre",
    family="control",
    summary="A bump in the middle, always. It knows neither model nor picture; a method should beat it.",
    run=center,
    signed=False,
    cost=lambda problem: 0,
    source="Judd et al., Learning to Predict Where Humans Look, ICCV 2009 (as a baseline)",
    aliases=("centre",),
)
