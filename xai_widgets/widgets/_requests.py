"""What the browser asks for: each request is filed at once and answered exactly once, done or failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from xai_widgets import protocol
from xai_widgets.errors import XaiError
from xai_widgets.jobs import RUNNER, steps

if TYPE_CHECKING:
    from xai_widgets.widgets.explorer import Explorer


def message_of(error: BaseException) -> str:
    """An error as a reader should see it: ours speak for themselves, others with their name."""
    return str(error) if isinstance(error, XaiError) else f"{type(error).__name__}: {error}"


class Requests:
    """Handler of a widget's custom messages, for ``on_msg``.

    It runs on whatever thread the kernel gives to comms, so it does no work itself: stop always gets through.
    """

    def __init__(self, widget: Explorer) -> None:
        self._act = {
            protocol.PING: lambda: None,
            protocol.STOP: widget.cancel,
            protocol.MORE: widget.more,
            protocol.RETRY: widget.retry,
        }

    def __call__(self, widget: Explorer, content: Mapping[str, Any], _buffers: Any) -> None:
        kind, number = str(content.get("kind")), content.get("id")
        if kind == protocol.RECORD:
            self._record(widget, number, content.get("payload") or {})
        elif kind in self._act:
            try:
                self._act[kind]()
            except XaiError as error:
                _reply(widget, kind, protocol.FAILED, number, {"message": message_of(error)})
            else:
                _reply(widget, kind, protocol.DONE, number, {})
        else:
            _reply(widget, kind, protocol.FAILED, number, {"message": f"There is no request {kind!r}."})

    @staticmethod
    def _record(widget: Explorer, number: Any, payload: Mapping[str, Any]) -> None:
        given = {key: payload[key] for key in ("rating", "label", "comment") if payload.get(key) is not None}
        # What is judged is settled now; by the time it is stored the reader may look at another class.
        keep = widget.judge(payload.get("verdict"), regions=payload.get("regions") or None, **given)

        def work() -> None:
            _reply(widget, protocol.RECORD, protocol.DONE, number, keep().to_judgement())

        def fail(error: BaseException) -> None:
            _reply(widget, protocol.RECORD, protocol.FAILED, number, {"message": message_of(error)})

        # A key of its own: no judgement may be overtaken by the next.
        RUNNER.submit((id(widget), "record", number), steps(work), fail=fail, urgent=True)


def _reply(widget: Explorer, kind: str, outcome: str, number: Any, payload: Mapping[str, Any]) -> None:
    widget.send({"kind": f"{kind}/{outcome}", "id": number, "payload": dict(payload)})
