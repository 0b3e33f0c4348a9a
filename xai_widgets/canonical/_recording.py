"""A forward, while it runs on real pictures → a `torch.fx.Graph` in which nothing is written in place.

Python, decorators and shapes need no understanding that way. Nothing global is patched, as `torch.fx.Tracer` would do:
what a cell computes meanwhile in another thread is not touched.
"""

from __future__ import annotations

import operator
import os
import threading
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from xai_widgets.canonical._activations import as_module
from xai_widgets.canonical._nested import Answer, Slot, mapped, parts_of, tensors_in
from xai_widgets.errors import first_line
from xai_widgets.guard import guard

_READS = frozenset({
    "item", "tolist", "numpy", "__array__", "__dlpack__", "__bool__", "__int__", "__float__", "__index__",
    "__complex__", "__contains__", "equal", "allclose", "is_nonzero",
})  # fmt: skip
"""Functions that turn what a tensor holds into Python values; what follows may depend on the picture unseen."""


class Refused(Exception):  # noqa: N818 - not an error yet: the caller makes one of it
    """Why there is no copy, as the end of a sentence."""


def record(model: nn.Module, batch: Tensor) -> tuple[Recorder, Any]:
    """Run a model and write down what it does.

    Parameters
    ----------
    model : torch.nn.Module
        In whatever mode; it is run in evaluation mode and left as it was found.
    batch : Tensor (n, C, h, w)
        Pictures as the model takes them.

    Returns
    -------
    recorder : Recorder
    answer : object
        The model's.

    Raises
    ------
    Refused
        If what it does cannot be written down, or it fails.
    """
    recorder = Recorder(model)
    batch = batch.clone()
    recorder.know(batch, recorder.add("placeholder", "x"))
    try:
        # A guard for each run: what the first put into a cache, the second would read and take another way.
        with guard(model), torch.no_grad(), recorder.hooks(), recorder:
            answer = model(batch)
        recorder.finish(answer)
    except (Refused, torch.OutOfMemoryError):
        raise
    except Exception as error:
        line = first_line(error).rstrip(".")
        raise Refused(f"recording a batch of {len(batch)} ended in {type(error).__name__}: {line}") from error
    return recorder, answer


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, also the buffers that a state dict leaves out."""
    return dict([*model.named_parameters(), *model.named_buffers()])


class Recorder(TorchFunctionMode):
    """Writes down what a forward does, as a `torch.fx.Graph` in which nothing is written in place.

    torch's functions are seen because this is a mode, which holds for one thread; calls of modules by hooks. A tensor
    that is written to in place is from then on known by another node, so that its later readers get the new values.

    Attributes
    ----------
    graph : torch.fx.Graph
        Its nodes know where they are, ``meta["scope"]``, and whether they depend on the picture, ``meta["depends"]``.
    targets : dict
        Name in the copy → the module or tensor of the original that it is made from, or a new module.
    calls : Counter
        How often each of the modules in `targets` is called.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.graph = fx.Graph()
        self.targets: dict[str, Any] = {}
        self.calls: Counter[str] = Counter()
        self._modules = {id(module): name for name, module in model.named_modules()}
        self._model = model
        self._state = {id(tensor): name for name, tensor in state_of(model).items()}
        self._taken = {*self._modules.values(), *self._state.values()}
        self._known: dict[int, tuple[fx.Node, Tensor, int]] = {}  # holds the tensors, so that no id is used twice
        self._views: dict[int, tuple[Tensor, Any]] = {}
        """Of a tensor that is ``other[index]`` and shares its memory: the other and the index."""
        self._scope: list[str] = []
        self._leaf: tuple[nn.Module, Any, Any, list[tuple[Tensor, int]]] | None = None
        """The module of torch's own that runs now, what it was called with, and the versions of that."""
        self._thread = threading.get_ident()

    # ---- what is seen

    @contextmanager
    def hooks(self) -> Iterator[None]:
        """See each call of a module. Hooks of the user's own belong to what is recorded: they run outside of ours."""
        handles = []
        try:
            for module in self._model.modules():
                handles.append(module.register_forward_pre_hook(self._enter, with_kwargs=True))
                handles.append(module.register_forward_hook(self._leave, prepend=True))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if threading.get_ident() != self._thread or self._leaf is not None:
            return
        self._scope.append(self._modules[id(module)])
        if _is_leaf(module):
            self._leaf = module, args, kwargs, _versions((args, kwargs))

    def _leave(self, module: nn.Module, _args: Any, answer: Any) -> None:
        if threading.get_ident() != self._thread or (self._leaf is not None and self._leaf[0] is not module):
            return
        if self._leaf is not None:
            (_, args, kwargs, before), self._leaf = self._leaf, None
            name = self._modules[id(module)]
            # One with weights stays one module, whoever calls it; any other gets a copy for each call.
            target = name if name not in self.targets or _has_weights(module) else self._name(name)
            self._note(target, args, kwargs, before, answer, module)
        self._scope.pop()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if self._leaf is not None:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if getattr(func, "__qualname__", "").startswith("TensorBase."):
            func = getattr(func, "__wrapped__", func)  # ``x ** 2`` comes in a wrapper that no graph can name
        if name == "__iter__":
            return iter(self.__torch_function__(Tensor.unbind, types, args[:1]))
        if name in _READS and any(self._depends(tensor) for tensor in tensors_in((args, kwargs))):
            raise Refused(f"{_place()} reads numbers that depend on the picture, and may decide by them what to do")
        if name == "__set__":
            raise Refused(f"{_place()} replaces what a tensor is, which no function can say")
        before = _versions((args, kwargs))
        answer = func(*args, **kwargs)
        if name == "__get__":
            func, args = getattr, (args[0], func.__self__.__name__)
        if not args and isinstance(kwargs.get("input"), Tensor):
            args = (kwargs.pop("input"),)
        module = as_module(name, args, kwargs)
        if module is not None:
            self._note(self._name(name.rstrip("_"), inside=True), args[:1], {}, before, answer, module)
        else:
            self._note(func, args, kwargs, before, answer)
        return answer

    # ---- what is written down

    def _note(self, target: Any, args: Any, kwargs: Any, before: Any, answer: Any, module: Any = None) -> None:
        """Add what was called and gave `answer`, unless it did nothing; `before` are the tensors it got, and versions.

        `target` is the function, or where a `module` was called its name in the copy.
        """
        written = [tensor for tensor, version in before if _version(tensor) != version]
        given = {id(tensor) for tensor, _ in before}
        if not written and all(id(tensor) in given for tensor in tensors_in(answer)):
            return  # a shape, a dtype, or what went in: dropout, for one, does nothing in evaluation mode
        if written and not all(_share_memory(tensor, args[0]) for tensor in written):
            raise Refused(f"{_place()} writes into a tensor that is not its first argument")
        versions = {id(tensor): version for tensor, version in before}

        def node(value: Any) -> Any:
            return self._node(value, versions[id(value)]) if isinstance(value, Tensor) else value

        values, keywords = mapped(args, node), mapped(kwargs, node)
        if module is not None:
            self.targets[target] = module
            self.calls[target] += 1
        elif written:
            values = (self.add("call_function", torch.clone, values[:1]), *values[1:])
            target = _set_item if getattr(target, "__name__", "") == "__setitem__" else target
        made = self.add("call_function" if module is None else "call_module", target, values, keywords)
        self._keep(answer, made)
        if written:
            self._wrote(args[0], made)
        elif getattr(target, "__name__", "") == "__getitem__" and answer._is_view():  # noqa: SLF001
            self._views[id(answer)] = args[0], values[1]

    def _wrote(self, tensor: Tensor, node: fx.Node) -> None:
        """`tensor` holds what `node` gives, and so does the place in the tensor that it is a view of."""
        self.know(tensor, node)
        if id(tensor) in self._views:
            whole, index = self._views[id(tensor)]
            same = self.add("call_function", torch.clone, (self._known[id(whole)][0],))
            self._wrote(whole, self.add("call_function", _set_item, (same, index, node)))

    def add(self, op: str, target: Any, args: Any = (), kwargs: Any = None) -> fx.Node:
        """Put a node at the end of the graph."""
        node = self.graph.create_node(op, target, args, kwargs or {})
        node.meta["scope"] = self._scope[-1] if self._scope else ""
        node.meta["depends"] = op == "placeholder" or any(each.meta["depends"] for each in node.all_input_nodes)
        return node

    def know(self, tensor: Tensor, node: fx.Node) -> None:
        """From now on `tensor`, as it is now, is what `node` gives."""
        self._known[id(tensor)] = node, tensor, _version(tensor)

    def _keep(self, answer: Any, node: fx.Node) -> None:
        """Know every tensor in an answer, which may be a tuple or dict."""
        if isinstance(answer, Tensor):
            self.know(answer, node)
        for key, part in parts_of(answer):
            if any(True for _ in tensors_in(part)):
                self._keep(part, self.add("call_function", operator.getitem, (node, key)))

    def _node(self, tensor: Tensor, version: int) -> fx.Node:
        """The node that gives `tensor`; one that no call gave is part of the model, or a constant."""
        if id(tensor) not in self._known:
            name = self._state.get(id(tensor)) or self._name("constant")
            self.targets[name] = tensor
            self._known[id(tensor)] = self.add("get_attr", name), tensor, version
        node, _, known = self._known[id(tensor)]
        if known != version:
            raise Refused(f"{_place()} uses a tensor after a view of it was written to in place")
        return node

    def _depends(self, tensor: Tensor) -> bool:
        return id(tensor) in self._known and self._known[id(tensor)][0].meta["depends"]

    def _name(self, name: str, *, inside: bool = False) -> str:
        """A name that is free in the copy, beside the module that is running."""
        name = f"{self._scope[-1]}.{name}" if inside and self._scope and self._scope[-1] else name
        number, free = 0, name
        while free in self._taken:
            number += 1
            free = f"{name}_{number}"
        self._taken.add(free)
        return free

    # ---- what is made of it

    def finish(self, answer: Any) -> None:
        """End the graph with the answer, in the form that the model gives it; leave out what nobody reads."""
        self._scope.clear()
        nodes: list[fx.Node] = []

        def slot(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            nodes.append(self._node(value, _version(value)))
            return Slot(len(nodes) - 1)

        form = mapped(answer, slot, deep=True)
        if isinstance(form, Slot):
            result = nodes[0]
        else:
            target = self._name("answer")
            self.targets[target] = Answer(form)
            result = self.add("call_module", target, (nodes,))
        self.graph.output(result)
        for node in reversed(self.graph.nodes):
            if not node.users and node.op not in ("placeholder", "output"):
                self.graph.erase_node(node)
        self._known.clear()
        self._views.clear()

    @property
    def shared(self) -> tuple[str, ...]:
        """Modules with weights that are called more than once."""
        return tuple(name for name, calls in self.calls.items() if calls > 1 and _has_weights(self.targets[name]))


def _is_leaf(module: nn.Module) -> bool:
    """Whether torch wrote its forward, and it is more than a container of modules that are called one by one."""
    home = getattr(type(module).forward, "__module__", None) or ""
    own = "forward" in vars(module)  # somebody has replaced it
    containers = ("torch.nn.modules.container", "torch.nn.modules.transformer")
    return not own and home.startswith("torch.nn.modules.") and home not in containers


def _has_weights(module: Any) -> bool:
    return isinstance(module, nn.Module) and any(True for _ in (*module.parameters(), *module.buffers()))


def _version(tensor: Tensor) -> int:
    """How often a tensor, or one that shares its memory, was written to; tensors of inference mode do not count."""
    return 0 if tensor.is_inference() else tensor._version  # noqa: SLF001 - torch has no public one


def _versions(value: Any) -> list[tuple[Tensor, int]]:
    return [(tensor, _version(tensor)) for tensor in tensors_in(value)]


def _share_memory(a: Tensor, b: Any) -> bool:
    return isinstance(b, Tensor) and a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


def _place() -> str:
    """The line of the user's code that runs now."""
    ours, torchs = (str(folder) + os.sep for folder in (Path(__file__).parents[1], Path(torch.__file__).parent))
    for frame in reversed(traceback.extract_stack()):
        if not frame.filename.startswith((torchs, ours)):
            return f"line {frame.lineno} of {Path(frame.filename).name}, `{frame.line}`,"
    return "its forward"


def _set_item(tensor: Tensor, index: Any, value: Any) -> Tensor:
    tensor[index] = value
    return tensor
