"""FullGrad: the gradients at the picture and at every bias of the network, which together make up the score."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xai_widgets.errors import MethodError
from xai_widgets.methods._cam import enlarged
from xai_widgets.problem import Estimate, Problem, Steps
from xai_widgets.registry import MethodInfo

if TYPE_CHECKING:
    from torch import Tensor, nn


def fullgrad(problem: Problem) -> Steps:
    """``ψ(x ⊙ ∂f/∂x) + Σ_l ψ(b_l ⊙ ∂f/∂out_l)`` over the layers l (Srinivas and Fleuret 2019).

    ``ψ`` takes absolute values, brings each term to 0 … 1 over all its channels, sums over them and enlarges to the
    picture; that is part of the definition, and so the numbers have no unit. It follows the authors' code;
    pytorch-grad-cam brings each channel to 0 … 1 by itself, which makes much of channels that do nothing.

    ``b_l`` is the layer's bias, explicit or implicit as they call it: what it returns less what is linear in its input,
    ``l(z) - J_l(z) z``. For a convolution that is its bias, for a batch norm what it makes of zero, for ReLU nothing,
    for GELU or ReLU6 what the tangent misses. The terms before ``ψ`` add up to the score. They do not where layers are
    multiplied with each other or attend, or biases lie outside the layers; then a warning gives the gap, and FullGrad
    does not describe this network. Terms of layers that know no places count for the sum only.

    Proof: the terms add up to the score to 1e-4 on networks with ReLU, ReLU6 and GELU; equals pytorch-grad-cam's sum
    of maps to 1e-5 on a network with one channel a layer, where the two ways to 0 … 1 agree (tests/test_cams.py).
    """
    from xai_widgets import layers
    from xai_widgets.gradients import completeness

    classifier, shape = problem.classifier, problem.view.shape
    known = {layer.module: layer for layer in layers.survey(classifier)}
    with classifier.differentiable(problem.inputs) as (leaf, forward), _biases(classifier.model) as calls:
        answer = problem.target.of(forward(leaf[None], problem.space)).sum()
        at_input, *found = classifier.gradients(answer, [leaf, *(call.output for call in calls)])
        if at_input is None:
            classifier.gradient(answer.detach(), leaf, "its input")  # it says why
    shares = (at_input * leaf).detach().float()
    total, values = float(shares.double().sum()), _rescaled(shares, shape)
    for call, gradient in zip(calls, found, strict=True):
        if gradient is None:
            continue
        term = (call.bias * gradient).float()
        total += float(term.double().sum())
        if call.module in known:
            try:
                values = values + _rescaled(known[call.module].places(term)[0], shape)
            except MethodError:  # a layer called at several sizes knows places at one of them
                continue
    score = float(answer.detach())
    if not (np.isfinite(total) and bool(values.isfinite().all())):
        raise MethodError(
            f"FullGrad is not finite: values or gradients overflow {classifier.dtype}. Pass the model in full "
            "precision: model.float()"
        )
    checks = completeness(np.float64(total), score, 0.0)
    warnings = []
    if checks["completeness_gap"][1] != "good":
        warnings.append(
            f"The terms of FullGrad add up to {total:.4g} and the score is {score:.4g}: {_beyond(problem)}, so the map "
            "leaves out a part of the answer."
        )
    yield Estimate(values=values.cpu().numpy().astype(np.float32), n_forward=1, checks=checks, warnings=tuple(warnings))


def _beyond(problem: Problem) -> str:
    """What is done that layers and their biases do not tell."""
    if problem.target.function is not None:
        return "the target is a function of the answer"
    if problem.space == "probability" or "probabilit" in problem.classifier.kind:
        return "softmax or sigmoid come after the layers"
    return "this network does more than its layers' biases tell, attention or products for example"


def _rescaled(term: Tensor, shape: tuple[int, int]) -> Tensor:
    """ψ of one term (channels, rows, cols), as (h, w)."""
    size = term.abs()
    size = size - size.min()
    return enlarged((size / size.max().clamp_min(1e-38)).sum(0), shape)


@dataclass
class _Call:
    """One layer's part in the answer."""

    module: nn.Module
    bias: Tensor
    output: Tensor


@contextmanager
def _biases(model: nn.Module) -> Iterator[list[_Call]]:
    """Collect what each layer with a bias adds, and what it returns, once a call, for as long as the block lasts."""
    import torch

    calls: list[_Call] = []
    handles = []
    waiting: dict[nn.Module, list[Tensor | None]] = {}

    def before(module: nn.Module, args: Any, kwargs: Any) -> None:
        single = len(args) == 1 and isinstance(args[0], torch.Tensor) and not kwargs
        waiting.setdefault(module, []).append(_bias(module, args[0].detach()) if single else None)

    def after(module: nn.Module, _args: Any, output: Any) -> Any:
        bias = waiting[module].pop()
        if bias is None or not isinstance(output, torch.Tensor):
            return None
        calls.append(_Call(module, bias, output))
        return output.clone()  # what an in-place activation behind it may change

    try:
        for module in dict.fromkeys(_units(model)):
            handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
            handles.append(module.register_forward_hook(after))
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _units(module: nn.Module) -> Iterator[nn.Module]:
    """The modules that compute: those without parts, and norms that hold an activation, as timm makes them."""
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm

    if isinstance(module, torch.jit.ScriptModule):
        return
    if isinstance(module, _BatchNorm) or next(module.children(), None) is None:
        yield module
    else:
        for child in module.children():
            yield from _units(child)


def _bias(module: nn.Module, value: Tensor) -> Tensor | None:
    """``l(z) - J_l(z) z``, or None where there is none or torch cannot tell."""
    import torch
    from torch import nn

    affine = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d,
              nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)  # fmt: skip
    try:
        if type(module) in affine:  # then it is what the layer makes of zero, without a difference's rounding
            bias = module.forward(torch.zeros_like(value)).detach()
        else:
            value = value.clone().requires_grad_()
            returned = module.forward(value.clone())  # it may work in place
            weights = torch.zeros_like(returned, requires_grad=True)
            (pulled,) = torch.autograd.grad(returned, value, weights, create_graph=True)
            (linear,) = torch.autograd.grad(pulled, weights, value.detach())  # J z, as J^T w is linear in w
            bias = returned.detach() - linear
            if bool(bias.abs().max() <= 16 * torch.finfo(bias.dtype).eps * returned.abs().max()):
                return None  # rounding, which ψ would bring to 0 … 1
    except (RuntimeError, TypeError, ValueError, AttributeError):  # no tensor returned, or no rule for it
        return None
    return bias if bool(bias.any()) else None


INFO = MethodInfo(
    name="fullgrad",
    label="FullGrad",
    family="cam",
    summary="What picture and biases of all layers add to the score, regardless of sign. Fine; for ReLU networks best.",
    run=fullgrad,
    needs="layer",
    signed=False,
    space="logit",
    source="Srinivas and Fleuret, Full-Gradient Representation for Neural Network Visualization, NeurIPS 2019",
)
