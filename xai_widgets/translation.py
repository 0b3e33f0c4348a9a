"""A model translated for OpenVINO, which computes convolutional networks on a CPU several times as fast as torch.

Optional: ``pip install xai-widgets[fast]``. The translation holds a copy of the weights, so it is thrown away when
they change (see `known`), and its answers are compared with the model's before any is used.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from xai_widgets.errors import ModelError, first_line
from xai_widgets.guard import LOCK, guard
from xai_widgets.outputs import finish

if TYPE_CHECKING:
    from xai_widgets.classifiers import Classifier

TOLERANCE = 1e-5
"""How far its answers may be from the model's, see `Translation.gap`."""

_OPTIONS = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False}
"""Its own choice would be bfloat16 on some CPUs; threads bound to cores would fight with torch's for them."""


def unfit(classifier: Classifier) -> str:
    """Why a model is not translated, in one sentence, or empty."""
    habits = classifier.habits
    if find_spec("openvino") is None:
        return "OpenVINO is not installed: pip install openvino."
    if classifier.device.type != "cpu" or classifier.dtype != torch.float32:
        return f"The model computes on {classifier.device} in {classifier.dtype}, not on a CPU in float32."
    if classifier.opaque or classifier.guarded is not classifier.model:
        return f"{classifier.name} {classifier.opaque or 'is asked through a function'}."
    if isinstance(classifier.model, torch.jit.ScriptModule) or classifier.batch is not None:
        return f"{classifier.name} is compiled already, or takes {classifier.batch} pictures at a time."
    if any(module._forward_hooks or module._forward_pre_hooks for module in classifier.model.modules()):  # noqa: SLF001
        return f"There are hooks on {classifier.name}, which may do anything."
    if habits is None or habits.draws or habits.attributes:
        return f"{classifier.name} does more than answer when it is asked."
    return ""


class Translation:
    """A compiled model: float32 batch (B, C, h, w) → scores (B, classes)."""

    def __init__(self, compiled: Any, classes: int) -> None:
        self._compiled, self._classes = compiled, classes
        self._request = compiled.create_infer_request()

    def __call__(self, batch: Tensor) -> Tensor:
        """Ask about a batch of any size; the answer to a picture does not depend on the others, to the bit."""
        with LOCK:  # there is one request, and one model is asked at a time
            found = self._request.infer([batch.contiguous().numpy()], share_inputs=True)[0]
        if len(found) != len(batch):
            raise ModelError(f"The translated model answers about {len(found)} pictures, whatever it is asked.")
        scores = torch.from_numpy(found.reshape(len(batch), self._classes))
        if not bool(scores.isfinite().all()):
            raise ModelError("The model answered with scores that are NaN or infinite; are its weights sound?")
        return scores

    def gap(self, classifier: Classifier, *, quick: bool = False) -> float:
        """The largest difference from the model's answers, on the picture and altered ones; `quick` on it alone.

        In probabilities, or in scores as part of the largest, whichever is more.
        """
        example = classifier.example
        pictures = torch.stack([example, example.roll(7, -2), example.flip(-1), 0.5 * example, 0 * example])
        pictures = pictures[:1] if quick else pictures
        with guard(classifier.guarded, classifier.habits), torch.no_grad():
            theirs = torch.cat([classifier.scores(picture[None]) for picture in pictures])
        ours = self(pictures)
        sure, found = (finish(scores, classifier.kind, "probability") for scores in (theirs, ours))
        scale = max(1.0, float(theirs.abs().max()))
        return max(float((sure - found).abs().max()), float((theirs - ours).abs().max()) / scale)


@dataclass
class Traced:
    """What a model does to a picture, written down by torch."""

    graph: torch.jit.ScriptModule
    example: Tensor
    classes: int

    def compile(self) -> Translation:
        """Translate and compile it; takes seconds, needs neither the model nor its lock.

        Raises
        ------
        RuntimeError
            If OpenVINO cannot, with its reason.
        """
        import openvino
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

        try:
            # Not `openvino.convert_model`, which does the same and reports on its use.
            frontend = FrontEndManager().load_by_framework("pytorch")
            decoder = TorchScriptPythonDecoder(self.graph, example_input=(self.example,))  # outlives the conversion
            model = frontend.convert(frontend.load(decoder))
            model.reshape([-1, *self.example.shape[1:]])
            return Translation(openvino.Core().compile_model(model, "CPU", _OPTIONS), self.classes)
        except Exception as error:
            raise RuntimeError(first_line(error)) from error


def trace(classifier: Classifier) -> Traced:
    """Trace a model; takes a second.

    Raises
    ------
    RuntimeError
        If torch cannot, with its reason.
    """
    example = classifier.example[None]
    # The guard watches everything, for a model may do more while it is traced.
    with warnings.catch_warnings(), guard(classifier.guarded), torch.no_grad():
        warnings.simplefilter("ignore")  # of tracing being old, and of numbers that become constants, which is wanted
        classes = classifier.scores(example).shape[1]
        try:
            return Traced(torch.jit.trace(_scores(classifier), example, check_trace=False), example, classes)
        except Exception as error:
            raise RuntimeError(first_line(error)) from error


def _scores(classifier: Classifier) -> torch.nn.Module:
    """The model with its answer reduced to scores; torch traces modules, and must find the weights in one."""

    class Scores(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = classifier.model

        def forward(self, batch: Tensor) -> Tensor:
            return classifier.scores(batch)

    whole = Scores()
    whole.training = False
    return whole
