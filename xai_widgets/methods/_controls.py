"""What the controls share: they answer without having asked the model, and say so."""

from __future__ import annotations

import numpy as np

from xai_widgets.problem import Estimate


def unasked(values: np.ndarray) -> Estimate:
    """The only estimate of a control, with the warning that goes with every one."""
    note = "A control: the model was not asked. Whatever looks convincing here does so without having seen it."
    return Estimate(values=values.astype(np.float32), warnings=(note,))
