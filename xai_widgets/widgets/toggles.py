"""The toggle states so far and where among them we are; pure functions on `protocol.History`.

Kernel and browser both write this value (``js/lib/history.ts`` mirrors it), so undo means the same on either side and
in every view.
"""

from __future__ import annotations

from collections.abc import Sequence

from xai_widgets.protocol import History

LIMIT = 51
"""Fifty steps back, and the present."""


def start() -> History:
    """Everything on, nothing to undo."""
    return {"states": [[]], "at": 0}


def present(history: History) -> list[int]:
    """The regions that are off now."""
    return history["states"][history["at"]]


def push(history: History, off: Sequence[int]) -> History:
    """A new state after the present one; what was undone before is forgotten."""
    states = [*history["states"][: history["at"] + 1], [int(i) for i in off]][-LIMIT:]
    return {"states": states, "at": len(states) - 1}


def step(history: History, by: int) -> History:
    """Go back (negative) or forth among the states, as far as there are any."""
    at = min(max(history["at"] + by, 0), len(history["states"]) - 1)
    return {"states": history["states"], "at": at}
