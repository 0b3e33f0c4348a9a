"""Two records of a forward → one module for batches of any size, around the same numbers."""

from __future__ import annotations

import copy
import operator
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from xai_widgets.canonical._recording import Recorder, Refused


def generalise(first: Recorder, second: Recorder) -> None:
    """Let a record take batches of any size.

    Parameters
    ----------
    first : Recorder
        Of a batch of one picture; its graph is changed.
    second : Recorder
        Of a batch of two: a number that doubles from the first to the second is the size of the batch.

    Raises
    ------
    Refused
        If they differ in anything else.
    """
    ours, theirs = list(first.graph.nodes), list(second.graph.nodes)
    if [(n.op, n.target) for n in ours] != [(n.op, n.target) for n in theirs]:
        raise Refused("its forward takes one way for a batch of one picture and another for two")
    twins = dict(zip(theirs, ours, strict=True))
    graph, x = first.graph, ours[0]
    with graph.inserting_after(x):
        size = graph.call_function(Tensor.size, (x, 0))

    def merge(a: Any, b: Any) -> Any:
        if isinstance(a, fx.Node) and isinstance(b, fx.Node) and twins[b] is a:
            return a
        if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)) and len(a) == len(b):
            return type(a)(merge(*pair) for pair in zip(a, b, strict=True))
        if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
            return {key: merge(a[key], b[key]) for key in a}
        if isinstance(a, slice) and isinstance(b, slice):
            return slice(merge(a.start, b.start), merge(a.stop, b.stop), merge(a.step, b.step))
        if type(a) is int and type(b) is int and a != b and 2 * a == b:
            return size if a == 1 else graph.call_function(operator.mul, (size, a))
        if type(a) is type(b) and (a == b or a is b or (a != a and b != b)):
            return a
        raise Refused(f"a number in it is {a!r} for one picture and {b!r} for two")

    for their, our in twins.items():
        with graph.inserting_before(our):
            our.args, our.kwargs = merge(our.args, their.args), merge(our.kwargs, their.kwargs)
    if not size.users:
        graph.erase_node(size)
    for name, value in first.targets.items():
        other = second.targets[name]
        if isinstance(value, Tensor) and value is not other and not _equal(value, other):
            raise Refused(
                "part of it is computed where torch's Python functions do not show it: numpy, a TorchScript function "
                "or an extension"
            )
        if isinstance(value, nn.Module) and repr(value) != repr(other):
            raise Refused(f"{name!r} is {value} for one picture and {other} for two")


def build(record: Recorder, model: nn.Module) -> fx.GraphModule:
    """The module that does what was recorded: of each module in `model` a new one around the same numbers."""
    inside = [part for m in model.modules() for part in (*_own(m), *vars(m).values())]
    tensors = [part for part in (*inside, *record.targets.values()) if isinstance(part, Tensor)]
    memo = {id(tensor): _same_numbers(tensor) for tensor in tensors}
    used = dict.fromkeys(node.target for node in record.graph.nodes if node.op in ("call_module", "get_attr"))
    root = {name: _copied(record.targets[name], memo) for name in used}
    return fx.GraphModule(root, record.graph, type(model).__name__).eval()


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b)


def _own(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(recurse=False), *module.buffers(recurse=False)]


def _same_numbers(tensor: Tensor) -> Tensor:
    """Another tensor in the same memory, or, of a tensor made in inference mode, a copy that gradients may pass."""
    # ``data`` counts what is written to it by itself: captum's LRP puts weights back that it has never changed.
    own = tensor.detach().clone() if tensor.is_inference() else tensor.data
    return nn.Parameter(own, requires_grad=False) if isinstance(tensor, nn.Parameter) else own


def _copied(part: Any, memo: Mapping[int, Tensor]) -> Any:
    """A module without hooks that writes nothing in place; a tensor as in `memo`."""
    if isinstance(part, Tensor):
        return memo[id(part)]
    hooks = {
        id(value): OrderedDict() for m in part.modules() for key, value in vars(m).items() if key.endswith("_hooks")
    }
    made = copy.deepcopy(part, {**memo, **hooks})
    for module in made.modules():
        module.training = False
        if hasattr(module, "inplace"):
            module.inplace = False
        vars(module)["_is_full_backward_hook"] = None
    return made
