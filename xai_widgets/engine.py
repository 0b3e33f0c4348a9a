"""How a model is asked about many pictures at the least price.

On a CPU the same question must get the same bytes again, so everything that can change the last bits is chosen by what
can be counted: the size of a picture and the multiplications of one answer say how many pictures are asked at once, and
whether it pays to translate the model for a faster runtime. The clock has its say on a GPU. What was used stands in the
explanation.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from xai_widgets import known, translation
from xai_widgets.errors import ArgumentError, XaiError, first_line
from xai_widgets.guard import guard
from xai_widgets.outputs import finish

if TYPE_CHECKING:
    from collections.abc import Hashable

    from xai_widgets.classifiers import Classifier
    from xai_widgets.problem import Problem

RUNTIMES = ("auto", "torch", "openvino")

FEW = {"cpu": 8, "cuda": 64}
"""Pictures at once where nothing is known: on a CPU of eleven models of torchvision each but the smallest was within a
fifth of its best with 8 pictures of 224 × 224 (`benchmarks/engine.py`). A GPU wants many."""

LARGEST = {"cpu": 64, "cuda": 512}
"""Beyond these no batch size is tried."""

ROOM = 5e6
"""Bytes of pictures in a batch on a CPU, eight of 224 × 224: their activations take some thirty times as much, and that
is to stay under 200 MB."""

BATCH = 7e10
"""Floating-point operations of a batch on a CPU: about a second on two cores, for a reader may stop after each. By then
a larger batch is no faster."""

MANY = 100
"""Expected pictures from which it pays to look for a better way."""

TRANSLATION = 7.5e10
"""Expected floating-point operations from which a translation pays: on two cores torch takes two and a half seconds for
them, and so does translating. In one call few models save that much, in a few all do (`benchmarks/engine.py`)."""

CONVOLVED = 0.5
"""Least share of convolutions in a model's operations for a translation: OpenVINO computes them faster, but products of
matrices no faster than torch."""

_SLOWER = 1.5
"""A translation that takes so much longer than torch is left; less is no reason, for the clock is not to choose."""

_PROBES = 16
"""Pictures on which the error of a lower precision is measured."""

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
    ms : float or None
        Milliseconds a picture, where that was measured.
    note : str
        Why it is not another one, where somebody may wonder.
    """

    runtime: str
    precision: str
    batch_size: int
    channels_last: bool
    ms: float | None = None
    note: str = ""

    def record(self) -> dict[str, Any]:
        """As an explanation keeps it."""
        return asdict(replace(self, ms=None if self.ms is None else round(self.ms, 3)))


