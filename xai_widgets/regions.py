"""The regions of one picture and what is behind them: made when somebody asks, for not every method does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from xai_widgets.baselines import baseline_picture
from xai_widgets.segments import check, segment
from xai_widgets.views import View

_SURE = ("mean", "blur")
"""Baselines that every view has."""


class Regions:
    """Where the picture is cut, and how it looks with every region switched off.

    Parameters
    ----------
    view : View
    segments, n_segments
        As for `segments.segment`.
    baseline, seed
        As for `baselines.baseline_picture`.
    around : callable
        Makes the context in which code of the user's runs: a baseline may go through the preprocessing.

    Raises
    ------
    XaiError
        At once, if it cannot be made: what is not certain to succeed is made now.
    """

    def __init__(
        self,
        view: View,
        segments: Any,
        n_segments: int,
        baseline: Any,
        seed: int,
        around: Callable[[], AbstractContextManager] = nullcontext,
    ) -> None:
        self._view, self._around = view, around
        self._how, self._baseline, self._seed = (segments, n_segments), baseline, seed
        check(*self._how)
        if not (isinstance(segments, str) and isinstance(baseline, str) and baseline in _SURE):
            _ = self.off

    @cached_property
    def _cut(self) -> tuple[np.ndarray, tuple[str, ...]]:
        return segment(self._view, *self._how)

    @property
    def labels(self) -> np.ndarray:
        """The regions, int32 (h, w), 0-based and contiguous."""
        return self._cut[0]

    @property
    def made(self) -> bool:
        """Whether the picture is cut already."""
        return "_cut" in vars(self)

    def alone(self) -> Regions:
        """The same regions, yet to be made, for who must not hold the whole picture and the preprocessing for them."""
        view = replace(self._view, inputs=np.empty((0, *self._view.shape), np.float32), source=None, opaque=None)
        return Regions(view, *self._how, self._baseline, self._seed)

    @cached_property
    def count(self) -> int:
        """How many there are."""
        return int(self.labels.max()) + 1

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the regions should know; nothing as long as nobody has asked for them."""
        return self._cut[1] if self.made else ()

    @cached_property
    def off(self) -> np.ndarray:
        """The view with every region switched off, uint8 (h, w, bands)."""
        with self._around():
            return baseline_picture(self._view, self.labels, self._baseline, self._seed)

    @cached_property
    def off_image(self) -> np.ndarray:
        """The same to look at, uint8 (h, w, 3)."""
        return self._view.show(self.off)
