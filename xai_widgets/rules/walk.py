"""A walk over a canonical copy that has a rule for each of a few kinds of operation, and opens what is made up of them.

The copy itself is only read: there are no hooks that would have to be taken off again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor, fx

from xai_widgets.errors import MethodError
from xai_widgets.outputs import finish, rows
from xai_widgets.rules import opening
from xai_widgets.rules.lanes import Both, Layer, boths, lane, name_of, scope_of

if TYPE_CHECKING:
    from xai_widgets.problem import Problem


class Walk(fx.Interpreter):
    """Runs a canonical copy on a picture, and on a baseline beside it where there is one.

    A method's rules are `linear`, `layer`, `elementwise`, `product` and `largest`, and `softmax` and `size` where these
    are more to it than what they are made up of.

    Parameters
    ----------
    module : torch.fx.GraphModule
    method : str
        What the method is called in messages.
    """

    def __init__(self, module: fx.GraphModule, method: str) -> None:
        super().__init__(module)
        self.method = method
        self.node: fx.Node | None = None
        """The one that runs."""
        self.paired = False

    # ---- the rules

    def linear(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Both:
        """Linear, but for a constant, in everything in it that depends on the picture."""
        x = function(*lane(args, "x"), **lane(kwargs, "x"))
        if not self.paired:
            return Both(x)
        with torch.no_grad():
            return Both(x, function(*lane(args, "off"), **lane(kwargs, "off")))

    def layer(self, layer: Layer, given: Both) -> Both:
        """A convolution, a dense layer, a norm with statistics of its own."""
        return self.linear(lambda x: layer.call(x, layer.weight, layer.bias), given)

    def elementwise(self, function: Callable[[Tensor], Tensor], given: Both) -> Both:
        """A function of each number for itself."""
        raise NotImplementedError

    def product(self, function: Callable[[Tensor, Tensor], Tensor], one: Both, other: Both) -> Both:
        """Linear in each of two, not in both together."""
        raise NotImplementedError

    def largest(self, pool: Callable[[Tensor], tuple[Tensor, Tensor]], given: Both, dims: int) -> Both:
        """The largest of several; `pool` gives them and where they stand in the last `dims` dimensions, flattened."""
        raise NotImplementedError

    def softmax(self, function: Callable[[Tensor], Tensor], given: Both, way: Callable[[Both], Both]) -> Both:
        """A softmax or its logarithm; `way` is what it is made up of."""
        return opening.opened(self, function, given, way)

    def size(self, way: Callable[[Both], Both], given: Both) -> Both:
        """A length, a deviation, or one divided by it: what a norm is about to divide by."""
        return way(given)

    # ---- walking

    def answer(self, given: Both) -> Both:
        """What the copy answers.

        Raises
        ------
        MethodError
            If there is something in it that has no rule; all of it is named.
        """
        if found := Counter(self._unknown()):
            self.refuse(", ".join(name if count == 1 else f"{name} ({count} times)" for name, count in found.items()))
        self.paired = given.off is not None
        return self.run(given, enable_io_processing=False)

    def run_node(self, n: fx.Node) -> Any:
        """Run one; what does not depend on the picture runs as it is."""
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        if n.op not in ("call_function", "call_module") or not any(True for _ in boths((args, kwargs))):
            return super().run_node(n)
        self.node = n
        if n.op == "call_module":
            module = self.fetch_attr(n.target)
            return opening.of_kind(module)(self, module, args, kwargs)
        name = name_of(n.target)
        if name in opening.CONSTANT:
            return n.target(*lane(args, "x"), **lane(kwargs, "x"))
        return opening.FUNCTIONS[name](self, n.target, args, kwargs)

    def refuse(self, what: str) -> NoReturn:
        """Say that there is no rule."""
        raise MethodError(
            f"{self.method} has no rule for {what}{scope_of(self.node)}; the plain gradient in its place would be "
            'another map. Use method="integrated_gradients", or method="occlusion"'
        )

    def _unknown(self) -> Iterator[str]:
        """Names of what depends on the picture and has no rule."""
        depends: set[fx.Node] = set()
        for node in self.module.graph.nodes:
            if node.op == "placeholder":
                depends.add(node)
            if node.op not in ("call_function", "call_module") or not depends.intersection(node.all_input_nodes):
                continue
            if node.op == "call_module":
                layer = self.fetch_attr(node.target)
                name, known = type(layer).__name__, opening.of_kind(layer) is not None
            else:
                name = name_of(node.target)
                known = name in opening.FUNCTIONS
                if name in opening.CONSTANT:
                    continue
            depends.add(node)
            if not known:
                yield name


def score(problem: Problem, answer: Any, n: int) -> Tensor:
    """The target's number (n,), read off a copy's answer to `n` pictures as it is off the model's own."""
    classifier = problem.classifier
    scores = rows(answer, n, classifier.output, classifier.name)
    return problem.target.of(finish(scores, classifier.kind, problem.space))
