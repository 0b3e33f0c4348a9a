"""Any model → ``answers(batch)`` of shape (B, C)."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xai_widgets.errors import ArgumentError, MethodError, ModelError
from xai_widgets.guard import guard, random_states, same_states

SPACES = ("probability", "logit")


class Classifier:
    """A model behind one interface.

    Parameters
    ----------
    model : torch.nn.Module or callable
        Takes float tensors (B, C, h, w). A callable may return an array.
    output : str, int or callable, optional
        Which part of a tuple or dict answer holds the classes, or a function of the answer that returns them.
    device : str or torch.device, optional
        Where to run. Default: where the model is. Another device runs a copy, so that the model stays in its place.
    """

    def __init__(self, model: Any, *, output: Any = None, device: Any = None) -> None:
        if model is None:
            raise ModelError(
                "There is no model. Pass a torch module or a callable on a batch: xw.explain(model, image)"
            )
        if not callable(model):
            raise ModelError(
                f"A {type(model).__name__} cannot be called on a batch. Pass a torch module, or a function from a "
                "float tensor (B, C, h, w) to class scores (B, classes)."
            )
        model = getattr(model, "_orig_mod", model)  # what torch.compile wrapped: in compiled code no hook would fire
        self.is_module = isinstance(model, nn.Module)
        own = next(model.parameters(), None) if self.is_module else None
        self.device = own.device if own is not None else torch.device("cpu")
        if device is not None:
            try:
                self.device = torch.empty(0, device=device).device
            except (RuntimeError, AssertionError, TypeError) as error:
                raise ArgumentError(f"device={device!r} cannot be used here: {_first_line(error)}") from error
        if self.is_module and own is not None and own.device != self.device:
            import copy

            model = copy.deepcopy(model).to(self.device)
        self.model = model
        self.dtype = own.dtype if own is not None and own.is_floating_point() else torch.float32
        self.output = output
        self.kind = "logits"
        """What the answers are: logits, probabilities, or one logit for two classes. Known after `probe`."""
        self.draws = True
        """Whether it draws random numbers even in evaluation mode; `probe` finds out."""
        self.memory_format = torch.contiguous_format
        """How batches are laid out in memory; `probe` finds out whether the model takes the faster one."""
        self.example: Tensor | None = None
        """The input (C, h, w) it was probed with: what methods look at to find out how the model is built."""
        self.seconds = math.inf
        """The least that one picture has cost in `answers` so far; the first calls warm up and cost more."""

    @property
    def name(self) -> str:
        """The model's class or function name, for people."""
        return getattr(self.model, "__name__", type(self.model).__name__)

    @property
    def in_channels(self) -> int:
        """Channels of the first convolution, 3 where there is none."""
        if self.is_module:
            for module in self.model.modules():
                if isinstance(module, nn.Conv2d):
                    return module.in_channels
        return 3

    def tensor(self, inputs: np.ndarray | Tensor) -> Tensor:
        """Model input on the model's device and in its precision."""
        return torch.as_tensor(inputs).to(self.device, self.dtype)

    def probe(self, inputs: Tensor) -> np.ndarray:
        """Ask once about the whole picture, find out what kind of answer it is, return probabilities (C,)."""
        self.example = inputs
        with guard(self.model), torch.no_grad():
            modules = list(self.model.modules()) if self.is_module else []
            before = random_states(modules)
            raw = self._call(inputs[None])
            self.draws = not same_states(before, random_states(modules))
            rows = self._rows(raw, 1)
        if rows.shape[1] == 1:
            self.kind = "single logit"
        elif bool((rows >= 0).all()) and abs(float(rows.sum()) - 1) < 1e-3:
            self.kind = "probabilities"
        probabilities = self._finish(rows, "probability")[0].detach().cpu().numpy()
        self._try_channels_last(inputs, probabilities)
        self.answers(inputs[None], "probability")
        return probabilities

    def _try_channels_last(self, inputs: Tensor, expected: np.ndarray) -> None:
        """On a CPU channels-last convolutions are faster, but a model may reshape with ``view`` and break."""
        if self.device.type != "cpu" or not self.is_module:
            return
        if not any(isinstance(module, nn.Conv2d) for module in self.model.modules()):
            return
        self.memory_format = torch.channels_last
        try:
            # Two pictures: some views are possible for a batch of one only.
            found = self.answers(inputs.expand(2, *inputs.shape), "probability")[0]
        except ModelError:
            found = None
        if found is None or not np.allclose(found, expected, atol=1e-5):
            self.memory_format = torch.contiguous_format

    def answers(self, inputs: Tensor, space: str) -> np.ndarray:
        """Class scores of a batch without gradients: (B, C, h, w) → float64 (B, classes)."""
        inputs = inputs.contiguous(memory_format=self.memory_format)
        with guard(self.model, random_state=self.draws), torch.no_grad():
            start = time.perf_counter()
            answer = self._finish(self._rows(self._call(inputs), len(inputs)), space).detach().double().cpu().numpy()
        self.seconds = min(self.seconds, (time.perf_counter() - start) / len(inputs))
        return answer

    @contextmanager
    def differentiable(self, inputs: Tensor) -> Iterator[tuple[Tensor, Callable[[Tensor, str], Tensor]]]:
        """A leaf copy of the inputs and a forward pass that keeps its graph, inside the guard.

        Works with frozen weights and inside ``no_grad`` or ``inference_mode``; use ``torch.autograd.grad`` on the
        result, never ``backward``, which would fill the model's ``.grad``.
        """
        if not self.is_module:
            raise ModelError(f"{self.name} is a plain callable; gradients need a torch module.")
        with guard(self.model, random_state=self.draws), torch.inference_mode(False), torch.enable_grad():
            leaf = inputs.detach().clone().requires_grad_()
            yield leaf, lambda batch, space: self._finish(self._rows(self._call(batch), len(batch)), space)

    def gradient(self, score: Tensor, at: Tensor, name: str) -> Tensor:
        """``∂ score / ∂ at`` for a score made inside `differentiable`; `name` is how an error calls `at`.

        Raises
        ------
        MethodError
            If the score does not depend on it in a way that torch can follow.
        """
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # with more, some of torch's backward passes differ in the last bit from run to run
        try:
            found = torch.autograd.grad(score, at, allow_unused=True)[0] if score.requires_grad else None
        finally:
            torch.set_num_threads(threads)
        if found is None:
            raise MethodError(
                f"No gradient of {self.name} reaches {name}: the answer does not depend on it, or the model computes "
                'under no_grad or detaches. Use a method that only asks for answers: method="occlusion"'
            )
        return found

    # ---- the answer ------------------------------------------------------------------------------------------------

    def _call(self, batch: Tensor) -> Any:
        try:
            return self.model(batch.clone())  # a model may scale its input in place
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            channels, height, width = batch.shape[1:]
            raise ModelError(
                f"{self.name} raised {type(error).__name__}: {_first_line(error)} It was asked about a batch of "
                f"{len(batch)} picture(s), {channels}×{height}×{width}, {batch.dtype}. If it expects another size or "
                "scaling, pass preprocess=weights.transforms(), or size=224, mean=…, std=…"
            ) from error

    def _rows(self, raw: Any, n: int) -> Tensor:
        answer = self._pick(raw)
        if isinstance(answer, np.ndarray):
            answer = torch.from_numpy(answer)
        if not isinstance(answer, Tensor):
            raise ModelError(
                f"{self.name} answered with a {type(answer).__name__}; scores of shape (B, classes) are needed. "
                "Say where they are: output=lambda answer: …"
            )
        if answer.ndim == 1 and len(answer) == n:
            answer = answer[:, None]
        if answer.ndim == 4 and answer.shape[2:] == (1, 1):
            answer = answer[:, :, 0, 0]
        if answer.ndim == 4:
            raise ModelError(
                f"{self.name} answered with shape {tuple(answer.shape)}, scores for every pixel: this looks like "
                "segmentation. To explain the mean score of a class pass output=lambda y: y.mean((2, 3))"
            )
        if answer.ndim != 2 or len(answer) != n or answer.shape[1] == 0:
            raise ModelError(f"{self.name} answered with shape {tuple(answer.shape)}; ({n}, classes) is needed.")
        if not bool(torch.isfinite(answer).all()):
            bad = int((~torch.isfinite(answer)).sum())
            raise ModelError(f"{self.name} answered with {bad} scores that are NaN or infinite; are its weights sound?")
        return answer.float()

    def _pick(self, raw: Any) -> Any:
        if callable(self.output):
            return self.output(raw)
        if self.output is not None:
            try:
                return raw[self.output] if not isinstance(self.output, str) or isinstance(raw, Mapping) else getattr(
                    raw, self.output
                )  # fmt: skip
            except (KeyError, IndexError, TypeError, AttributeError) as error:
                raise ModelError(f"output={self.output!r} is not in the answer, a {type(raw).__name__}.") from error
        if isinstance(raw, (Tensor, np.ndarray)):
            return raw
        if hasattr(raw, "logits") and isinstance(raw.logits, Tensor):
            return raw.logits
        parts = _parts(raw)
        tensors = {key: part for key, part in parts.items() if isinstance(part, (Tensor, np.ndarray))}
        if "logits" in tensors:
            return tensors["logits"]
        if len(tensors) == 1:
            return next(iter(tensors.values()))
        if not tensors:
            return raw
        found = ", ".join(f"{key!r} {tuple(part.shape)}" for key, part in tensors.items())
        raise ModelError(
            f"{self.name} answered with several tensors: {found}. Say which holds the classes: "
            f"output={next(iter(tensors))!r}"
        )

    def _finish(self, rows: Tensor, space: str) -> Tensor:
        """Raw scores → probabilities or logits. One logit z becomes (-z/2, z/2), so that its softmax is (1-σ, σ)."""
        if self.kind == "single logit":
            rows = torch.cat([-rows / 2, rows / 2], 1)
        if self.kind == "probabilities":
            return rows if space == "probability" else rows.clamp_min(1e-12).log()
        return rows.softmax(1) if space == "probability" else rows


def _parts(raw: Any) -> dict[Any, Any]:
    if isinstance(raw, Mapping):
        return dict(raw)
    if isinstance(raw, Sequence) and not isinstance(raw, (str, bytes)):
        return dict(enumerate(raw))
    if dataclasses.is_dataclass(raw) and not isinstance(raw, type):
        return {f.name: getattr(raw, f.name) for f in dataclasses.fields(raw)}
    return {}


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    line = text[0] if text else "no message"
    return line if line.endswith(".") else line + "."
