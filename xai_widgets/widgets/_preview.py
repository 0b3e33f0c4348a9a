"""A cheap map to look at while a costly one is being found. It is shown under its own name and is nobody's result."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xai_widgets.explanation import Explanation
    from xai_widgets.registry import MethodInfo
    from xai_widgets.session import Session
    from xai_widgets.targets import Target
    from xai_widgets.widgets._finding import Question

COSTLY = 1.0
"""Seconds from which on a map is worth waiting for in company."""

CHEAPER = 4
"""How many times cheaper the other map must be."""

KEPT = 8
"""Maps of one picture, one a class."""


class Preview:
    """Makes the cheap map of one picture for each class once."""

    def __init__(self) -> None:
        self._made: dict[Target, tuple[str, Explanation]] = {}

    def make(self, question: Question) -> Generator[None, None, tuple[str, Explanation] | None]:
        """The name and the map of a method that answers sooner; None where there is none, or where it fails."""
        session, _, target, _ = question
        try:
            info = _sooner(question)
            if info is None:
                return None
            if target not in self._made:
                step = None
                for upcoming in session.explain(info, target, info.bind({})):
                    step = upcoming
                    yield
                if step is None or not step.estimate.has_map:
                    return None
                if len(self._made) == KEPT:
                    self._made.pop(next(iter(self._made)))
                self._made[target] = info.label, step.explanation()
        except Exception:
            logging.getLogger(__name__).debug("There is no preview.", exc_info=True)
            return None
        return self._made[target]


def _sooner(question: Question) -> MethodInfo | None:
    session, info, _, params = question
    if info.family in ("unit", "control"):  # they are about something else
        return None
    seconds = _seconds(session, info, params)
    if seconds < COSTLY:
        return None
    other = session.method("auto")
    if other.needs == "answers" or CHEAPER * _seconds(session, other, other.bind({})) > seconds:
        return None
    return other


def _seconds(session: Session, info: MethodInfo, params: Mapping[str, Any]) -> float:
    """About what it takes; a pass back costs about as much as two more."""
    return session.cost(info, params) * session.classifier.seconds * (1 if info.needs == "answers" else 3)
