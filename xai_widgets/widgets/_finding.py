"""Finding a map: a method is asked step by step, what it knows so far is painted, and it may go on where it stopped."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from xai_widgets import wire
from xai_widgets.errors import ArgumentError
from xai_widgets.facts import facts
from xai_widgets.jobs import RUNNER
from xai_widgets.widgets._pace import Pace, Patience, Rate
from xai_widgets.widgets._preview import Preview

if TYPE_CHECKING:
    from xai_widgets.explanation import Explanation
    from xai_widgets.problem import Estimate
    from xai_widgets.protocol import Progress
    from xai_widgets.registry import MethodInfo
    from xai_widgets.session import Session, Step
    from xai_widgets.targets import Target
    from xai_widgets.widgets.explorer import Explorer

BATCH = 8
"""Pictures that a method asks about before it is heard of; a guess, for the first time."""


class Question(NamedTuple):
    """What a map is to be found for, and how."""

    session: Session
    info: MethodInfo
    target: Target
    params: Mapping[str, Any]

    def cost(self) -> int:
        """Forward passes it will take, 0 where that cannot be said; whatever is wrong is said when it runs."""
        try:
            return self.session.cost(self.info, self.params)
        except Exception:  # noqa: BLE001 - the method may be the user's
            return 0


@dataclass(frozen=True)
class Found:
    """A map of the method that was asked for, and how far it came."""

    question: Question
    explanation: Explanation
    done: int
    total: int
    over: bool
    """Whether the method ended by itself, rather than being stopped."""

    @property
    def settled(self) -> bool:
        """Whether it ended early because more answers would not change the ranking."""
        return self.over and self.done < self.total and self.explanation.checks.get("ranking", (0, ""))[1] == "settled"

    def further(self) -> Question | None:
        """How it goes on: to the end, or beyond it to twice as many answers; None if more would change nothing.

        Who asks for more of a map that has settled wants it, so it does not settle again.
        """
        info, params = self.question.info, self.question.params
        if not self.over:
            return self.question
        if not info.budget:
            return None
        given = self.total if params[info.budget] is None else params[info.budget]
        beyond = 2 * math.ceil(given * self.done / max(self.total, 1))
        most = next(param.high for param in info.params if param.name == info.budget)
        without = {"confidence": None} if "confidence" in params else {}
        wider = {**params, **without, info.budget: beyond if most is None else min(beyond, int(most))}
        question = self.question._replace(params=wider)
        return question if question.cost() > self.done else None

    def progress(self) -> Progress:
        """How far it came, and how far it could go."""
        further = self.further()
        more = 0 if further is None else max(further.cost(), 1)
        return {"done": self.done, "total": self.total, "left": 0.0, "settled": self.settled, "more": more}


class Finding:
    """Finds the maps of one widget, one at a time, on the worker.

    Attributes
    ----------
    on_show : (Target, Explanation or None)
        What a judgement is about: the method's own map, never one that is shown in the meantime.
    """

    def __init__(self, widget: Explorer, target: Target) -> None:
        self._widget, self._key = widget, (id(widget), "explain")
        self._maps = self._runs = 0
        self.clear(target)

    def clear(self, target: Target) -> None:
        """Another picture, or none: forget what was found, and let nothing of it come back."""
        self._runs += 1
        self._found: Found | None = None
        self._failed = False
        self._preview = Preview()
        self.on_show: tuple[Target, Explanation | None] = target, None

    # ---- what can be asked for -------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Find the map that the widget asks for now."""
        self._found = None
        self._file(self._widget.question(), None)

    def more(self) -> None:
        """Go on where the map on show stopped.

        Raises
        ------
        ArgumentError
            Where there is nothing to go on with.
        """
        if self._widget.status == "running":
            raise ArgumentError("A map is being found already. Wait for it with w.wait(), or stop it with w.cancel()")
        found = self._found
        if found is None:  # stopped, or failed, before there was one
            self.begin()
            return
        further = found.further()
        if further is None:
            label = found.question.info.label
            raise ArgumentError(f"This map of {label} is all that there is: asking the model more would not change it.")
        self._file(further, found)

    def cancel(self) -> None:
        """Stop; the map found so far stays."""
        RUNNER.cancel(self._key)

    def back(self) -> None:
        """What was asked for in between is no longer wanted."""
        if not RUNNER.busy(self._key):
            self.settle()

    def settle(self) -> None:
        """Say again what is true of the map that stays on show; of another that is waited for, all is said."""
        widget, found = self._widget, self._found
        if widget.status == "closed" or RUNNER.waiting(self._key):
            return
        with widget.hold_sync():
            if found is not None:
                widget.progress = found.progress()
            else:
                asked = 0 if self._failed else max(widget.progress["total"], 1)
                widget.progress = {**widget.progress, "left": -1.0, "more": asked}
            widget.status = "failed" if self._failed else "idle" if found is not None and found.over else "stopped"

    # ---- how it is found -------------------------------------------------------------------------------------------

    def _file(self, question: Question, before: Found | None) -> None:
        """Have the worker find a map; of one that goes on, what is `before` stays on show until there is a better."""
        self._runs += 1
        self._failed = False
        run, widget, label = self._runs, self._widget, question.info.label
        with widget.hold_sync():
            widget.status = "running"
            self._tell(before.done if before else 0, question.cost(), -1.0)

        def failed() -> None:
            if run == self._runs:
                self._failed = True
                widget.status = "failed"
                widget.reprice()

        widget.submit(
            "explain",
            lambda: self._work(run, question, before),
            self.begin if before is None else self.more,
            f"{label} could not run.",
            cancelled=self.settle,
            failed=failed,
        )

    def _work(self, run: int, question: Question, before: Found | None) -> Generator[None, None, None]:
        session, info, target, params = question
        widget, pace, rate = self._widget, Pace(), Rate()
        floor = before.done if before else 0
        patience = Patience(BATCH * session.classifier.seconds) if self._bare(question) else None
        widget.layers = session.layers(info, widget.layer)
        step, painted = None, None
        try:
            with closing(session.explain(info, target, params)) as steps:
                while True:
                    if patience and not painted and patience.over():
                        patience = None
                        yield from self._show_preview(run, question)
                    upcoming = next(steps, None)
                    if upcoming is None:
                        break
                    step, estimate = upcoming, upcoming.estimate
                    if not estimate.done:  # still making ready, which takes seconds where it takes a step at all
                        rate = Rate()
                        if patience:
                            patience = None
                            yield from self._show_preview(run, question)
                    # A map of no more answers than the one on show is none to show.
                    better = estimate.has_map and estimate.done > floor and not _same(painted, estimate)
                    if pace.due():
                        with pace.painting():
                            left = rate.left(estimate.done, estimate.total)
                            if better:
                                self._paint(run, question, step, left=left)
                                painted = estimate
                            elif run == self._runs:
                                self._tell(max(estimate.done, floor), estimate.total, left)
                    yield
        except GeneratorExit:
            if step is not None and step.estimate.has_map and step.estimate.done > floor:
                self._paint(run, question, step, stopped=True)
            raise
        if step is None or not step.estimate.has_map:
            raise ArgumentError(f"The method {info.name!r} yielded no map; it must yield at least one Estimate.")
        self._paint(run, question, step, over=True)
        widget.succeed("explain")

    def _tell(self, done: int, total: int, left: float) -> None:
        self._widget.progress = {"done": done, "total": total, "left": left, "settled": False, "more": 0}

    def _paint(
        self,
        run: int,
        question: Question,
        step: Step,
        *,
        left: float = 0.0,
        over: bool = False,
        stopped: bool = False,
    ) -> None:
        widget, estimate = self._widget, step.estimate
        explanation = step.explanation(stopped=stopped)
        if run != self._runs:  # a newer request has overtaken it
            return
        self._maps += 1
        # A method that stops by itself calls that its total.
        self._found = Found(question, explanation, estimate.done, max(estimate.total, question.cost()), over)
        self.on_show = question.target, explanation
        with widget.hold_sync():
            widget.set_trait("explanation", explanation)
            widget.heat = wire.heat(explanation, self._maps, question.info.label, partial=not over)
            widget.facts = facts(explanation)
            widget.gallery = wire.gallery(explanation)
            if over:
                self.settle()
            else:
                self._tell(estimate.done, estimate.total, left)
        if over or self._maps == 1:  # what it takes to find out which methods fit, the first map need not wait for
            widget.reprice()

    def _bare(self, question: Question) -> bool:
        """Whether nothing on show is about this class of this picture."""
        target, explanation = self.on_show
        return explanation is None or target != question.target

    def _show_preview(self, run: int, question: Question) -> Generator[None, None, None]:
        """Show a cheap map in the meantime, if there is one. It is no result: nobody asked for it, nobody judges it."""
        widget = self._widget
        made = yield from self._preview.make(question)
        if made is None or run != self._runs:
            return
        label, explanation = made
        self._maps += 1
        self.on_show = question.target, None
        with widget.hold_sync():
            widget.set_trait("explanation", None)
            widget.heat = wire.heat(explanation, self._maps, label, partial=True, preview=True)
            widget.facts = facts(explanation)
            widget.gallery = []
        widget.reprice()  # what was asked for may take a minute


def _same(one: Estimate | None, other: Estimate) -> bool:
    """Whether two estimates hold the very same map; most steps only count."""
    return one is not None and all(
        getattr(one, name) is getattr(other, name) for name in ("values", "regions", "pictures")
    )