class Engine:
    """Asks one classifier about pictures of one size; shared by every call about the same model.

    It refers to no classifier and no model, so that it can be kept beside the model for as long as that lives.
    """

    def __init__(self, stamp: Hashable) -> None:
        self.stamp = stamp
        """Of the model that it knows."""
        self._torch: Plan | None = None
        self._rounded: Plan | None = None
        self._operations: float | None = None
        self._convolved = 0.0
        """The share of convolutions in those."""
        self._compiling: Future[translation.Translation] | None = None
        self._translated: Plan | str = ""
        """The plan with OpenVINO, or why there is none; empty where nobody has tried."""
        self._slow = ""
        """Why the translation is not used unless somebody insists."""

    def few(self, classifier: Classifier, batch_size: int | str = "auto", *, quick: bool = False) -> Plan:
        """How to ask about a few pictures; `quick` takes a translation if there happens to be a faster one."""
        if quick and isinstance(self._translated, Plan) and not self._slow:
            return _sized(self._translated, batch_size)
        precision = str(classifier.dtype).removeprefix("torch.")
        plan = Plan("torch", precision, _few(classifier), classifier.memory_format == torch.channels_last)
        return _sized(plan, batch_size)

    def plan(
        self, classifier: Classifier, n_expected: int, runtime: str = "auto", batch_size: int | str = "auto"
    ) -> Iterator[Plan | None]:
        """Choose how to ask about `n_expected` pictures; yields None as long as it takes, then the plan.

        Raises
        ------
        ArgumentError
            If a runtime is wanted that cannot be had, with the reason.
        """
        if (n_expected < MANY and runtime != "openvino") or classifier.batch is not None:
            if runtime == "openvino":
                raise ArgumentError(_REFUSED.format(translation.unfit(classifier)))
            yield self.few(classifier, batch_size)
            return
        plan = yield from self._measured(classifier)
        if runtime != "torch":
            pays = self._counted(classifier) * n_expected >= TRANSLATION and self._convolved >= CONVOLVED
            reason = translation.unfit(classifier)
            if not reason and (pays or runtime == "openvino"):
                yield from self._translating(classifier)
                if isinstance(self._translated, Plan):
                    insist = runtime == "openvino" or not self._slow
                    plan = self._translated if insist else replace(plan, note=self._slow)
                else:
                    reason = self._translated
                    plan = replace(plan, note=reason)
            if runtime == "openvino" and reason:
                raise ArgumentError(_REFUSED.format(reason))
        yield _sized(plan, batch_size)

    def rounded(self, problem: Problem, plan: Plan, n_expected: int) -> Plan:
        """The plan in bfloat16, where that is faster here and its error too small to be seen in what `n_expected` tell.

        The error of the score is measured on pictures with half of the regions off, and may be a tenth of the scores'
        standard deviation divided by the root of `n_expected`: about the standard error of a region's weight.
        """
        classifier = problem.classifier
        plain = plan.runtime == "torch" and classifier.dtype == torch.float32 and classifier.batch is None
        if not plain or not _rounds(classifier.device):
            return plan
        masks = np.random.default_rng(0).random((min(_PROBES, plan.batch_size), problem.n_segments)) < 0.5
        try:
            if plan.ms is None:
                plan = self._timed(classifier, plan)
            if self._rounded is None:
                self._rounded = self._timed(classifier, replace(plan, precision="bfloat16"))
            rough = replace(self._rounded, batch_size=plan.batch_size)
            if rough.ms > 0.8 * plan.ms:
                return plan
            scores, rounded = (
                problem.target.of(self.answers(classifier, each, problem.compose(masks), problem.space))
                for each in (plan, rough)
            )
        except (XaiError, RuntimeError) as error:  # out of memory, too
            return replace(plan, note=f"bfloat16 cannot be used: {first_line(error)}")
        error = float(np.sqrt(np.mean((rounded - scores) ** 2)))
        if error <= 0.1 * float(scores.std()) / n_expected**0.5:
            return rough
        return replace(plan, note=f"bfloat16 would err by {error:.1g}.")

    def answers(self, classifier: Classifier, plan: Plan, inputs: Tensor, space: str) -> np.ndarray:
        """Class scores in a space, float64 (B, classes)."""
        start = time.perf_counter()
        found = finish(self._scores(classifier, plan, inputs), classifier.kind, space).detach().double().cpu().numpy()
        if plan.runtime == "torch":  # what gradients cost is told from it, too
            classifier.seconds = min(classifier.seconds, (time.perf_counter() - start) / len(inputs))
        return found

    def _scores(self, classifier: Classifier, plan: Plan, inputs: Tensor) -> Tensor:
        if plan.runtime == "openvino":
            return self._compiling.result()(inputs)
        layout = torch.channels_last if plan.channels_last else torch.contiguous_format
        cast = nullcontext()
        if plan.precision == "bfloat16" and classifier.dtype != torch.bfloat16:
            cast = torch.autocast(classifier.device.type, torch.bfloat16)
        with guard(classifier.guarded, classifier.habits), torch.no_grad(), cast:
            return classifier.scores(inputs.contiguous(memory_format=layout))

    # ---- choosing --------------------------------------------------------------------------------------------------

    def _counted(self, classifier: Classifier) -> float:
        """Floating-point operations of one answer; 0 where they cannot be counted."""
        if self._operations is None:
            try:
                with _Counter() as counter:
                    self._scores(classifier, self.few(classifier), classifier.example[None])
                self._operations = counter.operations
                self._convolved = counter.convolved / max(counter.operations, 1.0)
            except (XaiError, RuntimeError):  # a model may not bear to be watched
                self._operations = 0.0
        return self._operations

    def _measured(self, classifier: Classifier) -> Iterator[None]:
        """The plan for torch: by count on a CPU, which takes one answer, else by the clock, once."""
        if classifier.device.type == "cpu":
            return replace(self.few(classifier), batch_size=self._room(classifier))
        if self._torch is None:
            self._torch = yield from self._larger(classifier, (yield from self._fitting(classifier)))
        return self._torch

    def _room(self, classifier: Classifier) -> int:
        """How many pictures to ask about at once on a CPU."""
        size, operations = _few(classifier), self._counted(classifier)
        while size > 1 and size * operations > BATCH:
            size //= 2
        most = min(LARGEST["cpu"], _holds(classifier)) if operations else size
        while 2 * size <= most and 2 * size * operations <= BATCH:
            size *= 2
        return size

    def _fitting(self, classifier: Classifier) -> Iterator[None]:
        """What nobody measured, timed, with the largest batch size up to its own that fits into the memory."""
        plan = self.few(classifier)
        while True:
            yield None
            try:
                return self._timed(classifier, plan)
            except torch.OutOfMemoryError:
                if plan.batch_size == 1:
                    raise
                plan = replace(plan, batch_size=plan.batch_size // 2)

    def _larger(self, classifier: Classifier, best: Plan) -> Iterator[None]:
        """The plan with a batch size that is not beaten by its double."""
        while best.batch_size * 2 <= LARGEST.get(classifier.device.type, 64):
            yield None
            try:
                larger = self._timed(classifier, replace(best, batch_size=best.batch_size * 2))
            except torch.OutOfMemoryError:
                return best
            if larger.ms > 0.95 * best.ms:  # noise must not buy memory
                return best
            best = larger
        return best

    def _timed(self, classifier: Classifier, plan: Plan, turns: int = 3) -> Plan:
        """The plan with what a picture costs: the best of some batches behind one that warms up."""
        batch = classifier.example.expand(plan.batch_size, *classifier.example.shape)
        seconds = []
        for _ in range(turns):
            start = time.perf_counter()
            self._scores(classifier, plan, batch).cpu()  # what a GPU has begun is not done
            seconds.append(time.perf_counter() - start)
        return replace(plan, ms=1000 * min(seconds[1:] or seconds) / plan.batch_size)

    # ---- translating -----------------------------------------------------------------------------------------------

    def _translating(self, classifier: Classifier) -> Iterator[None]:
        """See to it that there is a translation that says what the model says, or a reason why there is none."""
        if isinstance(self._translated, Plan):
            if self._compiling.result().gap(classifier, quick=True) <= translation.TOLERANCE:
                return
            # The model has changed in a way that nobody could see.
            self._compiling, self._translated, self._slow = None, "", ""
        if self._translated:
            return
        try:
            if self._compiling is None:
                yield None  # what follows takes a while; there may be something to show meanwhile
                # A thread of its own, without the lock: a reader can stop or toggle meanwhile.
                workers = ThreadPoolExecutor(1, "xai-widgets compiler")
                self._compiling = workers.submit(translation.trace(classifier).compile)
                workers.shutdown(wait=False)
            while not self._compiling.done():
                yield None
                wait([self._compiling], timeout=0.05)
            gap = self._compiling.result().gap(classifier)
            if gap > translation.TOLERANCE:
                self._translated = f"OpenVINO's answers differ by {gap:.1g}."
                return
            plan = Plan("openvino", "float32", self._room(classifier), channels_last=False)
            plan = self._timed(classifier, plan)
            torch_ms = self._timed(classifier, self.few(classifier, min(4, plan.batch_size)), turns=1).ms
            if plan.ms > _SLOWER * torch_ms:
                self._slow = f"OpenVINO takes {plan.ms:.3g} ms a picture, torch {torch_ms:.3g}."
            self._translated = plan
        except (XaiError, RuntimeError) as error:
            self._translated = f"OpenVINO cannot take it: {first_line(error)}"


class _Counter(TorchDispatchMode):
    """Adds up the floating-point operations of what torch does in this thread."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.convolved = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)  # noqa: SLF001 - how torch's own counter asks
        if formula is not None:
            operations = float(formula(*args, **(kwargs or {}), out_val=out))
            self.operations += operations
            self.convolved += operations if "conv" in func.name() else 0.0
        return out


def _few(classifier: Classifier) -> int:
    """How many pictures to ask about at once where nothing is known but how large they are."""
    size = FEW.get(classifier.device.type, 16)
    return size if classifier.device.type != "cpu" else max(1, min(size, _holds(classifier)))


def _holds(classifier: Classifier) -> int:
    """How many pictures `ROOM` holds."""
    return int(ROOM / (classifier.example.numel() * classifier.example.element_size()))


def _rounds(device: torch.device) -> bool:
    """Whether this machine computes faster in bfloat16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    tiles = getattr(torch.cpu, "_is_amx_tile_supported", None)  # torch has no public way to ask
    return device.type == "cpu" and tiles is not None and tiles()


def _sized(plan: Plan, batch_size: int | str) -> Plan:
    return plan if batch_size == "auto" else replace(plan, batch_size=int(batch_size))


def engine_of(classifier: Classifier, stamp: Hashable = None) -> Engine:
    """The engine for a classifier and the size of picture that it was probed with, kept until its model changes."""
    now = classifier.stamp() if stamp is None else stamp
    key = classifier.key("engine", classifier.example)
    engine = classifier.engine or known.recall(classifier.model, key, now)
    if engine is None or engine.stamp != now:
        engine = Engine(now)
        known.keep(classifier.model, key, engine)
    classifier.engine = engine
    return engine
