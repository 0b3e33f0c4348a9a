"""One model and one picture, made ready once: then asked about classes, by methods, with regions on and off."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, cached_property, partial
from importlib.metadata import version
from typing import Any

import numpy as np

from xai_widgets import __version__, baselines, images, registry, targets, views
from xai_widgets.answers import Answers
from xai_widgets.classifiers import Classifier
from xai_widgets.engine import MANY, RUNTIMES, Engine, Plan, engine_of
from xai_widgets.errors import ArgumentError, MethodError, TargetError, first_line
from xai_widgets.explanation import Explanation
from xai_widgets.guard import same_randomness
from xai_widgets.identity import fingerprint
from xai_widgets.layers import choose, get_layer, survey, unfit
from xai_widgets.outputs import KINDS, SPACES
from xai_widgets.preparing import prepare
from xai_widgets.problem import Estimate, Problem, Tally
from xai_widgets.protocol import LayerRow, MethodRow
from xai_widgets.regions import Regions
from xai_widgets.registry import MethodInfo


class Session:
    """What `explain` and `attribute` share. Parameters are those of `xai_widgets.explain`."""

    def __init__(
        self,
        model: Any,
        image: Any,
        *,
        class_names: Any = None,
        preprocess: Any = None,
        mean: Any = None,
        std: Any = None,
        size: Any = None,
        layout: str | None = None,
        value_range: tuple[float, float] | None = None,
        bands: Any = None,
        output: Any = None,
        activation: str | None = None,
        segments: Any = "slic",
        n_segments: int = 50,
        baseline: Any = "mean",
        space: str | None = None,
        seed: int = 0,
        batch_size: int | str = "auto",
        runtime: str = "auto",
        device: Any = None,
    ) -> None:
        _validate_options(space, seed, batch_size, runtime)
        if not isinstance(model, Classifier):
            model = Classifier(model, output=output, activation=activation, device=device)
        # A preprocessing may turn the picture's bands into others; then layout= says which axis they are.
        channels = None if preprocess is not None and layout is not None else model.channels
        self.picture = images.read(
            image, layout=layout, value_range=value_range, mean=mean, std=std, channels=channels, bands=bands
        )
        self.preparation = prepare(model, self.picture, preprocess=preprocess, mean=mean, std=std, size=size)
        with self._their_code(model):
            self.view = views.view(self.picture, self.preparation.preprocess)
        inputs = model.tensor(self.view.inputs)
        self.classifier = model.ready_for(inputs)
        fresh = self.classifier.example is None
        found = self.classifier.probe(inputs) if fresh else self.classifier.answers(inputs[None], "probability")[0]
        self.probabilities = found.astype(np.float32)
        self.class_names, self._names_warning = _names(class_names, model, len(self.probabilities))
        self.baseline, self.space, self.seed, self.batch_size = baseline, space, int(seed), batch_size
        self.runtime, self._answers = runtime, Answers()
        around = partial(self._their_code, self.classifier)
        self.regions = Regions(self.view, segments, n_segments, baseline, self.seed, around)

    @contextmanager
    def _their_code(self, classifier: Classifier) -> Iterator[None]:
        """Run the preprocessing; one of the user's may draw random numbers, and must not move theirs.

        Whether it does is found out with the first picture, in the cell that called: later pictures are opened by the
        worker, and must not put back what cells draw meanwhile.
        """
        if isinstance(self.preparation.preprocess, views.Preprocess) or classifier.preprocess_draws is False:
            yield
            return
        with same_randomness() as moved:
            yield
        classifier.preprocess_draws = classifier.preprocess_draws or moved[0]

    @cached_property
    def _toggles(self) -> Problem:
        # The answer to a toggle is about probabilities whatever the map is about.
        plan = engine_of(self.classifier).few(self.classifier) if self.runtime == "torch" else None
        return self._problem(targets.Target(0), "probability", plan)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of any map of this picture should know."""
        mine = (*self.classifier.warnings, *self.view.warnings, *self.regions.warnings, *self.preparation.warnings)
        return (*mine, *self._names_warning)

    @property
    def n_segments(self) -> int:
        """How many regions there are."""
        return self.regions.count

    def target(self, wanted: Any) -> targets.Target:
        """Resolve a class, a pair or a function; None is the top class."""
        return targets.resolve(wanted, self.probabilities, self.class_names)

    def method(self, name: str, given: Iterable[str] = ()) -> MethodInfo:
        """Resolve a method's name; ``"auto"`` picks by the model, among those that have the parameters `given`."""
        if not isinstance(name, str):
            raise ArgumentError(f'method={name!r} must be a name, for example "lime".')
        return registry.auto_method(self.classifier, given) if name == "auto" else registry.get_method(name)

    def predict(self, active: np.ndarray) -> np.ndarray:
        """Probabilities float32 (C,) of the picture with the regions on that `active`, bool (S,), says."""
        if active.all():
            return self.probabilities
        ((_, answers),) = self._toggles.perturb([active[None]])
        return answers[0].astype(np.float32)

    def cost(self, info: MethodInfo, params: Mapping[str, Any]) -> int:
        """Forward passes a method will take."""
        return int(info.cost(self._toggles, **params))

    def menu(self, given: Mapping[str, Mapping[str, Any]], effort: registry.Effort = "any") -> list[MethodRow]:
        """Every method with its parameters and its price on this model, or the reason why it cannot run.

        `given` holds parameters by method, where they are not the defaults; for `effort` see `MethodInfo.unfit`.
        """
        reasons: dict[str, str] = {}  # by need: a model that fails is not asked again for each method
        rows = []
        for info in registry.methods():
            if info.needs not in reasons:
                reasons[info.needs] = info.unfit(self.classifier, effort)
            rows.append(self._row(info, given.get(info.name, {}), reasons[info.needs]))
        return rows

    def _row(self, info: MethodInfo, given: Mapping[str, Any], reason: str) -> MethodRow:
        return {
            "name": info.name,
            "label": info.label,
            "family": registry.FAMILIES.get(info.family, info.family),
            "cost": "" if reason else self._price(info, info.bind(given)),
            "summary": info.summary,
            "unfit": reason,
            "params": [param.row() for param in info.params if param.kind is not object],
        }

    def _price(self, info: MethodInfo, params: Mapping[str, Any]) -> str:
        """``"300 calls, 6 s"``; a pass back costs about as much as two more, and all is rounded boldly."""
        try:
            calls = self.cost(info, params)
        except Exception as error:  # noqa: BLE001 - one method, perhaps of the user's, must not cost them the others
            return first_line(error)
        seconds = calls * self.classifier.seconds * (1 if info.needs == "answers" else 3)
        words = f"{seconds:.1f} s" if seconds < 1 else f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
        return f"{calls:,} call{'' if calls == 1 else 's'}, {words}"

    def layers(self, info: MethodInfo, read: str = "") -> list[LayerRow]:
        """The layers worth reading with a method, and how finely each sees; none where it reads no layer.

        Those are the blocks, the layer that is chosen unless told otherwise, and the one that is `read` now.
        """
        if not any(param.name == "target_layer" for param in info.params) or unfit(self.classifier):
            return []
        wanted = {read, choose(self.classifier).name}
        return [
            {"name": layer.name, "label": f"{layer.name} · {layer.grid[1]} × {layer.grid[0]}"}
            for layer in survey(self.classifier)
            if layer.name in wanted or (layer.makes and layer.alive and not layer.inner)
        ]

    def layer_name(self, layer: Any) -> str:
        """The dotted name of a layer, given by its name or itself; an unknown one is an error."""
        return get_layer(self.classifier, layer)[0]

    @cached_property
    def model_id(self) -> str:
        """What the model is known by; hashing its weights may take a moment."""
        return fingerprint(self.classifier.declared.origin)

    def explain(self, info: MethodInfo, target: targets.Target, params: Mapping[str, Any]) -> Iterator[Step]:
        """Run a method step by step; closing the iterator cancels it between two batches.

        Raises
        ------
        MethodError
            At once, if it cannot work on this model.
        """
        reason = info.unfit(self.classifier)
        if reason:
            raise MethodError(f"{info.label} cannot run here. {reason}")
        space = self.space or info.space
        start = time.perf_counter()
        cost = self.cost(info, params)
        engine, plan = engine_of(self.classifier), None
        streamed = cost if info.streams else 1
        runtime = self.runtime if info.streams else "torch"
        for plan in engine.plan(self.classifier, streamed, runtime, self.batch_size):
            if plan is None:
                yield Step(self, info, target, params, space, Estimate(done=0, total=cost), 0.0)
        problem = self._problem(target, space, plan, engine)
        if streamed >= MANY:
            problem = replace(problem, given_plan=engine.rounded(problem, plan, streamed))
        for estimate in info.run(problem, **params):
            seconds = time.perf_counter() - start
            yield Step(self, info, target, params, space, estimate, seconds, problem)

    def describe_input(self) -> dict[str, Any]:
        """What was done to the picture, for the input chip and for `Explanation.params`."""
        width, height = self.picture.size
        seen_height, seen_width = self.view.shape
        steps = [*self.picture.notes, self.preparation.note, *self.view.notes]
        return {
            "source_size": [width, height],
            "view_size": [seen_width, seen_height],
            "to_source": list(self.view.to_source) if self.view.to_source else None,
            "picture_id": self.picture.digest,
            "steps": [step for step in steps if step],
            "device": str(self.classifier.device),
            "model": list(self.classifier.declared.notes),
            "answers": self.classifier.kind,
            "answers_in_words": KINDS[self.classifier.kind],
        }

    def _problem(
        self, target: targets.Target, space: str, plan: Plan | None = None, engine: Engine | None = None
    ) -> Problem:
        return Problem(
            self.classifier,
            self.view,
            self.regions,
            target,
            space,
            self.seed,
            self.batch_size,
            self.class_names,
            engine,
            plan,
            self._answers,
        )


