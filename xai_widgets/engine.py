"""What it costs to ask a model about many pictures, and the cheapest way to do it, measured once a model and size.

A few pictures are asked as they come. Where hundreds are expected, the best batch size and memory layout are measured,
and where there is a runtime that is faster than torch, and enough pictures to pay for the translation, it is used: its
answers are compared with the model's own first. What was used stands in the explanation.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from xai_widgets import known, translation
from xai_widgets.errors import ArgumentError, XaiError, first_line
from xai_widgets.guard import guard
from xai_widgets.outputs import finish

if TYPE_CHECKING:
    from xai_widgets.classifiers import Classifier
    from xai_widgets.problem import Problem

RUNTIMES = ("auto", "torch", "openvino")
FEW = {"cpu": 4, "cuda": 64}
"""Pictures at once where nothing was measured: a CPU's caches hold what a few need, a GPU wants many."""

LARGEST = {"cpu": 64, "cuda": 512}
"""Beyond these no batch size is tried."""

MANY = 200
"""Expected pictures from which measuring pays: it costs about as much as forty."""

TRANSLATION = 6.0
"""Seconds of torch's work that are expected where translating the model pays: that takes two to five seconds, and what
it gives is two to four times as fast (`benchmarks/price.py`)."""

_PROBES = 16
"""Pictures on which the error of a lower precision is measured."""

_COMPILERS = ThreadPoolExecutor(1, "xai-widgets compiler")
"""Compiling holds no lock, so that a reader can stop or toggle meanwhile; Python waits for it at its end."""

_REFUSED = 'runtime="openvino" cannot be used: {} Leave it out, or pass runtime="torch".'


@dataclass(frozen=True)
class Plan:
    """How a model is asked.

    Attributes
    ----------
    runtime : {"torch", "openvino"}
    precision : str
        What it computes in: the model's own, or "bfloat16" where that is as good.
    batch_size : int
    channels_last : bool
    ms : float
        Milliseconds a picture, when that was measured; 0 where not.
    note : str
        Why it is not another one, where somebody may wonder.
    """

    runtime: str
    precision: str
    batch_size: int
    channels_last: bool
    ms: float = 0.0
    note: str = ""

    def record(self) -> dict[str, Any]:
        """As an explanation keeps it."""
        return asdict(replace(self, ms=round(self.ms, 3)))


