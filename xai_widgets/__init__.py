"""Ask an image classifier why, in the notebook, and answer back.

>>> import xai_widgets as xw
>>> xw.explain(model, image)                      # the widget
>>> xw.attribute(model, image, method="lime")     # the same without a widget: an Explanation
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Public name → the module that holds it. Nothing is imported before it is used, so that `import xai_widgets` costs
# milliseconds and loads neither torch nor any explainer.
_HOMES = {
    "attribute": "api",
    "explain": "api",
    "inspect": "inspection",
    "register_method": "registry",
    "MethodInfo": "registry",
    "Param": "registry",
    "Estimate": "problem",
    "Problem": "problem",
    "Explanation": "explanation",
    "FeedbackStore": "feedback.store",
    "Feedback": "feedback.records",
    "Explorer": "widgets.explorer",
    "doctor": "doctor",
    "XaiError": "errors",
    "InputError": "errors",
    "ArgumentError": "errors",
    "TargetError": "errors",
    "ModelError": "errors",
    "MethodError": "errors",
    "FileError": "errors",
    "StoreError": "errors",
    "MissingExtraError": "errors",
}

__all__ = ["__version__", "methods", *_HOMES]

if TYPE_CHECKING:
    from xai_widgets.api import attribute as attribute
    from xai_widgets.api import explain as explain
    from xai_widgets.doctor import doctor as doctor
    from xai_widgets.explanation import Explanation as Explanation
    from xai_widgets.feedback.store import FeedbackStore as FeedbackStore
    from xai_widgets.inspection import inspect as inspect
    from xai_widgets.registry import MethodInfo as MethodInfo
    from xai_widgets.registry import Param as Param
    from xai_widgets.registry import methods as methods  # the package of that name can be called, too
    from xai_widgets.registry import register_method as register_method
    from xai_widgets.widgets.explorer import Explorer as Explorer


def __getattr__(name: str) -> Any:
    if name == "methods":
        return import_module(f"{__name__}.methods")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
