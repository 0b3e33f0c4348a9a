"""Which widgets a notebook cell made, so that running it again closes the ones it replaces.

Without this each run would leave a live widget behind, with its model's answers and its share of the worker.
"""

from __future__ import annotations

import weakref
from typing import Any

_by_cell: dict[str, tuple[str, weakref.WeakSet]] = {}


def replace(widget: Any) -> None:
    """Note that the running cell made `widget`, and close what an earlier run of the same cell made.

    Widgets of one run belong together, so a loop may make ten. Where the host does not tell which cell runs,
    as outside a notebook, nothing happens: two cells may hold the same text.
    """
    cell, run = _running_cell()
    if not cell:
        return
    last_run, made = _by_cell.get(cell, ("", weakref.WeakSet()))
    if last_run != run:
        for old in list(made):
            old.close()
        made = weakref.WeakSet()
    made.add(widget)
    _by_cell[cell] = run, made


def _running_cell() -> tuple[str, str]:
    """The cell's id and the id of this run of it, or two empty strings."""
    try:
        from IPython import get_ipython

        parent = get_ipython().get_parent()  # None outside IPython; only kernels have get_parent
        return str(parent["metadata"]["cellId"]), str(parent["header"]["msg_id"])
    except (ImportError, AttributeError, KeyError, TypeError):
        return "", ""
