"""The strip of small pictures above a batch: which one is on show, what is asked about each, and how they look."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

from xai_widgets import protocol, wire
from xai_widgets.errors import ArgumentError, XaiError
from xai_widgets.jobs import RUNNER, steps
from xai_widgets.widgets._requests import message_of

if TYPE_CHECKING:
    from xai_widgets.pictures import Pictures
    from xai_widgets.widgets.explorer import Explorer

REFRESH = 1.0
"""Seconds between two versions of the strip while its pictures are still being looked at."""


class Strip:
    """The pictures of one widget.

    Parameters
    ----------
    widget : Explorer
    pictures : Pictures
    targets : sequence
        What is asked about each picture.
    """

    def __init__(self, widget: Explorer, pictures: Pictures, targets: Sequence[Any]) -> None:
        self._widget, self._pictures, self._targets = widget, pictures, list(targets)
        self._on_show = 0

    def blank(self) -> list[protocol.Thumb]:
        """The strip before anything was looked at; empty for a single picture."""
        return [] if self._pictures.single else [wire.thumb(None, label) for label in self._pictures.labels]

    def want(self, target: Any) -> None:
        """Ask about this class from now on, whichever picture."""
        self._targets = [target] * len(self._targets)

    def check(self, index: int) -> int:
        """`index`, if there is such a picture."""
        if not 0 <= index < len(self._pictures):
            raise ArgumentError(f"There is no picture {index}; there are {len(self._pictures)}, from 0.")
        return index

    def open(self, index: int) -> None:
        """Have the worker make a picture ready and put it on show."""
        widget, before = self._widget, self._on_show
        if index == before:
            widget.back()  # there and back again: what was asked for in between is no longer wanted
            return
        widget.status = "running"

        def make_ready() -> None:
            if widget.picked != index:
                return
            try:
                session = self._pictures[index]
            except XaiError:
                if widget.picked == index:
                    widget.picked = before  # what is marked is what is shown
                raise
            if widget.status != "closed" and widget.picked == index:
                self._on_show = index
                widget.put_on_show(session, self._targets[index])
                widget.succeed("open")

        def again() -> None:
            widget.picked = index

        widget.submit("open", steps(make_ready), again, "This picture could not be opened.", urgent=True)

    def close(self) -> None:
        """Stop looking."""
        RUNNER.cancel((id(self._widget), "thumbs"))

    def fill(self) -> None:
        """Have the worker look at every picture, between other work, for its small copy and the model's answer."""
        if not self._pictures.single:
            self._widget.submit("thumbs", self._look, self.fill, "The small pictures could not be made.")

    def _look(self) -> Generator[None, None, None]:
        thumbs, sent = self.blank(), time.perf_counter()
        for index, label in enumerate(self._pictures.labels):
            if self._widget.status == "closed":
                return
            try:
                session = self._pictures.glance(index)
                top = session.target(None)
                answer = f"{top.name} {session.probabilities[top.index]:.2f}"
                thumbs[index] = wire.thumb(session.view.image, label, answer)
            except XaiError as error:  # shown in full when the picture is picked
                thumbs[index] = wire.thumb(None, label, message_of(error))
            if index == len(thumbs) - 1 or time.perf_counter() - sent > REFRESH:
                self._widget.pictures, sent = list(thumbs), time.perf_counter()
            yield
