"""What methods there are: frozen data from which the widget's controls, the docs and the tests are made."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from xai_widgets.errors import ArgumentError, MethodError, nearest

if TYPE_CHECKING:
    from xai_widgets.problem import Estimate
    from xai_widgets.protocol import ParamRow

FAMILIES = {
    "perturbation": "Switch parts off and ask the model",
    "cam": "Look inside the model",
    "gradient": "Follow the gradient",
    "attention": "Read the attention",
    "unit": "See what its units see",
    "control": "See what nothing looks like",
}
"""Family name → how it is called in front of a reader, in the order of the method menu."""


BUDGETS = ("n_samples", "max_evals", "n_permutations", "n_designs")
"""What methods call the number of altered pictures, orders or points that they draw."""


Effort = Literal["none", "some", "any"]
"""What may be done to find something out, see `MethodInfo.unfit`."""


@dataclass(frozen=True)
class Param:
    """One parameter of a method.

    Attributes
    ----------
    name : str
    kind : type
        ``int``, ``float``, ``str`` or ``object`` (checked by the method itself).
    default : object
        None where the method derives it; `help` says how.
    help : str
        What it does and where the default comes from.
    low, high : float, optional
        Limits, both included.
    choices : tuple of str, optional
    """

    name: str
    kind: type
    default: Any
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    def check(self, value: Any) -> Any:
        """Return `value` as the method wants it, or say why it cannot be."""
        if value is None and self.default is None:
            return None
        if self.kind is object:
            return value
        plain = value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value
        fits = isinstance(plain, self.kind) or (self.kind is float and isinstance(plain, int))
        if not fits or isinstance(plain, bool):
            raise ArgumentError(f"{self.name}={value!r} must be {self.limits()}, the default is {self.default!r}.")
        outside = (self.low is not None and not self.low <= plain) or (self.high is not None and not plain <= self.high)
        if outside or (self.choices and plain not in self.choices):
            raise ArgumentError(f"{self.name}={value!r} must be {self.limits()}, the default is {self.default!r}.")
        return self.kind(plain)

    def row(self) -> ParamRow:
        """What the page makes a control of."""
        return {
            "name": self.name,
            "kind": self.kind.__name__,
            "default": self.default,
            "low": self.low,
            "high": self.high,
            "choices": list(self.choices),
            "help": self.help,
        }

    def limits(self) -> str:
        """The allowed values in words."""
        if self.choices:
            return "one of " + ", ".join(map(repr, self.choices))
        words = {int: "a whole number", float: "a number", str: "a string"}.get(self.kind, "any value")
        if self.low is not None and self.high is not None:
            return f"{words} from {self.low:g} to {self.high:g}"
        if self.low is not None:
            return f"{words} of at least {self.low:g}"
        return words


@dataclass(frozen=True)
class MethodInfo:
    """A method, as data.

    Attributes
    ----------
    name : str
        The field's standard id, as in ``method="gradcam"``.
    label : str
        How people write it.
    family : str
        A key of `FAMILIES`.
    summary : str
        One plain line on what it shows and what it cannot.
    run : callable
        ``run(problem, **params)`` → iterator of `Estimate`, a generator as a rule.
    params : tuple of Param
    needs : {"answers", "gradients", "layer", "canonical", "attention"}
        Only answers (any callable will do), gradients of the input, a layer that still knows places, a copy in which
        each activation is a module of its own (``problem.classifier.canonical()``), for rules that hang on activations,
        or attention between patches that `xai_widgets.attention` can read.
    differentiates : bool
        Whether the map hangs on the gradient of the answer for this picture, so that it fades where the answer is
        saturated; never where `needs` is "answers".
    signed : bool
        Whether negative numbers mean evidence against the class.
    additive : bool
        Whether each region's number promises what switching it off takes away.
    linear : bool
        Whether the map of "a rather than b" is the map of a minus the map of b, in the method's own space.
    space : {"probability", "logit"}
        What it explains unless told otherwise.
    cost : callable
        ``cost(problem, **params)`` → forward passes it will take.
    source : str
        The paper.
    quick : mapping of str to object
        Parameters that make it cheap, for tests and first looks; the map may be poor.
    aliases : tuple of str
        Other names people use for it.
    perturbs : bool
        Whether it asks about altered pictures, as every method does that needs answers only.
    """

    name: str
    label: str
    family: str
    summary: str
    run: Callable[..., Iterator[Estimate]]
    params: tuple[Param, ...] = ()
    needs: str = "answers"
    differentiates: bool = True
    signed: bool = True
    additive: bool = False
    linear: bool = False
    space: str = "probability"
    cost: Callable[..., int] = lambda problem, **params: 1
    source: str = ""
    quick: Mapping[str, Any] = field(default_factory=dict, hash=False)
    aliases: tuple[str, ...] = ()
    perturbs: bool = False

    @property
    def streams(self) -> bool:
        """Whether its cost is that of asking about altered pictures."""
        return self.needs == "answers" or self.perturbs

    @property
    def proof(self) -> str:
        """How it is shown to be right: the paragraph of its function's docstring that begins with "Proof:"."""
        paragraphs = inspect.cleandoc(self.run.__doc__ or "").split("\n\n")
        found = next((text for text in paragraphs if text.startswith("Proof:")), "")
        return " ".join(found.removeprefix("Proof:").split())

    @property
    def budget(self) -> str:
        """The parameter that says how many altered pictures to ask about, where a larger one refines the same map."""
        names = {param.name for param in self.params} if self.needs == "answers" else set()
        return next((name for name in BUDGETS if name in names), "")

    def bind(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Every parameter with its value, checked; an unknown one is an error that names the nearest."""
        known = {param.name: param for param in self.params}
        for name in given:
            if name not in known:
                raise ArgumentError(
                    f"{self.label} has no parameter {name!r}; it has {', '.join(known) or 'none'}."
                    f"{nearest(name, known)}"
                )
        return {name: param.check(given.get(name, param.default)) for name, param in known.items()}

    def unfit(self, classifier: Any, effort: Effort = "any") -> str:
        """Why it cannot run on this model, in one line, or an empty string.

        `effort` says what may be done to find out: with "none" only what is known is told, with "some" the model is
        asked a few times, with "any" it may take seconds.
        """
        if self.needs == "gradients":
            return classifier.no_gradient(asking=effort != "none")
        if self.needs == "layer":
            from xai_widgets import layers

            return layers.unfit(classifier, asking=effort != "none")
        if self.needs == "canonical":
            return classifier.no_copy(asking=effort == "any")
        if self.needs == "attention":
            from xai_widgets import attention

            return attention.unfit(classifier, asking=effort != "none")
        return ""


class MethodTable(tuple[MethodInfo, ...]):
    """The registered methods; prints as a table."""

    def __repr__(self) -> str:
        rows = [("name", "family", "needs", "parameters (default)")]
        for info in self:
            params = ", ".join(f"{p.name}={p.default!r}" for p in info.params)
            rows.append((info.name, info.family, info.needs, params))
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows
        )


_AUTO = ("gradcam", "saliency", "lime", "kernel_shap", "occlusion")

NEEDS = ("answers", "gradients", "layer", "canonical", "attention")

_registered: dict[str, MethodInfo] = {}
_own: set[str] = set()
"""Those of the package; nobody takes their place."""


def register_method(info: MethodInfo) -> MethodInfo:
    """Add a method from outside the package, or take the place of one that was, as when its cell is run again.

    Examples
    --------
    >>> def centre(problem):
    ...     yield xw.Estimate(values=my_map(problem.view.shape))
    >>> xw.register_method(xw.MethodInfo("centre", "Centre", "gradient", "A fixed map, as a control.", centre))
    """
    if not isinstance(info, MethodInfo):
        raise ArgumentError(f"register_method takes a MethodInfo, not a {type(info).__name__}.")
    _discover()
    _check(info)
    known = {"auto", *_own, *_aliases()}
    for name in (info.name, *info.aliases):
        if name in known:
            raise MethodError(f"There is a method {name!r} already; choose another name.")
    _registered[info.name] = info
    return info


def _check(info: MethodInfo) -> None:
    """Say what is wrong with a method now: later it would be in the way of all others."""
    for name, allowed in (("needs", NEEDS), ("family", tuple(FAMILIES)), ("space", ("probability", "logit"))):
        if getattr(info, name) not in allowed:
            listed = ", ".join(map(repr, allowed))
            raise ArgumentError(f"{info.name}: {name}={getattr(info, name)!r} must be one of {listed}.")
    if not isinstance(info.params, tuple) or not all(isinstance(param, Param) for param in info.params):
        raise ArgumentError(
            f"{info.name}: params must be a tuple of Param; one alone needs a comma: params=(Param(…),)"
        )
    for param in info.params:
        if param.kind not in (int, float, str, object):
            raise ArgumentError(
                f"{info.name}: {param.name} has kind {param.kind!r}; it must be int, float, str or object."
            )
    info.bind({})
    info.bind(info.quick)


def methods() -> MethodTable:
    """Every method: name, family, what it needs, its parameters and their limits."""
    _discover()
    order = list(FAMILIES)
    rank = {
        info.name: order.index(info.family) if info.family in order else len(order) for info in _registered.values()
    }
    return MethodTable(sorted(_registered.values(), key=lambda info: rank[info.name]))


def get_method(name: str) -> MethodInfo:
    """The method called `name`; an unknown one is an error that names the nearest."""
    _discover()
    name = _aliases().get(name, name)
    if name not in _registered:
        names = ", ".join(info.name for info in methods())
        raise MethodError(f"There is no method {name!r}; there are auto, {names}.{nearest(name, _registered)}")
    return _registered[name]


def auto_method(classifier: Any, given: Iterable[str] = ()) -> MethodInfo:
    """The cheapest method that suits this model and has the parameters `given`.

    Grad-CAM where a layer knows places, else saliency, else LIME; so ``n_samples=300`` alone asks for LIME.
    """
    asked, known = set(given), [get_method(name) for name in _AUTO]
    # Those that have the parameters come first; whether one suits the model is asked last, for that may cost a pass.
    known.sort(key=lambda info: not asked <= {param.name for param in info.params})
    return next(info for info in known if not info.unfit(classifier))


def _aliases() -> dict[str, str]:
    return {alias: info.name for info in _registered.values() for alias in info.aliases}


@cache
def _discover() -> None:
    """Import every file of `xai_widgets.methods` once; each holds one ``INFO``."""
    package = importlib.import_module("xai_widgets.methods")
    for found in pkgutil.iter_modules(package.__path__):
        if not found.name.startswith("_"):
            info = getattr(importlib.import_module(f"xai_widgets.methods.{found.name}"), "INFO", None)
            if info is not None:
                _registered[info.name] = info
                _own.add(info.name)
