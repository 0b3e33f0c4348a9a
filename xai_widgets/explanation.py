"""The result: a frozen value of numpy arrays that says everything about how it came to be."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from xai_widgets.errors import FileError, InputError
from xai_widgets.segments import region_means

SCHEMA_VERSION = 1

_ARRAYS = (
    "values", "image", "segments", "probabilities", "segment_values", "std_error", "interactions", "coarse",
    "off_image", "pictures",
)  # fmt: skip

_LATER = ("segments", "off_image")


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """Why a model answered as it did, for one picture and one class.

    Attributes
    ----------
    values : ndarray of float32, shape (H, W)
        The map, raw and signed as the method gives it, on the grid of `image`.
    image : ndarray of uint8, shape (H, W, 3)
        The picture as the model sees it.
    segments : ndarray of int32, shape (H, W)
        Regions, 0 … S-1.
    probabilities : ndarray of float32, shape (C,)
        The model's answer for the whole picture.
    target : int, [int, int] or None
        The class, ``[a, b]`` for a rather than b, None for a function of the answer.
    target_name : str
    method : str
    segment_values, std_error : ndarray of float64, shape (S,), or None
        One number a region with its standard error, where the method has them.
    interactions : ndarray of float64, shape (S, S), or None
        How much two regions add together beyond what they add alone, where the method was asked for it; symmetric, with
        zeros on the diagonal.
    coarse : ndarray of float32, shape (h, w), or None
        The map before it was enlarged to `values`, where the method works on a coarser grid.
    off_image : ndarray of uint8, shape (H, W, 3), or None
        The picture with every region switched off, as the baseline makes it.
    pictures : ndarray of uint8, shape (n, h, w, 3), or None
        What the method shows beside or instead of a map: what units see.
    captions : tuple of str
        One for each of `pictures`.
    params : mapping
        Every parameter of the method, and under ``"input"`` what was done to the picture.
    space : {"probability", "logit"}
        What the numbers are differences or gradients of.
    signed, additive : bool
        Whether negative values speak against the class; whether a region's value promises the effect of switching it
        off.
    target_layer : str or None
    baseline : str
    seed : int
    n_forward : int
        Forward passes used.
    seconds : float
    checks : mapping of str to (float, str)
        The method's own checks: number and verdict.
    warnings : tuple of str
    class_names : tuple of str or None
    model_name : str
    versions : mapping of str to str
    schema_version : int
    """

    values: np.ndarray
    image: np.ndarray
    segments: np.ndarray
    probabilities: np.ndarray
    target: int | list[int] | None
    target_name: str
    method: str
    segment_values: np.ndarray | None = None
    std_error: np.ndarray | None = None
    interactions: np.ndarray | None = None
    coarse: np.ndarray | None = None
    off_image: np.ndarray | None = field(default_factory=lambda: None)  # a plain default would hide `__getattr__`
    pictures: np.ndarray | None = None
    captions: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    space: str = "probability"
    signed: bool = True
    additive: bool = False
    target_layer: str | None = None
    baseline: str = "mean"
    seed: int = 0
    n_forward: int = 0
    seconds: float = 0.0
    checks: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    class_names: tuple[str, ...] | None = None
    model_name: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        for name in _ARRAYS:
            array = vars(self).get(name)
            if name in _LATER and callable(array):
                object.__setattr__(self, f"_{name}", array)
                object.__delattr__(self, name)
            elif array is not None:
                object.__setattr__(self, name, _frozen(array))
        for name in ("params", "checks", "versions"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def __getattr__(self, name: str) -> Any:
        """Regions are given as a function where the method needs none; they are made when somebody looks."""
        make = vars(self).get(f"_{name}") if name in _LATER else None
        if make is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        object.__setattr__(self, name, _frozen(make()))  # by two threads twice, and the same
        return vars(self)[name]

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, ({f.name: _plain(getattr(self, f.name)) for f in fields(self)},)

    @property
    def n_segments(self) -> int:
        """How many regions there are."""
        return int(self.segments.max()) + 1

    @property
    def region_values(self) -> np.ndarray:
        """One number a region, float64 (S,): the method's own, or the mean of the map over it."""
        if self.segment_values is not None:
            return self.segment_values
        return region_means(self.values, self.segments)

    def top_segments(self, k: int = 5) -> list[int]:
        """The `k` regions that speak most for the class, strongest first."""
        return [int(i) for i in np.argsort(-self.region_values, kind="stable")[:k]]

    def on_source(self) -> np.ndarray:
        """Lay the map on the picture that was handed in.

        Returns
        -------
        ndarray of float32, shape (H, W)
            On the pixels of the upright picture, whatever it was resized, cropped or padded to: bilinear between the
            centres of the map's pixels, NaN where the model did not look.

        Raises
        ------
        InputError
            If the preprocessing does not say which pixel of the picture a pixel of its output is.
        """
        seen = self.params.get("input", {})
        if seen.get("to_source") is None or seen.get("source_size") is None:
            raise InputError(
                "This map cannot be laid on the original: the preprocessing is no plain crop, flip, pad or resize, so "
                "where the model looked is not known. Use the map on the picture as the model saw it: .values, .image"
            )
        from scipy.ndimage import affine_transform

        width, height = seen["source_size"]
        a, b, c, d, e, f = seen["to_source"]
        back = np.linalg.inv([[e, d], [b, a]])  # (row, column) of the picture → (row, column) of the map
        start = -back @ (f, c)
        matrix = back if back[0, 1] or back[1, 0] else back.diagonal()  # of a diagonal scipy makes use
        laid = affine_transform(self.values, matrix, start, (height, width), np.float32, order=1, mode="nearest")
        # A pixel reaches half its side beyond its centre.
        ends = np.array(self.values.shape) - 0.5 + 1e-6
        columns = np.arange(width)
        for row in range(height):
            for axis in (0, 1):
                place = back[axis, 0] * row + back[axis, 1] * columns + start[axis]
                laid[row, (place < -0.5 - 1e-6) | (place > ends[axis])] = np.nan
        return laid

    # ---- keeping ---------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike) -> Path:
        """Write everything to one file, a zip of plain arrays and JSON that needs no pickle to read.

        The file is complete or not there at all: it is written beside its place and then moved.
        """
        path = Path(path)
        arrays = {name: getattr(self, name) for name in _ARRAYS if getattr(self, name) is not None}
        text = {f.name: _plain(getattr(self, f.name)) for f in fields(self) if f.name not in _ARRAYS}
        meta = np.frombuffer(json.dumps(text).encode(), np.uint8)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with open(draft, "wb") as file:
                np.savez_compressed(file, meta=meta, **arrays)
            os.replace(draft, path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise FileError(f"{str(path)!r} cannot be written: {error.strerror or error}.") from error
        return path

    @classmethod
    def load(cls, path: str | os.PathLike) -> Explanation:
        """Read what `save` wrote."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                content = {name: stored[name] for name in stored.files}
            meta = json.loads(content.pop("meta").tobytes())
            version = int(meta["schema_version"])
        except FileNotFoundError:
            raise FileError(f"There is no file {os.fspath(path)!r}.") from None
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise FileError(f"{os.fspath(path)!r} is no saved explanation ({error}).") from error
        if version > SCHEMA_VERSION:
            raise FileError(
                f"{os.fspath(path)!r} was saved by a newer xai_widgets (format {version}, known is {SCHEMA_VERSION}). "
                "Update with: pip install -U xai-widgets"
            )
        try:
            return _rebuild({**meta, **{name: content[name] for name in _ARRAYS if name in content}})
        except TypeError as error:  # a part without which there is no explanation
            raise FileError(f"{os.fspath(path)!r} is no complete explanation ({error}).") from error

    # ---- from other libraries --------------------------------------------------------------------------------------

    @classmethod
    def from_captum(
        cls, attribution: Any, *, image: Any, target: Any, method: Any = "captum", **about: Any
    ) -> Explanation:
        """Take over what captum attributed to a picture; its channels are added up.

        Parameters
        ----------
        attribution : tensor or ndarray, shape (C, H, W), (1, C, H, W) or (H, W)
        image : picture
            As the model saw it, H × W; whatever `images.read` takes. ``mean=`` and ``std=`` undo a normalisation.
        target : int, str, (a, b) or callable
            What was attributed: a class by index or name.
        method : str or captum object
            What made it, for instance ``ig`` itself; the explanation is called "captum: IntegratedGradients".
        **about
            ``class_names``; ``probabilities`` (classes,), else the answer is left empty; ``space``, default "logit";
            ``signed``, default whether there are negative numbers; ``segments``, ``n_segments``; ``layout``,
            ``value_range``, ``mean``, ``std``, ``bands`` of the picture.
        """
        from xai_widgets.foreign import from_captum

        return from_captum(attribution, image=image, target=target, method=method, **about)

    @classmethod
    def from_shap(cls, explanation: Any, *, target: Any = None, image: Any = None, **about: Any) -> Explanation:
        """Take over shap's values for a picture, pixel by pixel; their channels are added up.

        Parameters
        ----------
        explanation : shap.Explanation, ndarray or list of ndarray
            Of one picture: values (H, W, C) or (C, H, W), with a last axis for several outputs, and a first one of 1.
        target : int or str, optional
            Which output, by name or index. Needed if there are several.
        image : picture, optional
            As the model saw it. Default: what shap keeps, if it is a picture.
        **about
            As for `from_captum`, and ``method`` for what made it. ``space`` is by default "probability" where base
            values and values together stay within 0 and 1, else "logit".
        """
        from xai_widgets.foreign import from_shap

        return from_shap(explanation, target=target, image=image, **about)

    @classmethod
    def from_lime(cls, explanation: Any, *, label: Any = None, **about: Any) -> Explanation:
        """Take over lime's weights, on lime's own regions.

        Parameters
        ----------
        explanation : lime.lime_image.ImageExplanation
        label : int or str, optional
            Which of the classes that lime explained. Default: the likeliest.
        **about
            As for `from_captum`, and ``image`` where lime saw something that is no picture to look at. ``space`` is
            "probability" by default.
        """
        from xai_widgets.foreign import from_lime

        return from_lime(explanation, label=label, **about)

    @classmethod
    def from_gradcam(cls, cam: Any, *, image: Any, target: Any, **about: Any) -> Explanation:
        """Take over a map of pytorch-grad-cam.

        Parameters
        ----------
        cam : ndarray, shape (H, W) or (1, H, W)
        image, target
            As for `from_captum`.
        **about
            As for `from_captum`; ``method``, for instance the object that made the map; ``target_layer``, its name.
        """
        from xai_widgets.foreign import from_gradcam

        return from_gradcam(cam, image=image, target=target, **about)

    # ---- showing ---------------------------------------------------------------------------------------------------

    def plot(self, ax: Any = None, *, opacity: float = 0.8, outlines: bool = False) -> Any:
        """Draw picture and map with matplotlib and a colour bar of real numbers; returns the Axes."""
        from xai_widgets.plotting import plot

        return plot(self, ax, opacity=opacity, outlines=outlines)

    def to_html(self, path: str | os.PathLike) -> Path:
        """Write a page that opens offline, with the widget's sliders and no kernel."""
        from xai_widgets.export import explanation_page

        path = Path(path)
        path.write_text(explanation_page(self), encoding="utf-8")
        return path

    def summary(self) -> str:
        """What it says, in a few lines of text."""
        share = ""
        if isinstance(self.target, int) and len(self.probabilities):
            share = f" ({self.probabilities[self.target]:.1%})"
        strongest = ", ".join(f"{i} ({self.region_values[i]:+.3g})" for i in self.top_segments(3))
        layer = f", layer {self.target_layer}" if self.target_layer else ""
        lines = [
            f"Why {self.target_name}{share}, according to {self.method}{layer}",
            f"strongest of {self.n_segments} regions: {strongest}",
            f"{self.n_forward:,} forward passes, {self.seconds:.1f} s, seed {self.seed}, {self.space}",
        ]
        if self.pictures is not None and not self.values.any():
            lines[1] = "no map"
        if "torch" not in self.versions:  # not made here: what it cost and drew is not known
            lines[2] = self.space
        lines += self.captions
        return "\n".join([*lines, *(f"note: {warning}" for warning in self.warnings)])

    def __repr__(self) -> str:
        height, width = self.values.shape
        return f"<Explanation of {self.target_name!r} by {self.method}, {width}×{height}, {self.n_segments} regions>"

    def _repr_png_(self) -> bytes:
        from xai_widgets.plotting import thumbnail

        return thumbnail(self)

    def _repr_mimebundle_(self, **_kwargs: Any) -> dict[str, Any]:
        """What a notebook shows without our front end: a picture and the text."""
        return {"text/plain": self.summary(), "image/png": self._repr_png_()}


def _plain(value: Any) -> Any:
    """A form that JSON and pickle know: proxies to dicts, tuples to lists, numpy numbers to Python's."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _frozen(array: np.ndarray) -> np.ndarray:
    if array.flags.writeable:
        array = array.copy()
        array.setflags(write=False)
    return array


def _rebuild(content: Mapping[str, Any]) -> Explanation:
    known = {f.name for f in fields(Explanation)}
    content = {name: value for name, value in content.items() if name in known}
    for name in ("warnings", "captions"):
        content[name] = tuple(content.get(name, ()))
    content["checks"] = {name: tuple(check) for name, check in content.get("checks", {}).items()}
    if content.get("class_names") is not None:
        content["class_names"] = tuple(content["class_names"])
    return Explanation(**content)
