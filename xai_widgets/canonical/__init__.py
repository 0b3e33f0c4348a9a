"""A copy of a model in which each activation is a module of its own, called once, and nothing is written in place.

DeepLIFT, layer-wise relevance and guided backpropagation change what an activation does on the way back, by hooks on
its module. Where a forward calls ``F.relu``, uses one module twice or writes in place they fail, or worse: they give a
plausible map of something else. On the canonical copy their rules hold.

`recording` writes down what the model does and `building` makes the copy of that; here the copy is held against the
model, and refused where its answers or gradients differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from xai_widgets.canonical._activations import watched
from xai_widgets.canonical._building import build, generalise
from xai_widgets.canonical._nested import tensors_in
from xai_widgets.canonical._recording import Refused, record, state_of
from xai_widgets.errors import MethodError
from xai_widgets.guard import guard

TOLERANCE = 1e-5
"""How far the copy's answer may be off, as a part of the largest number in it; more in half precision."""


@dataclass(frozen=True, eq=False)
class Canonical:
    """A canonical copy and what there is to know about it.

    Attributes
    ----------
    module : torch.fx.GraphModule
        The copy, in evaluation mode and without hooks. Layers keep their names. The numbers of its weights are the
        original's, not copies of them: it costs no memory, and it answers as the original does after more training.
        Its parameters are other objects, so that ``requires_grad`` and ``.grad`` are separate.
    shared : tuple of str
        Modules with weights that are called more than once; they stay one module.
    hidden : tuple of str
        Activations inside functions that could not be opened, attention as a rule: rules for modules miss them.
    stamp : tuple
        The modules and the memory of the original when the copy was made.
    """

    module: fx.GraphModule
    shared: tuple[str, ...]
    hidden: tuple[str, ...]
    stamp: tuple

    def follows(self, model: nn.Module) -> bool:
        """Whether `model` still has the modules and the memory that the copy was made from, and the copy has it too."""
        memory = {tensor.data_ptr() for tensor in self.module.parameters()}
        return self.stamp == _stamp(model) and memory <= {tensor.data_ptr() for tensor in state_of(model).values()}


def canonical_copy(model: nn.Module, example: Tensor, pick: Callable[[Any], Any] = lambda answer: answer) -> Canonical:
    """Make the canonical copy of `model`.

    Parameters
    ----------
    model : torch.nn.Module
        Is left as it was found.
    example : Tensor (C, h, w) or (1, C, h, w)
        A picture as the model takes it; the copy is for pictures of this size, in batches of any size.
    pick : callable, optional
        From the model's answer to the tensor that has to be the same. Default: every tensor in it.

    Raises
    ------
    MethodError
        If the forward cannot be recorded, or the copy's answers or gradients are not the model's.
    """
    try:
        return _make(model, example, pick)
    except Refused as refused:
        raise MethodError(
            f"{type(model).__name__} cannot be rewritten with each activation as a module of its own: {refused}. "
            'Use a method that needs no such copy: method="saliency", or method="occlusion"'
        ) from refused.__cause__


def why_not(model: nn.Module, example: Tensor, pick: Callable[[Any], Any] = lambda answer: answer) -> str:
    """Why there is no canonical copy of `model`, or an empty string.

    Takes as long as making the copy, and the same parameters as `canonical_copy`.
    """
    try:
        canonical_copy(model, example, pick)
    except MethodError as error:
        return str(error)
    return ""


def _make(model: nn.Module, example: Tensor, pick: Callable[[Any], Any]) -> Canonical:
    scripted = next((name for name, m in model.named_modules() if isinstance(m, torch.jit.ScriptModule)), None)
    if scripted is not None:
        where = f"its module {scripted!r}" if scripted else "it"
        raise Refused(f"{where} is TorchScript, and what happens inside cannot be seen from Python")
    one, two = _pictures(model, example)
    with guard(model), _uncompiled(model), torch.inference_mode(False):
        first, answer = record(model, one)
        second, _ = record(model, two)
        generalise(first, second)
        try:
            module = build(first, model)
        except SyntaxError as error:
            raise Refused("an operation takes what no graph can hold, a random generator for instance") from error
        again, hidden = watched(module, one)
        _compare(pick(answer), pick(again), "answer to the picture")
        _check(model, module, two, pick)
    return Canonical(module, first.shared, hidden, _stamp(model))