class Step:
    """A method's estimate together with what an `Explanation` needs; making one is put off until it is wanted."""

    def __init__(
        self,
        session: Session,
        info: MethodInfo,
        target: targets.Target,
        params: Mapping[str, Any],
        space: str,
        estimate: Estimate,
        seconds: float,
        problem: Problem | None = None,
    ) -> None:
        self.info, self.target, self.estimate, self.seconds = info, target, estimate, seconds
        self._session, self._params, self._space = session, params, space
        self._tally, self._plan = replace(problem.tally) if problem else Tally(), problem and problem.plan

    def explanation(self, *, stopped: bool = False) -> Explanation:
        """The estimate as a frozen result; one that was `stopped` says so."""
        session, estimate, info = self._session, self.estimate, self.info
        regions = session.regions if session.regions.made else session.regions.alone()
        values = estimate.values
        if values is None and estimate.regions is None:  # pictures only
            values = np.zeros(session.view.shape)
        elif values is None:
            values = np.asarray(estimate.regions)[session.regions.labels]
        warnings = [*estimate.warnings, *session.warnings]  # what the method says comes first
        if stopped:
            warnings.append(f"Stopped after {estimate.done:,} of {estimate.total:,}: this is the map found by then.")
        empty = not (np.any(values) or estimate.pictures)
        saturated = self._saturated()
        if saturated and empty:
            warnings = [saturated, *session.warnings]  # whatever else is said of an empty map is not the reason
        elif saturated:
            warnings.append(saturated)
        elif not (estimate.warnings or estimate.pictures) and float(np.ptp(values)) == 0:
            warnings.append(f"The map is the same everywhere: {info.label} found nothing that matters here.")
        params = {name: _describe(value) for name, value in self._params.items()}
        tally, engine = self._tally, {}
        if tally.asked or tally.reused:
            size = min(self._plan.batch_size, tally.largest or self._plan.batch_size)
            told = {"reused": tally.reused, "incremental": tally.incremental}
            engine = {**self._plan.record(), "batch_size": size, **told}
        return Explanation(
            values=np.ascontiguousarray(values, np.float32),
            image=session.view.image,
            segments=regions.labels if regions.made else lambda: regions.labels,
            probabilities=session.probabilities,
            target=self.target.key,
            target_name=self.target.name,
            method=info.name,
            segment_values=None if estimate.regions is None else np.asarray(estimate.regions, np.float64),
            std_error=None if estimate.std_error is None else np.asarray(estimate.std_error, np.float64),
            interactions=estimate.interactions,
            coarse=estimate.coarse,
            off_image=regions.off_image if regions.made else lambda: regions.off_image,
            pictures=np.stack([picture for picture, _ in estimate.pictures]) if estimate.pictures else None,
            captions=tuple(caption for _, caption in estimate.pictures),
            params={**params, "input": {**session.describe_input(), "engine": engine}},
            space=self._space,
            signed=info.signed,
            additive=info.additive and estimate.regions is not None,  # a pixel's number is no promise about a region
            target_layer=estimate.layer,
            baseline=baselines.name_of(session.baseline),
            seed=session.seed,
            n_forward=estimate.n_forward - tally.reused,
            seconds=self.seconds,
            checks=estimate.checks,
            warnings=tuple(warnings),
            class_names=session.class_names,
            model_name=session.classifier.name,
            versions=dict(_versions()),
        )

    def _saturated(self) -> str:
        """That the gradient of a probability near 0 or 1 is as good as zero, where the method depends on it."""
        classifier, index = self._session.classifier, self.target.index
        if "probabilit" not in classifier.kind or index is None:
            return ""
        if self.info.needs == "answers" or not self.info.differentiates:
            return ""
        value = float(self._session.probabilities[index])
        if 1e-6 < value < 1 - 1e-6:
            return ""
        return (
            f"The model answers with probabilities, and at {value:.6g} their gradients vanish, whatever matters to it. "
            'Have it return logits, before softmax or sigmoid, or only ask it: method="occlusion"'
        )


