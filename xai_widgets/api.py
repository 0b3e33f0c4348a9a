"""`explain` and `attribute`: the two functions people call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from xai_widgets.errors import ArgumentError, XaiError, nearest
from xai_widgets.explanation import Explanation

if TYPE_CHECKING:
    from xai_widgets.pictures import Pictures
    from xai_widgets.session import Session
    from xai_widgets.widgets.explorer import Explorer

ALIASES = {
    "img": "image", "target_class": "target", "class_idx": "target", "label": "target", "labels": "class_names",
    "categories": "class_names", "num_samples": "n_samples", "nsamples": "n_samples", "max_evals": "n_samples",
    "transform": "preprocess", "transforms": "preprocess", "random_state": "seed", "random_seed": "seed",
    "segmentation_fn": "segments", "feature_mask": "segments", "baselines": "baseline", "hide_color": "baseline",
    "target_layers": "target_layer", "layer": "target_layer", "class_labels": "class_names",
}  # fmt: skip
"""What other libraries call an argument → what it is called here; named in the error, never guessed."""


def attribute(
    model: Any = None,
    image: Any = None,
    *,
    target: Any = None,
    method: str = "auto",
    progress: bool | Callable[[int, int], None] = False,
    n_samples: int | None = None,
    **options: Any,
) -> Explanation | list[Explanation]:
    """Explain one answer and wait for the result; of a batch of pictures, one answer each.

    Parameters
    ----------
    model : torch.nn.Module, ONNX Runtime session, estimator with ``predict_proba`` or callable
        Anything that turns a float batch (B, C, h, w) into class scores (B, classes). It is left exactly as found.
    image : path, PIL image, ndarray or tensor
        See `xai_widgets.images.read`. A list of them, or an array (B, C, H, W) with B above 1, is a batch.
    target : None, int, str, (a, b) or callable
        The class by index or name; a rather than b; a function of one answer (classes,) → a number. None is the top
        class. For a batch also a list with one of these a picture.
    method : str
        A name from `xai_widgets.methods`; ``"auto"`` takes the cheapest one that suits the model.
    progress : bool or callable
        True shows a bar; a callable gets ``(done, total)`` after every batch.
    n_samples : int, optional
        For methods that sample.
    **options
        ``class_names``; ``preprocess`` or ``mean``, ``std``, ``size``; ``layout``, ``value_range``, ``bands``;
        ``output``, ``activation``; ``segments``, ``n_segments``; ``baseline``; ``space``; ``seed``; ``batch_size``;
        ``runtime``; ``device`` as `explain` has them. Anything else is a parameter of the method.

    Returns
    -------
    Explanation
        Or a list of them, for a batch.

    Raises
    ------
    XaiError
        An `InputError`, `ArgumentError`, `TargetError`, `ModelError` or `MethodError`; each is a ``ValueError`` or
        ``TypeError`` too and says what to type.
    """
    pictures, params = open_pictures(model, image, options, n_samples, method, ("target", "method", "progress"))
    found = [
        _attribute(session, method, wanted, params, progress, "" if pictures.single else pictures.label(index))
        for index, (session, wanted) in enumerate(zip(pictures, pictures.targets(target), strict=True))
    ]
    return found[0] if pictures.single else found


def _attribute(
    session: Session, method: str, target: Any, params: dict[str, Any], progress: Any, label: str
) -> Explanation:
    info = session.method(method, params)
    chosen = session.target(target)
    params = info.bind(params)
    report = _reporter(progress, f"{info.label}, {label}" if label else info.label)
    step = None
    try:
        for step in session.explain(info, chosen, params):
            report(step.estimate.done, step.estimate.total)
    finally:
        report(-1, -1)
    if step is None or not step.estimate.has_map:
        raise ArgumentError(
            f"The method {info.name!r} yielded no map; its run function must yield an Estimate with values or regions."
        )
    return step.explanation()


def explain(
    model: Any = None,
    image: Any = None,
    *,
    target: Any = None,
    method: str = "auto",
    store: Any = None,
    annotator: str | None = None,
    progress: bool | Callable[[int, int], None] = True,
    n_samples: int | None = None,
    **options: Any,
) -> Explorer:
    """Show why a model answers as it does, in a widget that can be tested and judged.

    Parameters
    ----------
    model, image, target, method, n_samples
        As for `attribute`.
    store : str, path, FeedbackStore, optional
        Where judgements are kept: a SQLite file or any SQLAlchemy URL. Default: ``xai_feedback.db`` in the working
        folder, made at the first judgement.
    annotator : str, optional
        Whose judgements these are. Default: the login name.
    progress : bool or callable
        The widget shows it by itself; a callable also gets ``(done, total)``.
    class_names : list or dict, optional
        Names of the outputs. Default: the model's ``class_names`` if it has them.
    preprocess : callable, optional
        PIL image → tensor, such as torchvision's ``weights.transforms()``. Default: the model's ``preprocess`` if it
        has one, else ``size``, ``mean`` and ``std`` below, else only a scaling to 0–1.
    mean, std : sequence of float, optional
        Normalisation after scaling to 0–1.
    size : int or (int, int), optional
        Shorter side and middle square, or exactly (height, width).
    layout, value_range
        Where an array can be read in two ways, see `xai_widgets.images.read`.
    bands : (int, int, int), optional
        Of a picture with more channels than colours: which to show as red, green and blue. Default: the first three.
    output : str, int or callable, optional
        Which part of a dict or tuple answer holds the classes.
    activation : {"softmax", "sigmoid", "none"}, optional
        What makes the model's scores probabilities: softmax for one class among several, sigmoid for classes that can
        hold together, none where they are probabilities already. Default: what the model declares, or its answers
        to a few pictures tell; logits of several classes are taken for softmax.
    segments : str, label map or callable
        ``"slic"`` (default), ``"grid"``, ``"felzenszwalb"``, ``"quickshift"``, an integer map, or a function.
    n_segments : int
        About how many regions, default 50.
    baseline : str, picture or callable
        What a switched-off region looks like: ``"mean"`` (its own average colour, default), ``"blur"``, ``"grey"``,
        ``"black"``, ``"noise"``. Behind a preprocessing that cannot be undone there is no black, grey or noise.
    space : {"probability", "logit"}, optional
        What is explained. Default: probability where a method perturbs, logit where it differentiates.
    seed : int
        Of everything random, default 0; the same seed gives the same bytes on a CPU.
    batch_size : int or "auto"
        Pictures asked about at once. Default: counted from their size and what an answer costs; measured on a GPU.
    runtime : {"auto", "torch", "openvino"}
        What computes the answers of methods that only ask: torch, or OpenVINO (``pip install xai-widgets[fast]``), to
        which a model on a CPU is translated where that pays and its answers stay the same to 1e-5. Which it was stands
        in ``explanation.params["input"]["engine"]``.
    device : str, optional
        Default: where the model is.

    Returns
    -------
    Explorer
        Last line of a cell shows it. See its documentation for what it offers in Python.
    """
    from xai_widgets.feedback.capture import Judge
    from xai_widgets.widgets.explorer import Explorer

    general = ("target", "method", "store", "annotator", "progress")
    pictures, params = open_pictures(model, image, options, n_samples, method, general)
    session, wanted = pictures[0], pictures.targets(target)
    info = session.method(method, params)
    # Wrong parameters and classes are errors of the cell, not of the widget.
    info.bind(params)
    if not Explorer._esm:  # noqa: SLF001 - anywidget's name for the front end
        raise XaiError("The front end is not built. In a checkout of the project type: npm ci && npm run build")
    session.target(wanted[0])
    widget = Explorer(pictures, Judge(session, store, annotator), method=info, targets=wanted, params=params)
    if callable(progress):
        widget.observe(lambda change: progress(change["new"]["done"], change["new"]["total"]), "progress")
    return widget


def open_pictures(
    model: Any, image: Any, options: dict[str, Any], n_samples: int | None, method: str, general: Sequence[str]
) -> tuple[Pictures, dict[str, Any]]:
    """Split keywords into the session's and the method's, refuse the rest, and make the sessions."""
    from xai_widgets import registry
    from xai_widgets.pictures import Pictures
    from xai_widgets.session import Session

    known = [name for name in inspect.signature(Session).parameters if name not in ("model", "image")]
    own = {name: value for name, value in options.items() if name in known}
    params = {name: value for name, value in options.items() if name not in known}
    if n_samples is not None:
        params["n_samples"] = n_samples
    # "auto" may become any method, so its parameters are checked once the model is known.
    names = [method] if isinstance(method, str) and method != "auto" else [info.name for info in registry.methods()]
    allowed = {param.name for name in names for param in registry.get_method(name).params}
    for name in params:
        if name not in allowed:
            _unknown(name, method, [*known, *general], sorted(allowed))
    if model is None:
        raise ArgumentError("There is no model. Call explain(model, image) with a torch module or a callable.")
    if image is None:
        raise ArgumentError("There is no image. Call explain(model, image) with a path, PIL image, array or tensor.")
    return Pictures(model, image, own), params


def _unknown(name: str, method: str, general: list[str], own: list[str]) -> None:
    names = [*general, *own]
    if name in ALIASES and ALIASES[name] in (*names, "n_samples", "image"):
        raise ArgumentError(f"There is no argument {name!r}; here it is called {ALIASES[name]!r}: {ALIASES[name]}=…")
    taken = ", ".join(own) or "none of its own"
    raise ArgumentError(
        f"There is no argument {name!r} for method={method!r}, whose parameters are: {taken}.{nearest(name, names)}"
    )


def _reporter(progress: Any, label: str) -> Callable[[int, int], None]:
    """A function of (done, total); (-1, -1) closes it."""
    if not progress:
        return lambda done, total: None
    if callable(progress):
        return lambda done, total: progress(done, total) if done >= 0 else None
    from tqdm.auto import tqdm

    bar = tqdm(desc=label, unit="picture")

    def report(done: int, total: int) -> None:
        if done < 0:
            bar.close()
            return
        bar.total = total
        bar.update(done - bar.n)

    return report
