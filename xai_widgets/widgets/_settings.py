"""The parameters of each method: those given in the cell, and what the reader changed since."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xai_widgets.registry import MethodInfo
    from xai_widgets.session import Session


class Settings:
    """Keeps what was chosen for one method while another is on show."""

    def __init__(self, method: str, params: Mapping[str, Any]) -> None:
        self.given: dict[str, dict[str, Any]] = {method: dict(params)}
        """By method, the parameters that are not left to it."""

    def all(self, info: MethodInfo) -> dict[str, Any]:
        """Every parameter with its value."""
        return info.bind(self.given.get(info.name, {}))

    def plain(self, info: MethodInfo) -> dict[str, Any]:
        """The numbers and words among them, which the page shows."""
        shown = {param.name for param in info.params if param.kind is not object}
        return {name: value for name, value in self.all(info).items() if name in shown}

    def take(self, info: MethodInfo, changed: Mapping[str, Any]) -> None:
        """Keep new values of some."""
        self.given[info.name] = {**self.given.get(info.name, {}), **changed}

    def layer(self, info: MethodInfo, session: Session) -> str:
        """The one layer given, by its dotted name; empty where the method chooses, or where several are given."""
        given = self.given.get(info.name, {}).get("target_layer")
        return "" if given is None or isinstance(given, (list, tuple)) else session.layer_name(given)
