"""What was recognised of a model and a picture, and which methods will work: the answer of `inspect`."""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xai_widgets.outputs import KINDS

if TYPE_CHECKING:
    from xai_widgets.protocol import MethodRow
    from xai_widgets.session import Session


@dataclass(frozen=True)
class Inspection:
    """A model and a picture as the methods see them; prints as a table.

    Attributes
    ----------
    model, family : str
        Its name, and how it is built, in words.
    input : tuple of str
        What is done to the picture and the model, step by step.
    input_shape : (int, int, int)
        Channels, height and width that the model is asked about.
    answers : str
        What kind of scores it gives, a key of `outputs.KINDS`.
    n_classes : int
    top : tuple of (str, float)
        The three classes with the highest probabilities.
    device, dtype : str
    seconds : float
        One forward pass for one picture, the fastest of those made.
    layers : tuple of (str, (int, int))
        Names and grids, rows and columns, of the layers that a class activation map can read, in order.
    layer : str
        The one that it reads unless told otherwise; empty where there is none.
    methods : tuple of dict
        A row a method: ``name``, ``label``, ``cost``, and ``unfit``, why it cannot run here, or an empty string.
    warnings : tuple of str
    """

    model: str
    family: str
    input: tuple[str, ...]
    input_shape: tuple[int, int, int]
    answers: str
    n_classes: int
    top: tuple[tuple[str, float], ...]
    device: str
    dtype: str
    seconds: float
    layers: tuple[tuple[str, tuple[int, int]], ...]
    layer: str
    methods: tuple[MethodRow, ...]
    warnings: tuple[str, ...]

    def rows(self) -> Iterable[tuple[str, str]]:
        """What there is to say, as (what, words)."""
        channels, height, width = self.input_shape
        yield "model", f"{self.model}, {self.family}"
        yield "runs on", f"{self.device} in {self.dtype}, {1000 * self.seconds:,.1f} ms a picture"
        yield "sees", f"{channels} × {height} × {width}: {'; '.join(self.input)}"
        yield "answers", f"{self.n_classes:,} classes; {KINDS[self.answers]}"
        yield "here", ", ".join(f"{name} {value:.3f}" for name, value in self.top)
        if self.layer:
            grids = dict(self.layers)
            rows, cols = grids[self.layer]
            yield "layer", f"{self.layer}, {rows} × {cols} places; {len(self.layers)} can be read"
        for row in self.methods:
            yield row["name"], f"no: {row['unfit']}" if row["unfit"] else f"yes, {row['cost']}"
        for words in self.warnings:
            yield "note", words

    def __repr__(self) -> str:
        rows = list(self.rows())
        width = max(len(what) for what, _ in rows)
        return "\n".join(f"{what.ljust(width)}  {words}" for what, words in rows)

    def _repr_html_(self) -> str:
        cells = (
            f'<tr><th style="text-align:left">{html.escape(what)}</th>'
            f'<td style="text-align:left">{html.escape(words)}</td></tr>'
            for what, words in self.rows()
        )
        return f"<table>{''.join(cells)}</table>"


def inspect(model: Any, image: Any, **options: Any) -> Inspection:
    """Say what is recognised of a model and a picture, and which methods will work, without explaining anything.

    Parameters
    ----------
    model, image
        As for `xai_widgets.explain`; of a batch the first picture is looked at.
    **options
        Those of `xai_widgets.explain` that do not belong to a method.

    Returns
    -------
    Inspection

    Examples
    --------
    >>> xw.inspect(model, "cat.jpg", preprocess=weights.transforms())
    """
    from xai_widgets.api import open_pictures
    from xai_widgets.layers import choose, survey

    pictures, _ = open_pictures(model, image, options, None, "auto", ())
    session = pictures[0]
    classifier = session.classifier
    layers = survey(classifier)
    described = session.describe_input()
    names = [session.target(int(index)).name for index in (-session.probabilities).argsort()[:3]]
    top = sorted((float(value) for value in session.probabilities), reverse=True)[:3]
    return Inspection(
        model=classifier.name,
        family=_family(session),
        input=(*described["model"], *described["steps"]),
        input_shape=tuple(session.view.inputs.shape),
        answers=classifier.kind,
        n_classes=len(session.probabilities),
        top=tuple(zip(names, top, strict=True)),
        device=str(classifier.device),
        dtype=str(classifier.dtype).removeprefix("torch."),
        seconds=classifier.seconds,
        layers=tuple((layer.name, layer.grid) for layer in layers),
        layer=choose(classifier).name if layers else "",
        methods=tuple(session.menu({})),
        warnings=session.warnings,
    )


def _family(session: Session) -> str:
    """How the model is built, as far as its layers tell."""
    from xai_widgets.layers import choose, survey

    classifier = session.classifier
    if classifier.opaque:
        return f"which {classifier.opaque}"
    size = sum(parameter.numel() for parameter in classifier.model.parameters())
    weights = f"{size / 1e6:.1f} million weights" if size >= 1e5 else f"{size:,} weights"
    if not survey(classifier):
        return f"no layer knows places, {weights}"
    layer = choose(classifier)
    if not layer.arrangement.startswith("tokens"):
        return f"maps of features, {weights}"
    extra = f" and {layer.prefix} more" if layer.prefix else ""
    return f"a transformer or mixer with {layer.grid[0]} × {layer.grid[1]} patches{extra}, {weights}"