class Engine:
    """Asks one classifier about pictures of one size; shared by every call about the same model.

    It refers to no classifier and no model, so that it can be kept beside the model for as long as that lives.
    """

    def __init__(self) -> None:
        self._measured: dict[str, Plan] = {}
        self._compiling: Future[translation.Translation] | None = None

    def few(self, classifier: Classifier, batch_size: int | str = "auto", *, quick: bool = False) -> Plan:
        """How to ask about a few pictures; `quick` takes a translation if there happens to be one."""
        translated = self._measured.get("openvino")
        use = quick and translated is not None and translated.ms
        return _sized(translated if use else self._unmeasured(classifier), batch_size)

    def plan(
        self, classifier: Classifier, n_expected: int, runtime: str = "auto", batch_size: int | str = "auto"
    ) -> Iterator[Plan | None]:
        """Choose how to ask about `n_expected` pictures; yields None while a translation is on its way, then the plan.

        The choice depends on the model, the size, the number and this machine, never on what was asked before: the
        same question gets the same bytes again.

        Raises
        ------
        ArgumentError
            If a runtime is wanted that cannot be had, with the reason.
        """
        if n_expected < MANY and runtime != "openvino":
            yield self.few(classifier, batch_size)
            return
        plan = self._unmeasured(classifier)
        if classifier.batch is None:
            plan = self._measure(classifier, plan)
        reason = translation.unfit(classifier) if runtime != "torch" else ""
        if runtime == "openvino" and reason:
            raise ArgumentError(_REFUSED.format(reason))
        pays = plan.ms * n_expected > 1000 * TRANSLATION
        if runtime == "openvino" or (runtime == "auto" and pays and not reason):
            yield from self._translating(classifier)
            translated = self._translation(classifier)
            if runtime == "openvino" and not translated.ms:
                raise ArgumentError(_REFUSED.format(translated.note))
            better = runtime == "openvino" or 0 < translated.ms < plan.ms
            plan = translated if better else replace(plan, note=translated.note or f"OpenVINO: {translated.ms:.3g} ms.")
        yield _sized(plan, batch_size)

    def rounded(self, problem: Problem, plan: Plan, n_expected: int) -> Plan:
        """The plan in bfloat16, where that is faster here and its error too small to be seen in what `n_expected` tell.

        The error of the score is measured on pictures with half of the regions off, and may be a tenth of the scores'
        standard deviation divided by the root of `n_expected`: about the standard error of a region's weight.
        """
        classifier = problem.classifier
        if (
            plan.runtime != "torch"
            or not plan.ms
            or classifier.dtype != torch.float32
            or not _rounds(classifier.device)
        ):
            return plan
        if "bfloat16" not in self._measured:
            self._measured["bfloat16"] = self._timed(classifier, replace(plan, precision="bfloat16"))
        rough = replace(self._measured["bfloat16"], batch_size=plan.batch_size)
        if rough.ms > 0.8 * plan.ms:
            return plan
        masks = np.random.default_rng(0).random((_PROBES, problem.n_segments)) < 0.5
        scores, rounded = (
            problem.target.of(self.answers(classifier, each, problem.compose(masks), problem.space))
            for each in (plan, rough)
        )
        error = float(np.sqrt(np.mean((rounded - scores) ** 2)))
        if error <= 0.1 * float(scores.std()) / n_expected**0.5:
            return rough
        return replace(plan, note=f"bfloat16 would err by {error:.1g}.")

    def answers(self, classifier: Classifier, plan: Plan, inputs: Tensor, space: str) -> np.ndarray:
        """Class scores in a space, float64 (B, classes)."""
        start = time.perf_counter()
        found = finish(self._scores(classifier, plan, inputs), classifier.kind, space).detach().double().cpu().numpy()
        classifier.seconds = min(classifier.seconds, (time.perf_counter() - start) / len(inputs))
        return found

    def _scores(self, classifier: Classifier, plan: Plan, inputs: Tensor) -> Tensor:
        if plan.runtime == "openvino":
            return self._compiling.result()(inputs)
        layout = torch.channels_last if plan.channels_last else torch.contiguous_format
        rounds = torch.autocast(classifier.device.type, torch.bfloat16, enabled=plan.precision == "bfloat16")
        with guard(classifier.guarded, classifier.habits), torch.no_grad(), rounds:
            return classifier.scores(inputs.contiguous(memory_format=layout))

    # ---- choosing --------------------------------------------------------------------------------------------------

    def _unmeasured(self, classifier: Classifier) -> Plan:
        precision = str(classifier.dtype).removeprefix("torch.")
        size = FEW.get(classifier.device.type, 16)
        return Plan("torch", precision, size, classifier.memory_format == torch.channels_last)

    def _measure(self, classifier: Classifier, first: Plan) -> Plan:
        """The faster layout, and the batch size that is not beaten by its double."""
        if "torch" not in self._measured:
            candidates = [first] if not first.channels_last else [first, replace(first, channels_last=False)]
            best = min((self._timed(classifier, each) for each in candidates), key=lambda plan: plan.ms)
            self._measured["torch"] = self._larger(classifier, best)
        return self._measured["torch"]

    def _larger(self, classifier: Classifier, best: Plan) -> Plan:
        while best.batch_size * 2 <= LARGEST.get(classifier.device.type, 64):
            try:
                larger = self._timed(classifier, replace(best, batch_size=best.batch_size * 2))
            except torch.OutOfMemoryError:
                return best
            if larger.ms > 0.95 * best.ms:  # noise must not buy memory
                return best
            best = larger
        return best

    def _timed(self, classifier: Classifier, plan: Plan) -> Plan:
        """The plan with what a picture costs: the better of two batches behind one that warms up."""
        batch = classifier.example.expand(plan.batch_size, *classifier.example.shape)
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            self._scores(classifier, plan, batch).cpu()  # what a GPU has begun is not done
            seconds.append(time.perf_counter() - start)
        return replace(plan, ms=1000 * min(seconds[1:]) / plan.batch_size)

    # ---- translating -----------------------------------------------------------------------------------------------

    def _translating(self, classifier: Classifier) -> Iterator[None]:
        if self._compiling is None:
            try:
                traced = translation.trace(classifier)
            except (RuntimeError, XaiError) as error:
                self._measured["openvino"] = replace(_UNTRUE, note=f"OpenVINO cannot take it: {first_line(error)}")
                return
            self._compiling = _COMPILERS.submit(traced.compile)
        while not self._compiling.done():
            yield None
            wait([self._compiling], timeout=0.05)

    def _translation(self, classifier: Classifier) -> Plan:
        """The plan with OpenVINO; its `ms` is 0 where it cannot be used, with the reason."""
        if "openvino" not in self._measured:
            try:
                gap = self._compiling.result().gap(classifier)
            except (XaiError, RuntimeError) as error:
                plan = replace(_UNTRUE, note=f"OpenVINO cannot take it: {first_line(error)}")
            else:
                plan = replace(_UNTRUE, note=f"OpenVINO's answers differ by {gap:.1g}.")
                if gap <= translation.TOLERANCE:
                    plan = self._larger(classifier, self._timed(classifier, replace(plan, note="")))
            self._measured["openvino"] = plan
        return self._measured["openvino"]


_UNTRUE = Plan("openvino", "float32", FEW["cpu"], channels_last=False)


def _rounds(device: torch.device) -> bool:
    """Whether this machine computes faster in bfloat16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    tiles = getattr(torch.cpu, "_is_amx_tile_supported", None)  # torch has no public way to ask
    return device.type == "cpu" and tiles is not None and tiles()


def _sized(plan: Plan, batch_size: int | str) -> Plan:
    return plan if batch_size == "auto" else replace(plan, batch_size=int(batch_size))


def engine_of(classifier: Classifier) -> Engine:
    """The engine for a classifier and the size of picture that it was probed with, kept until its model changes."""
    key = classifier.key("engine", classifier.example)
    if key is not None and isinstance(classifier.model, torch.nn.Module):
        classifier.engine = known.recall(classifier.model, key)
    if classifier.engine is None:
        classifier.engine = Engine()
        known.keep(classifier.model, key, classifier.engine)
    return classifier.engine
