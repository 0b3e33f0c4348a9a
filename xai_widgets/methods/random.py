"""Random: smooth blotches that know nothing."""

from __future__ import annotations

from xai_widgets.methods._controls import unasked
from xai_widgets.problem import Problem, Steps
from xai_widgets.registry import MethodInfo


def random(problem: Problem) -> Steps:
    """Seeded white noise under a Gaussian of a sixteenth of the shorter side, shifted to begin at 0.

    Smooth, so that it looks like the maps it is compared with; the field has no borders, so that every pixel is equally
    likely to be high. Another seed gives another map: ask for several.

    Proof: equals scipy's filter of the seeded noise to 1e-6; over 300 seeds the mean of every eighth of the picture is
    within 5 % of the whole's; the same for every model, class and picture (tests/test_controls.py).
    """
    from scipy.ndimage import gaussian_filter

    shape = problem.view.shape
    field = gaussian_filter(problem.rng().standard_normal(shape), min(shape) / 16, mode="wrap")
    yield unasked(field - field.min())


INFO = MethodInfo(
    name="random",
    label="Random",
    family="control",
    summary="Smooth noise. It knows neither model nor picture; what it scores in a test is what nothing scores.",
    run=random,
    signed=False,
    cost=lambda problem: 0,
    source="a control",
)
