"""Any model → ``answers(batch)`` of shape (B, C), and gradients where it has them."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from xai_widgets import known
from xai_widgets.adapters import adapt
from xai_widgets.errors import ArgumentError, MethodError, ModelError, XaiError, first_line
from xai_widgets.guard import Habits, guard
from xai_widgets.outputs import finish, pick, rows
from xai_widgets.probing import probe

if TYPE_CHECKING:
    from xai_widgets.canonical import Canonical
    from xai_widgets.engine import Engine


_PROBED = (
    "kind", "batch", "habits", "gradient_habits", "memory_format", "seconds", "_colours",
)  # fmt: skip
"""What `probe` finds out, and would find out again."""


class Classifier:
    """A model behind one interface.

    Parameters
    ----------
    model : object
        Anything that `adapters.adapt` knows.
    output : str, int or callable, optional
        Which part of a tuple or dict answer holds the classes, or a function of the answer that returns them.
    activation : {"softmax", "sigmoid", "none"}, optional
        What turns the scores into probabilities. Default: what the model declares, else found out by `probe`.
    device : str or torch.device, optional
        Where to run. Default: where the model is. Another device runs a copy, so that the model stays in its place.
    """

    def __init__(self, model: Any, *, output: Any = None, activation: str | None = None, device: Any = None) -> None:
        self.declared = adapt(model)
        model = self.declared.ask
        own = None
        if isinstance(model, nn.Module):
            tensors = (*model.parameters(), *model.buffers())
            own = next((tensor for tensor in tensors if tensor.is_floating_point()), None)
        self.device = own.device if own is not None else torch.device("cpu")
        if device is not None:
            try:
                self.device = torch.empty(0, device=device).device
                if self.device.type == "meta":
                    raise RuntimeError("nothing can be computed there")
            except (RuntimeError, AssertionError, TypeError) as error:
                raise ArgumentError(f"device={device!r} cannot be used here: {first_line(error)}") from error
        if own is not None and own.device != self.device:
            model = copy.deepcopy(model).to(self.device)
        self.model = model
        self.guarded = self.declared.holds or model
        """What the guard watches: the model, or the modules behind a function."""
        self.name = self.declared.name
        self.opaque = self.declared.opaque
        """Why one cannot look inside, in half a sentence; empty where one can."""
        self.dtype = own.dtype if own is not None else torch.float32
        self.output = output
        self.activation = activation if activation is not None else self.declared.activation
        self.batch = self.declared.batch
        """The only number of pictures it takes at once, or None."""
        # Known after `probe`.
        self.kind = "logits"
        """What the answers are, a key of `outputs.KINDS`."""
        self.habits: Habits | None = None
        """What it does, beyond answering, when it is asked without gradients."""
        self.gradient_habits: Habits | None = None
        """The same where gradients are on, where a model may do more."""
        self.preprocess_draws: bool | None = None
        """Whether the user's preprocessing draws random numbers; None before the first picture."""
        self.memory_format = torch.contiguous_format
        """How batches are laid out in memory."""
        self.example: Tensor | None = None
        """The input (C, h, w) it was probed with: what methods look at to find out how the model is built."""
        self.warnings: tuple[str, ...] = ()
        self._no_gradient: str | None = None
        self._colours: bool | None = None
        self._canonical: Canonical | MethodError | None = None
        self.engine: Engine | None = None
        """How it is asked about many pictures; see `engine.engine_of`."""
        self.seconds = math.inf
        """The least that one picture has cost in `answers` so far; the first calls warm up and cost more."""

    @property
    def channels(self) -> int | None:
        """Channels of the pictures it takes, as it declares or its first layer tells; None where neither does.

        A first convolution of 12 or 48 channels may follow something that folds pixels into channels, so for such
        numbers the model is asked whether it takes colours.
        """
        if not self.opaque and self.declared.channels not in (None, 1, 3):
            if self._colours is None:
                self._colours = self._takes(3) and not self._takes(self.declared.channels)
            return 3 if self._colours else self.declared.channels
        if self.declared.channels is None and not self.opaque:
            first = next((module for module in self.model.modules() if list(module.parameters(recurse=False))), None)
            size = first.in_features if isinstance(first, nn.Linear) else 0
            if size % 3 and math.isqrt(size) ** 2 == size:
                return 1  # a perceptron on square grey pictures; no colour picture has so many values
        return self.declared.channels

    def _takes(self, channels: int) -> bool:
        """Whether it answers about a black picture with so many channels."""
        height, width = self.declared.size or (self.declared.best_size or 224,) * 2
        try:
            with guard(self.guarded), torch.no_grad():
                self._call(torch.zeros(1, channels, height, width, device=self.device, dtype=self.dtype))
        except (ModelError, torch.OutOfMemoryError):
            return False
        return True

    def stamp(self) -> Hashable:
        """Changes whenever what is asked may answer otherwise, see `known.stamp`; None where nobody can tell."""
        if isinstance(self.model, nn.Module):
            return known.stamp(self.model)
        held = self.guarded if isinstance(self.guarded, tuple) else ()
        return tuple(map(known.stamp, held)) or None

    def tensor(self, inputs: np.ndarray | Tensor) -> Tensor:
        """Model input on the model's device and in its precision."""
        return torch.as_tensor(inputs).to(self.device, self.dtype)

    def ready_for(self, inputs: Tensor) -> Classifier:
        """The same model for another picture: itself, or a copy that has yet to be probed at the new size."""
        if self.example is None or self.example.shape == inputs.shape:
            return self
        other = copy.copy(self)
        other.example, other.warnings, other.seconds, other.engine = None, (), math.inf, None
        other._no_gradient = other._canonical = None  # noqa: SLF001
        return other

    def key(self, of: str, inputs: Tensor) -> tuple[Any, ...] | None:
        """What a fact about this way to ask is kept under, see `known`; None where it would keep the model alive."""
        if self.output is not None and not isinstance(self.output, (str, int)):
            return None  # a function may hold the model
        return of, str(self.device), self.dtype, self.activation, self.output, tuple(inputs.shape)

    # ---- getting to know it ----------------------------------------------------------------------------------------

    def probe(self, inputs: Tensor) -> np.ndarray:
        """Find out how the model answers by asking it; see `probing.probe`. Probabilities (classes,) of the picture.

        What an earlier call has found out about the same model and size is taken over.
        """
        key = self.key("probe", inputs)
        found = known.recall(self.model, key)
        if found is None:
            probabilities = probe(self, inputs)
            if not self.warnings:  # they speak of this very picture
                known.keep(self.model, key, {name: getattr(self, name) for name in _PROBED}, modules=True)
            return probabilities
        vars(self).update(found)
        self.example = inputs
        return self.answers(inputs[None], "probability")[0]

    def warn(self, words: str) -> None:
        """Add to what a reader of any map of this model should know."""
        self.warnings = (*self.warnings, words)

    def no_gradient(self, *, asking: bool = True) -> str:
        """Why no gradient of the answer reaches the picture, in one line, or empty; found out by trying, once.

        Unless `asking`, it is told only if it is known already.
        """
        if self.opaque:
            return f"Needs a torch module to look into; {self.name} {self.opaque}."
        if self._no_gradient is None and not asking:
            return ""
        if self._no_gradient is None:
            try:
                with self.differentiable(self.example) as (leaf, forward):
                    self.gradient(forward(leaf[None], "logit").sum(), leaf, "its input")
            except ModelError as error:
                return str(error)  # it may answer again when it is asked again
            except MethodError as error:
                self._no_gradient = str(error)
            except RuntimeError as error:  # what autograd says of a model that cannot be followed
                self._no_gradient = f"Needs gradients, and torch cannot follow {self.name}: {first_line(error)}"
            else:
                self._no_gradient = ""
        return self._no_gradient

    def no_copy(self, *, asking: bool = True) -> str:
        """Why there is no canonical copy, in one line, or empty; unless `asking`, only if that is known already."""
        if self.opaque:
            return f"Needs a torch module to look into; {self.name} {self.opaque}."
        if not asking:
            return str(self._canonical) if isinstance(self._canonical, MethodError) else ""
        try:
            self.canonical()
        except (MethodError, ModelError) as error:
            return str(error)
        return ""

    def canonical(self) -> Canonical:
        """A copy in which each activation is a module of its own, made once and again after the model has changed.

        Raises
        ------
        MethodError
            If there can be none, with the reason.
        """
        from xai_widgets.canonical import canonical_copy  # a quarter of a second that few methods need

        if self.opaque:
            raise MethodError(f"Needs a torch module to look into; {self.name} {self.opaque}.")
        if isinstance(self._canonical, MethodError):
            raise self._canonical
        if self._canonical is None or not self._canonical.follows(self.model):
            try:
                made = canonical_copy(self.model, self.example, lambda answer: pick(answer, self.output, self.name))
            except MethodError as error:
                self._canonical = error
                raise
            except (torch.OutOfMemoryError, XaiError):
                raise
            except Exception as error:
                raise ModelError(
                    f"{self.name} raised {type(error).__name__} while its operations were written down: "
                    f'{first_line(error)} Use a method that only asks for answers: method="occlusion"'
                ) from error
            self._canonical = made
        return self._canonical

    # ---- asking it -------------------------------------------------------------------------------------------------

    def answers(self, inputs: Tensor, space: str) -> np.ndarray:
        """Class scores of a batch without gradients: (B, C, h, w) → float64 (B, classes)."""
        inputs = inputs.contiguous(memory_format=self.memory_format)
        with guard(self.guarded, self.habits), torch.no_grad():
            start = time.perf_counter()
            answer = finish(self.scores(inputs), self.kind, space).detach().double().cpu().numpy()
        self.seconds = min(self.seconds, (time.perf_counter() - start) / len(inputs))
        return answer

    @contextmanager
    def differentiable(self, inputs: Tensor) -> Iterator[tuple[Tensor, Callable[[Tensor, str], Tensor]]]:
        """A leaf copy of the inputs and a forward pass that keeps its graph, inside the guard.

        Works with frozen weights and inside ``no_grad`` or ``inference_mode``; use ``torch.autograd.grad`` on the
        result, never ``backward``, which would fill the model's ``.grad``.
        """
        if self.opaque:
            raise ModelError(f"{self.name} {self.opaque}; gradients need a torch module that can be followed.")
        with guard(self.guarded, self.gradient_habits) as found, torch.inference_mode(False), torch.enable_grad():
            leaf = inputs.detach().clone().requires_grad_()
            yield leaf, lambda batch, space: finish(self.scores(batch), self.kind, space)
        self.gradient_habits = self.gradient_habits or found[0]

    def gradient(self, score: Tensor, at: Tensor, name: str) -> Tensor:
        """``∂ score / ∂ at`` for a score made inside `differentiable`; `name` is how an error calls `at`.

        Raises
        ------
        MethodError
            If the score does not depend on it in a way that torch can follow.
        """
        found = self.gradients(score, [at])[0]
        if found is None:
            raise MethodError(
                f"No gradient of {self.name} reaches {name}: the answer does not depend on it, or the model computes "
                'under no_grad or detaches. Use a method that only asks for answers: method="occlusion"'
            )
        return found

    def gradients(self, score: Tensor, at: Sequence[Tensor]) -> list[Tensor | None]:
        """``∂ score / ∂ at`` for several tensors in one backward pass; None where the score does not depend on it."""
        wanted = [tensor for tensor in at if tensor.requires_grad]
        if not (score.requires_grad and wanted):
            return [None] * len(at)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # with more, some of torch's backward passes differ in the last bit from run to run
        try:
            found = iter(torch.autograd.grad(score, wanted, allow_unused=True))
        finally:
            torch.set_num_threads(threads)
        return [next(found) if tensor.requires_grad else None for tensor in at]

    def scores(self, batch: Tensor) -> Tensor:
        """Scores (B, classes) as the model gives them."""
        if self.batch is None:
            return rows(self._call(batch), len(batch), self.output, self.name)
        parts = []
        for chunk in batch.split(self.batch):
            # A model fixed to four pictures gets four: the last is repeated, and its further answers are left out.
            full = torch.cat([chunk, chunk[-1:].expand(self.batch - len(chunk), *chunk.shape[1:])])
            parts.append(rows(self._call(full), self.batch, self.output, self.name)[: len(chunk)])
        return torch.cat(parts)

    def _call(self, batch: Tensor) -> Any:
        try:
            return self.model(batch.clone())  # a model may scale its input in place
        except (torch.OutOfMemoryError, XaiError):
            raise
        except Exception as error:
            channels, height, width = batch.shape[1:]
            raise ModelError(
                f"{self.name} raised {type(error).__name__}: {first_line(error)} It was asked about a batch of "
                f"{len(batch)} picture(s), {channels}×{height}×{width}, {batch.dtype}. If it expects another size or "
                "scaling, pass preprocess=weights.transforms(), or size=224, mean=…, std=…"
            ) from error
