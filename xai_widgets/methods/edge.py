"""Edge: how much the picture changes at each pixel, whatever the model."""

from __future__ import annotations

import numpy as np

from xai_widgets.methods._controls import unasked
from xai_widgets.problem import Problem, Steps
from xai_widgets.registry import MethodInfo


def edge(problem: Problem) -> Steps:
    """Sobel's gradient magnitude of what the model sees, levels 0 to 1, averaged over the channels.

    Adebayo et al. (2018) found that maps of some methods look like an edge detector's and stay so when the model is
    scrambled: compare with this one before believing that a crisp outline is an explanation.

    Proof: equals ``skimage.filters.sobel`` of each channel, averaged, to 1e-6, is zero on a flat picture and peaks on a
    step, and is the same for every model and class (tests/test_controls.py).
    """
    from skimage.filters import sobel

    levels = problem.view.planes.astype(np.float32) / 255
    values = np.mean([sobel(levels[..., channel]) for channel in range(levels.shape[-1])], axis=0)
    yield unasked(values)


INFO = MethodInfo(
    name="edge",
    label="Edges",
    family="control",
    summary="The picture's edges. It knows the picture but not the model; crisp outlines alone explain nothing.",
    run=edge,
    signed=False,
    cost=lambda problem: 0,
    source="Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018 (as a control)",
)
