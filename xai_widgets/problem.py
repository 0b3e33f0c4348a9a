"""One question put to one model, and what a method answers step by step."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from xai_widgets.answers import Answers
from xai_widgets.regions import Regions
from xai_widgets.targets import Target
from xai_widgets.views import View

if TYPE_CHECKING:
    from torch import Tensor

    from xai_widgets.classifiers import Classifier
    from xai_widgets.engine import Engine, Plan


@dataclass
class Tally:
    """What was counted while a problem was worked on.

    Attributes
    ----------
    asked, reused : int
        Pictures put to the model by `perturb`, and questions whose answer was known already.
    largest : int or None
        The largest batch that fits into the memory, once one did not.
    incremental : bool
        Whether only what a window changes was computed.
    """

    asked: int = 0
    reused: int = 0
    largest: int | None = None
    incremental: bool = False


@dataclass(frozen=True)
class Problem:
    """Everything a method may know: the model, what it sees, the class in question, and what "off" means.

    Attributes
    ----------
    classifier : Classifier
    view : View
    regions : Regions
        Where the picture is cut, and what is behind; made when it is first needed.
    target : Target
    space : {"probability", "logit"}
        What `target` is read in.
    seed : int
    batch_size : int or "auto"
    class_names : tuple of str or None
    engine : Engine, optional
        What asks the model. Default: what `engine.engine_of` gives at the time.
    given_plan : Plan, optional
        How the model is asked.
    answers : Answers, optional
        Where answers are looked up and kept. Default: for this problem alone.
    tally : Tally
    """

    classifier: Classifier
    view: View
    regions: Regions
    target: Target
    space: str
    seed: int = 0
    batch_size: int | str = "auto"
    class_names: tuple[str, ...] | None = None
    engine: Engine | None = None
    given_plan: Plan | None = None
    answers: Answers = field(default_factory=Answers)
    tally: Tally = field(default_factory=Tally)

    @property
    def plan(self) -> Plan:
        """How the model is asked: as `given_plan` says, else as quickly as can be had at the moment."""
        if self.given_plan is not None:
            return self.given_plan
        from xai_widgets.engine import engine_of  # torch, which listing the methods must not load

        return engine_of(self.classifier).few(self.classifier, self.batch_size, quick=True)

    def compose(self, masks: np.ndarray) -> Tensor:
        """See `perturb.compose`."""
        from xai_widgets.perturb import compose

        return compose(self, masks)

    @property
    def labels(self) -> np.ndarray:
        """The regions, int32 (h, w), 0 … S-1."""
        return self.regions.labels

    @property
    def baseline(self) -> np.ndarray:
        """The view with every region switched off, uint8 (h, w, bands)."""
        return self.regions.off

    @property
    def n_segments(self) -> int:
        """How many regions there are."""
        return self.regions.count

    @cached_property
    def inputs(self) -> Tensor:
        """The model's input (C, h, w) on its device."""
        return self.classifier.tensor(self.view.inputs)

    @cached_property
    def off_inputs(self) -> Tensor:
        """The baseline as model input (C, h, w) on its device."""
        return self.classifier.tensor(self.view.encode(self.baseline)).contiguous()

    @cached_property
    def label_tensor(self) -> Tensor:
        """The label map on the model's device, row by row, (h · w,)."""
        import torch

        return torch.as_tensor(self.labels, dtype=torch.long, device=self.classifier.device).flatten()

    def rng(self) -> np.random.Generator:
        """A fresh generator; the same seed gives the same numbers."""
        return np.random.default_rng(self.seed)

    def perturb(self, masks: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """See `perturb.perturb`."""
        from xai_widgets.perturb import perturb

        return perturb(self, masks)

    def scores(self, masks: np.ndarray) -> np.ndarray:
        """The target's number for masks (n, S) or (n, h, w), as float64 (n,)."""
        return np.concatenate([self.target.of(answers) for _, answers in self.perturb([masks])])


@dataclass(frozen=True)
class Estimate:
    """What a method knows after a step; the last one it yields is its result.

    Attributes
    ----------
    values : ndarray (h, w), optional
        A map of pixels. One of `values` and `regions` is given; neither while there is only progress to tell.
    regions, std_error : ndarray (S,), optional
        One number a region, and its standard error.
    interactions : ndarray (S, S), optional
        How much two regions add together beyond what they add alone; symmetric, with zeros on the diagonal.
    coarse : ndarray (h', w'), optional
        The same as `values` before enlargement, where the method works on a coarser grid.
    pictures : tuple of (ndarray uint8 (H, W, 3), str)
        Pictures with their captions, for what cannot be shown as a map.
    done, total : int
        Steps of work, for the progress bar; forward passes where that is what costs.
    n_forward : int
        Forward passes used so far.
    layer : str, optional
    checks : mapping of str to (float, str)
        The method's own checks: number and verdict.
    warnings : tuple of str
    """

    values: np.ndarray | None = None
    regions: np.ndarray | None = None
    std_error: np.ndarray | None = None
    interactions: np.ndarray | None = None
    coarse: np.ndarray | None = None
    pictures: tuple[tuple[np.ndarray, str], ...] = ()
    done: int = 1
    total: int = 1
    n_forward: int = 0
    layer: str | None = None
    checks: Mapping[str, tuple[float, str]] = field(default_factory=lambda: MappingProxyType({}))
    warnings: tuple[str, ...] = ()

    @property
    def has_map(self) -> bool:
        """Whether there is something to show yet."""
        return self.values is not None or self.regions is not None or bool(self.pictures)


class Pace:
    """Says when the next look at a growing estimate is due, at most ten times a second, and less often if one is slow.

    A method yields after every batch, so that it can be stopped there; but a fit costs time, and nobody sees more.
    """

    def __init__(self, seconds: float = 0.1) -> None:
        self._seconds, self._next, self._given = seconds, 0.0, 0.0

    def due(self) -> bool:
        """Whether it is time; if so the clock starts anew."""
        now = time.monotonic()
        if self._given:  # what was done since: the fit and one batch; most of the time goes to the model
            self._next = max(self._next, now + min(1.0, 4 * (now - self._given)))  # a first fit may import much
            self._given = 0.0
        if now < self._next:
            return False
        self._next, self._given = now + self._seconds, now
        return True


Steps = Iterator[Estimate]
"""What a method returns: estimates that get better. Closing the iterator cancels it between two batches."""