@contextmanager
def _uncompiled(model: nn.Module) -> Iterator[None]:
    """Let parts that ``torch.compile`` wrapped run as they were written: compiled code shows nothing of itself."""
    wrapped = [(vars(m), vars(m)["forward"]) for m in model.modules() if "_orig_mod" in vars(m)["_modules"]]
    try:
        for attributes, _ in wrapped:
            attributes["forward"] = attributes["_modules"]["_orig_mod"]
        yield
    finally:
        for attributes, forward in wrapped:
            attributes["forward"] = forward


def _pictures(model: nn.Module, example: Tensor) -> tuple[Tensor, Tensor]:
    """The example as a batch of one, and a batch of two with another picture in it."""
    own = next((p for p in model.parameters() if p.is_floating_point()), None)
    with torch.inference_mode(False):
        one = example.detach().clone().reshape(1, *example.shape[-3:])
        one = one.to(own.device, own.dtype) if own is not None else one
        noise = torch.randn(one.shape, generator=torch.Generator().manual_seed(0)).to(one)
        return one, torch.cat([one, one.flip(-1, -2) + 0.1 * noise])


def _stamp(model: nn.Module) -> tuple:
    """What changes when a module or the memory of a weight is replaced, and stays when the weight is trained."""
    modules = tuple((name, type(module)) for name, module in model.named_modules())
    return modules, tuple((name, tensor.data_ptr(), tensor.dtype) for name, tensor in state_of(model).items())


def _check(model: nn.Module, module: fx.GraphModule, two: Tensor, pick: Callable[[Any], Any]) -> None:
    """Refuse a copy that answers otherwise, or whose gradient is another, on pictures it was not recorded with.

    The gradient sees what the answer cannot: a custom backward pass, ``no_grad`` inside, a number taken for constant.
    """
    theirs, their_gradient = _gradient(model, two, pick)
    ours, our_gradient = _gradient(module, two, pick)
    _compare(theirs, ours, "answer to two pictures")
    if isinstance(their_gradient, str):
        return  # the original has none; what the copy has can still be used
    if isinstance(our_gradient, str):
        raise Refused(f"the copy has no gradient, {our_gradient}")
    theirs, ours = (torch.zeros_like(two) if each is None else each for each in (their_gradient, our_gradient))
    _compare(theirs, ours, "gradient", loose=100)


def _gradient(model: nn.Module, batch: Tensor, pick: Callable[[Any], Any]) -> tuple[Any, Tensor | str | None]:
    """The picked answer and the gradient of a sum over it, or why there is none."""
    with torch.enable_grad():
        leaf = batch.clone().requires_grad_()
        try:
            answer = pick(model(leaf.clone()))
            scores = [t.float() for t in tensors_in(answer) if t.is_floating_point() and t.requires_grad]
            if not scores:
                return answer, None
            weighted = [(s * torch.linspace(0.5, 1, s.numel(), device=s.device).view_as(s)).sum() for s in scores]
            return answer, torch.autograd.grad(sum(weighted), leaf, allow_unused=True)[0]
        except RuntimeError as error:
            with torch.no_grad():
                return pick(model(batch.clone())), str(error).partition("\n")[0]


def _compare(theirs: Any, ours: Any, what: str, *, loose: float = 1) -> None:
    """Refuse a copy unless each tensor in `ours` is, but for rounding, the one in `theirs`."""
    a, b = list(tensors_in(theirs)), list(tensors_in(ours))
    if [t.shape for t in a] != [t.shape for t in b] or not a:
        raise Refused(f"the copy's {what} has other shapes, or none")
    for their, our in zip(a, b, strict=True):
        if not their.is_floating_point():
            continue
        their, our = their.detach(), our.detach()  # noqa: PLW2901
        # A GPU multiplies float32 in 19 bits where that is faster, and may choose anew each time.
        eps = 2**-10 if their.is_cuda else torch.finfo(their.dtype).eps
        tolerance = loose * max(TOLERANCE, 4 * eps)
        their, our = their.double(), our.double()  # noqa: PLW2901
        if not torch.equal(their.isfinite(), our.isfinite()):
            raise Refused(f"the copy's {what} is not finite where the model's is")
        gap = float((their - our).nan_to_num(0, 0, 0).abs().max()) if their.numel() else 0.0
        if gap > tolerance * max(float(their.nan_to_num(0, 0, 0).abs().max()), 1e-12):
            raise Refused(
                f"the copy's {what} is off by {gap:.2g}: it draws random numbers, reads the picture outside of torch, "
                "or has a backward pass of its own"
            )
