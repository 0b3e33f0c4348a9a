"""The widget behind `explain`: one picture, one model, seen, tested and judged."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import numpy as np
import traitlets as t

from xai_widgets import protocol, wire
from xai_widgets.errors import ArgumentError, XaiError
from xai_widgets.explanation import Explanation
from xai_widgets.feedback.records import Feedback
from xai_widgets.jobs import RUNNER, steps
from xai_widgets.widgets import cells, toggles
from xai_widgets.widgets._finding import Finding, Question
from xai_widgets.widgets._requests import Requests, message_of
from xai_widgets.widgets._settings import Settings
from xai_widgets.widgets._strip import Strip
from xai_widgets.widgets._traits import ActiveRegions, Answer, Records

if TYPE_CHECKING:
    from xai_widgets.feedback.capture import Judge
    from xai_widgets.pictures import Pictures
    from xai_widgets.registry import MethodInfo
    from xai_widgets.session import Session


def _asset(name: str) -> str:
    """Text of a built front-end file. A string, not a path: anywidget keeps widgets with a path alive for ever."""
    path = Path(__file__).parents[1] / "static" / name
    if not path.exists():
        return ""
    return path.read_text(encoding="utf-8")


class Explorer(anywidget.AnyWidget):
    """What `explain` returns; the last line of a cell shows it.

    What the reader does in the browser is there in the kernel and the other way round; every public trait works with
    ``observe``, ``ipywidgets.link`` and ``jslink``.
    """

    _esm = _asset("widget.js")
    _css = _asset("widget.css")

    explanation = t.Instance(Explanation, allow_none=True, read_only=True)
    """The map on show; None until the first one is there."""
    target = t.Any().tag(sync=True)
    """The class explained: set an index, a name, (a, b) or a callable; holds the index, [a, b] or None."""
    method = t.Unicode().tag(sync=True)
    """The method's name; setting it explains anew."""
    active = ActiveRegions()
    """Which regions are on, bool (S,); set it, or use `toggle`."""
    prediction = Answer()
    """The model's probabilities with the regions on that are on now, float32 (C,)."""
    feedback = Records()
    """Judgements of this picture, model and class, oldest first."""
    status = t.Enum(protocol.STATUSES, "idle").tag(sync=True)
    error = t.Dict(allow_none=True, default_value=None).tag(sync=True)
    """The last failure, ``{"title", "message", "traceback"}``, or None."""
    opacity = t.Float(0.8, min=0, max=1).tag(sync=True)
    threshold = t.Float(1.0, min=0, max=1).tag(sync=True)
    """Share of the strongest evidence that is shown, 0 to 1."""
    colormap = t.Enum(protocol.COLORMAPS, "auto").tag(sync=True)
    sign = t.Enum(protocol.SIGNS, "both").tag(sync=True)
    layer = t.Unicode().tag(sync=True)
    """The layer that the method reads, by its dotted name; empty lets the method choose."""
    params = t.Dict().tag(sync=True)
    """The numbers and words that the method takes, by name; set some of them to explain anew, the others stay."""
    picked = t.Int().tag(sync=True)
    """Which picture of a batch is on show, counted from 0."""

    # What the views draw; made from the public traits above, and of no use to set.
    picture = t.Dict().tag(sync=True)
    regions = t.Dict().tag(sync=True)
    heat = t.Dict().tag(sync=True)
    class_names = t.List().tag(sync=True)
    methods = t.List().tag(sync=True)
    history = t.Dict(toggles.start()).tag(sync=True)
    progress = t.Dict({"done": 0, "total": 0, "left": -1.0, "settled": False, "more": 0}).tag(sync=True)
    facts = t.List().tag(sync=True)
    layers = t.List().tag(sync=True)
    pictures = t.List().tag(sync=True)
    gallery = t.List().tag(sync=True)
    store = t.Dict().tag(sync=True)

    def __init__(
        self,
        pictures: Pictures,
        judge: Judge,
        *,
        method: MethodInfo,
        targets: Sequence[Any],
        params: Mapping[str, Any],
    ) -> None:
        session, target = pictures[0], pictures[0].target(targets[0])
        self._strip = Strip(self, pictures, targets)
        self._session: Session | None = session
        self._target = target
        self._quiet = False
        self._finding = Finding(self, target)
        self._settings = Settings(method.name, params)
        self._judge = judge
        self._callbacks: list[Callable[[Feedback], Any]] = []
        self._failed: dict[str, Callable[[], None]] = {}
        self._keys = {(id(self), kind) for kind in ("explain", "predict", "identity", "open")}
        self.n_segments = session.n_segments
        self.before = session.probabilities
        self.answered_off: list[int] = []
        super().__init__(
            target=target.key,
            method=method.name,
            active=np.ones(session.n_segments, bool),
            picture=wire.picture(session.view.image, session.regions.off_image),
            regions=wire.regions(session.regions.labels),
            class_names=list(session.class_names or [f"class {i}" for i in range(len(session.probabilities))]),
            methods=session.menu(self._settings.given, "none"),  # the first map comes first
            pictures=self._strip.blank(),
            layer=self._settings.layer(method, session),
            params=self._settings.plain(method),
            store={"path": judge.location, "annotator": judge.annotator},
        )
        self.set_trait("prediction", session.probabilities)
        cells.replace(self)
        self.on_msg(Requests(self))
        self._finding.begin()
        self._request_feedback()
        self._strip.fill()

    # ---- from Python -----------------------------------------------------------------------------------------------

    def toggle(self, region: int) -> None:
        """Switch one region off, or on again."""
        if (
            isinstance(region, bool)
            or not hasattr(region, "__index__")
            or not 0 <= region.__index__() < self.n_segments
        ):
            raise ArgumentError(f"There is no region {region!r}; there are 0 to {self.n_segments - 1}.")
        active = self.active.copy()
        active[region] = not active[region]
        self.active = active

    def undo(self) -> None:
        """Take back the last change of `active`."""
        self._go(toggles.step(self.history, -1))

    def redo(self) -> None:
        """Make the change again that was taken back last."""
        self._go(toggles.step(self.history, +1))

    def reset(self) -> None:
        """Switch every region on."""
        self.active = np.ones(self.n_segments, bool)

    def record(
        self,
        verdict: str | None = None,
        *,
        regions: Iterable[int] | None = None,
        mask: np.ndarray | None = None,
        rating: int | None = None,
        label: str = "",
        comment: str = "",
    ) -> Feedback:
        """Keep a judgement, as the reader does by hand; it is on disk when this returns.

        Parameters
        ----------
        verdict : {"mattered", "must_not_matter", "unsure"}, optional
        regions : iterable of int, optional
            The regions judged. With neither `regions` nor `mask` the whole map is judged.
        mask : ndarray of bool, shape (H, W), optional
            The pixels judged, on the grid of ``explanation.image``.
        rating : int, optional
            1 to 5: does the map make sense?
        label, comment : str
        """
        given = {"regions": regions, "mask": mask, "rating": rating, "label": label, "comment": comment}
        return self.judge(verdict, **given)()

    def judge(self, verdict: str | None, **given: Any) -> Callable[[], Feedback]:
        """Note now what is judged, the map on show; the function returned stores it, also after `close`."""
        if self._judge is None:
            raise ArgumentError("This widget is closed. Run its cell again to judge.")
        store, (target, explanation) = self._judge, self._finding.on_show

        def keep() -> Feedback:
            record = store.record(target, explanation, verdict, **given)
            if self._session is not None and target == self._target:
                self.set_trait("feedback", (*self.feedback, record))
            for callback in tuple(self._callbacks):
                try:
                    callback(record)
                except Exception as error:  # noqa: BLE001 - the judgement is stored, whatever somebody does with it
                    self._show(error, "The judgement is stored, but a callback of on_feedback failed.")
            return record

        return keep

    def on_feedback(self, callback: Callable[[Feedback], Any], remove: bool = False) -> None:
        """Call `callback` with each record after it is stored, whoever gave it; ``remove=True`` stops that."""
        if remove:
            self._callbacks.remove(callback)
        else:
            self._callbacks.append(callback)

    def wait(self, timeout: float | None = None) -> Explorer:
        """Block until every request so far is answered; returns the widget itself.

        Raises
        ------
        TimeoutError
            After `timeout` seconds.
        """
        if not RUNNER.wait(self._keys, timeout):
            raise TimeoutError(f"The model is still busy after {timeout} s; w.cancel() stops it.")
        return self

    def cancel(self) -> None:
        """Stop explaining; the map found so far stays, and `more` goes on from there."""
        self._finding.cancel()

    def more(self) -> None:
        """Go on with the map on show: to the end where it was stopped, else with twice as many altered pictures.

        This is for once: the settings stay as they are, and ``w.explanation.params`` says what was run.

        Raises
        ------
        ArgumentError
            While a map is being found, and where more answers would not change it.
        """
        if self._session is None:
            raise ArgumentError("This widget is closed. Run its cell again to go on.")
        self._finding.more()

    def close(self) -> None:
        """Stop, let go of the model and the picture, and remove every view."""
        if self.status == "closed":
            return
        for key in self._keys:
            RUNNER.cancel(key)
        self._strip.close()
        self.status = "closed"
        super().close()
        # IPython's Out keeps the object; what is heavy must not stay with it.
        self._session = self._judge = self._strip = None
        self._failed.clear()
        self._finding.clear(self._target)
        self._callbacks.clear()
        self.unobserve_all()
        with self.hold_trait_notifications():
            self.picture, self.regions, self.heat = {}, {}, {}
            self.class_names, self.facts, self.pictures, self.layers, self.gallery = [], [], [], [], []
            self.set_trait("explanation", None)
        self._esm = self._css = ""

    # ---- what changes make happen ----------------------------------------------------------------------------------

    @t.validate("target")
    def _validate_target(self, proposal: Any) -> Any:
        if self._session is None or self.comm is None:
            return proposal["value"]
        found = self._session.target(proposal["value"])
        if not self._quiet:  # a class chosen by the reader stays chosen for the other pictures
            self._strip.want(proposal["value"])
        if found != self._target:
            before, self._target = self._target, found
            if before.key == found.key:
                self._finding.begin()  # one function after another: to traitlets nothing has changed
        return self._target.key

    @t.validate("method")
    def _validate_method(self, proposal: Any) -> str:
        return proposal["value"] if self._session is None else self._session.method(proposal["value"]).name

    @t.validate("layer")
    def _validate_layer(self, proposal: Any) -> str:
        if proposal["value"] and self._session is not None:
            self._session.layer_name(proposal["value"])
        return proposal["value"]

    @t.validate("params")
    def _validate_params(self, proposal: Any) -> dict[str, Any]:
        return proposal["value"] if self._session is None else self._plain(proposal["value"])

    @t.validate("picked")
    def _validate_picked(self, proposal: Any) -> int:
        return proposal["value"] if self._strip is None else self._strip.check(proposal["value"])

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take over what changed in the browser. What cannot be is shown there and put back: nobody could catch it."""
        possible = dict(sync_data)
        if "method" in possible and len(possible) > 1:  # what comes with it may be about it
            self.set_state({"method": possible.pop("method")})
        for name, check in self._checks().items():
            if name in possible:
                try:
                    check(possible[name])
                except (XaiError, ValueError, TypeError) as error:
                    self._show(error, f"{name} cannot be {possible[name]!r}.")
                    for refused in {name, "history"} if name == "active" else {name}:
                        possible.pop(refused, None)
                        self.send_state(refused)
        super().set_state(possible)

    def _checks(self) -> dict[str, Callable[[Any], Any]]:
        if self._session is None:
            return {}
        active = self.traits()["active"]
        return {
            "target": self._session.target,
            "method": self._session.method,
            "active": lambda value: active.validate(self, np.array(value, bool)),
            "layer": lambda value: value and self._session.layer_name(value),
            "params": self._plain,
            "picked": self._strip.check,
        }

    @t.observe("target", "method")
    def _explain_anew(self, change: Any) -> None:
        if self.comm is None or self._session is None or self._quiet:
            return
        if change["name"] == "method":
            self._show_settings()
        self._finding.begin()
        if change["name"] == "target":
            self._request_feedback()

    @t.observe("active")
    def _ask_anew(self, change: Any) -> None:
        if self._session is None or self._quiet:
            return
        off = self._off()
        if toggles.present(self.history) != off:
            self.history = toggles.push(self.history, off)
        if self.prediction is not None:
            self._request_prediction()

    @t.observe("layer")
    def _read_anew(self, change: Any) -> None:
        if self.comm is None or self._session is None or self._quiet:
            return
        if any(param.name == "target_layer" for param in self._info.params):
            self._settings.take(self._info, {"target_layer": change["new"] or None})
            self._show_settings()
            self._finding.begin()

    @t.observe("params")
    def _set_anew(self, change: Any) -> None:
        if self.comm is None or self._session is None or self._quiet:
            return
        self._settings.take(self._info, change["new"])
        self._show_settings()
        self._finding.begin()

    def _show_settings(self) -> None:
        """Show what is kept for the method; what came together with it may have been shown over."""
        with self._quietly(), self.hold_sync():
            self.layer = self._settings.layer(self._info, self._session)
            self.params = self._settings.plain(self._info)

    @property
    def _info(self) -> MethodInfo:
        return self._session.method(self.method)

    def _plain(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What the method's numbers and words would be with these in their place; an unknown one is an error."""
        info, now = self._info, self._settings.plain(self._info)
        bound = info.bind({**self._settings.given.get(info.name, {}), **given})
        return {name: bound[name] for name in now}

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """Change traits without what a reader's change would set off."""
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before

    @t.observe("picked")
    def _open_anew(self, _change: Any) -> None:
        if self.comm is not None and self._session is not None:
            self._strip.open(self.picked)

    def _go(self, moved: protocol.History) -> None:
        active = np.ones(self.n_segments, bool)
        active[toggles.present(moved)] = False
        with self.hold_sync():
            self.history = moved
            self.active = active

    def _off(self) -> list[int]:
        return [int(i) for i in np.flatnonzero(~self.active)]

    # ---- work, filed here and done by the worker -------------------------------------------------------------------

    def question(self) -> Question:
        """What is asked for now."""
        info = self._info
        return Question(self._session, info, self._target, self._settings.all(info))

    def put_on_show(self, session: Session, wanted: Any) -> None:
        """Take another picture; everything that spoke of the last one goes at once."""
        target = session.target(wanted)
        with self._quietly(), self.hold_sync():
            self._session, self._target, self._judge = session, target, self._judge.beside(session)
            self._finding.clear(target)
            self.n_segments, self.before, self.answered_off = session.n_segments, session.probabilities, []
            self.picture = wire.picture(session.view.image, session.regions.off_image)
            self.regions = wire.regions(session.regions.labels)
            self.heat, self.facts, self.gallery, self.history = {}, [], [], toggles.start()
            self.active = np.ones(session.n_segments, bool)
            self.target = target.key
            self.set_trait("prediction", session.probabilities)
            self.set_trait("explanation", None)
            self.set_trait("feedback", ())
        self._finding.begin()
        self._request_feedback()

    def back(self) -> None:
        """Stay with the picture on show."""
        self._finding.back()

    def reprice(self) -> None:
        """The methods again, with what was learned meanwhile: what a call costs, which cannot run."""
        self.methods = self._session.menu(self._settings.given, "some")

    def _request_prediction(self) -> None:
        session, active, off = self._session, self.active, self._off()

        def ask() -> None:
            answer = session.predict(active)
            if self._session is not None:
                self.answered_off = off
                self.set_trait("prediction", answer)
                self.succeed("predict")

        self.submit("predict", steps(ask), self._request_prediction, "The model could not be asked.", urgent=True)

    def _request_feedback(self) -> None:
        target, judge = self._target, self._judge
        old = {record.id for record in self.feedback}

        def new() -> tuple[Feedback, ...]:
            """What was recorded while the earlier ones were read."""
            return tuple(record for record in self.feedback if record.id not in old)

        def load() -> None:
            known = judge.known(target)
            if self._session is None or target != self._target:
                return
            ids = {record.id for record in known}
            self.set_trait("feedback", (*known, *(record for record in new() if record.id not in ids)))
            self.succeed("identity")

        title = "Earlier judgements could not be read."
        self.submit("identity", steps(load), self._request_feedback, title, urgent=True)

    def submit(
        self,
        kind: str,
        work: Callable[[], Generator[None, None, None]],
        retry: Callable[[], None],
        title: str,
        *,
        cancelled: Callable[[], None] = lambda: None,
        failed: Callable[[], None] = lambda: None,
        urgent: bool = False,
    ) -> None:
        """Have the worker do something; what fails is shown and can be tried again."""

        def fail(error: BaseException) -> None:
            if self._session is None:
                return
            self._failed[kind] = retry
            self._show(error, title)
            failed()

        RUNNER.submit((id(self), kind), work, fail=fail, cancelled=cancelled, urgent=urgent, queue=urgent)

    def _show(self, error: BaseException, title: str) -> None:
        trace = "".join(traceback.format_exception(error))
        self.error = {"title": title, "message": message_of(error), "traceback": trace}

    def succeed(self, kind: str) -> None:
        """A kind of work went well: its failure is history, and with the last one the message."""
        if self._failed.pop(kind, None) and not self._failed:
            self.error = None

    def retry(self) -> None:
        """Do again whatever has failed; without a failure, explain anew."""
        self.error = None
        for request in tuple(self._failed.values()) or (self._finding.begin,):
            request()

    # ---- without a front end ---------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        if self.explanation is None:
            return f"<Explorer: {self.method} is at work>"
        return self.explanation.summary()

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The widget, and beside it a picture and text for wherever no front end runs."""
        if self._session is not None and self.explanation is None:
            RUNNER.wait({(id(self), "explain")}, timeout=1.0)
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None or self._session is None:
            return bundle
        data, metadata = bundle
        if self.explanation is None:  # still being found: at least the photo
            still = {self.picture["mime"]: self.picture["data"]}
        else:
            still = {"image/png": self.explanation._repr_png_()}
        return {**data, "text/plain": repr(self), **still}, metadata