@cache
def _versions() -> dict[str, str]:
    """Versions of everything that can change a map."""
    others = {name: version(name) for name in ("torch", "numpy", "scikit-image", "lime", "shap", "Pillow")}
    return {"xai-widgets": __version__, "python": platform.python_version(), **others}


def _names(given: Any, classifier: Classifier, n_classes: int) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """The class names given, or those that the model declares; and a warning if the latter do not fit its answers."""
    if given is not None:
        return targets.check_names(given, n_classes), ()
    try:
        return targets.check_names(classifier.declared.class_names, n_classes), ()
    except TargetError as error:
        return None, (f"The class names that the model declares are left out: {error}",)


def _validate_options(space: Any, seed: Any, batch_size: Any, runtime: Any) -> None:
    if space is not None and space not in SPACES:
        raise ArgumentError(f"space={space!r} must be 'probability' or 'logit'.")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**32:
        raise ArgumentError(f"seed={seed!r} must be a whole number from 0 to 2**32 - 1.")
    if batch_size != "auto" and (isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1):
        raise ArgumentError(f'batch_size={batch_size!r} must be a whole number of at least 1, or "auto".')
    if runtime not in RUNTIMES:
        raise ArgumentError(f"runtime={runtime!r} must be one of {', '.join(map(repr, RUNTIMES))}.")


def _describe(value: Any) -> Any:
    """A parameter as an explanation records it: numbers and strings as they are, anything else by name."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_describe(item) for item in value]
    return getattr(value, "__name__", type(value).__name__)
