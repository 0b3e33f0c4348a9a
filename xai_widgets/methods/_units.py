"""What the views of units share: what a layer's channels answer to this picture, and what each adds to the class."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from xai_widgets.errors import MethodError
from xai_widgets.methods import _cam
from xai_widgets.problem import Problem

if TYPE_CHECKING:
    from xai_widgets.layers import Layer


class Reading(NamedTuple):
    """What the channels of a layer answer to the picture.

    Attributes
    ----------
    activations : ndarray, shape (channels, rows, cols)
        As the layer returned them, in single precision at least.
    shares : ndarray of float64, shape (channels, rows, cols)
        ``∂ score / ∂ A · A``: the part of every channel and place in the score linearised here.
    """

    activations: np.ndarray
    shares: np.ndarray

    @property
    def totals(self) -> np.ndarray:
        """What each channel adds to the score, float64 (channels,)."""
        return self.shares.sum((1, 2))


def read(problem: Problem, layer: Layer) -> Reading:
    """One pass forward and back through the model.

    Raises
    ------
    MethodError
        If the layer took no part in the answer, or numbers overflow.
    """
    from xai_widgets.images import to_numpy

    (seen,) = _cam.read(problem, layer.name)
    activations, gradients = to_numpy(seen.activations), to_numpy(seen.gradients)
    shares = activations.astype(np.float64) * gradients
    if not np.isfinite(shares).all():
        raise MethodError(
            f"The layer {layer.name!r} is not finite: its values or gradients overflow {problem.classifier.dtype}. "
            "Pass the model in full precision: model.float()"
        )
    return Reading(activations, shares)
