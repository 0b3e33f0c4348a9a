"""One picture or several for one model: each is made ready when it is first looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike, fspath
from pathlib import PurePath
from typing import Any

from xai_widgets import images
from xai_widgets.classifiers import Classifier
from xai_widgets.errors import ArgumentError, XaiError
from xai_widgets.session import Session

_KEPT = 4
"""Sessions kept ready; each holds its picture at full size."""


class Pictures(Sequence[Session]):
    """The sessions of a batch, one a picture, with one classifier.

    Parameters
    ----------
    model : object
    image : object
        Anything that `images.read` takes, or several of them in a list, or an array or tensor (B, C, H, W).
    options : mapping
        Further arguments of `Session`.

    Attributes
    ----------
    single : bool
        Whether one picture was given, rather than a batch.
    """

    def __init__(self, model: Any, image: Any, options: Mapping[str, Any]) -> None:
        own = {name: options[name] for name in ("output", "activation", "device") if name in options}
        self._classifier = Classifier(model, **own)
        self._options = {name: value for name, value in options.items() if name not in own}
        batch = images.split(image, layout=options.get("layout"), channels=self._classifier.channels)
        self.single = batch is None
        self._images = [image] if batch is None else batch
        if batch is not None and isinstance(self._options.get("layout"), str):
            self._options["layout"] = self._options["layout"].removeprefix("N")
        self._ready: dict[int, Session] = {}

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Session:
        """The session of picture `index`.

        Raises
        ------
        XaiError
            What is wrong with this picture, and which one it is.
        """
        if isinstance(index, bool) or not hasattr(index, "__index__") or not 0 <= index.__index__() < len(self):
            raise ArgumentError(f"There is no picture {index!r}; there are {len(self)}, 0 to {len(self) - 1}.")
        if index not in self._ready:
            session = self._open(index)
            if len(self._ready) >= _KEPT:
                self._ready.pop(next(iter(self._ready)))
            self._ready[index] = session
        return self._ready[index]

    def __iter__(self) -> Iterator[Session]:
        return (self[index] for index in range(len(self)))

    def glance(self, index: int) -> Session:
        """The session of a picture for a look at the answer only: not kept."""
        return self._ready.get(index) or self._open(index)

    @property
    def labels(self) -> list[str]:
        """What each picture is called."""
        return [self.label(index) for index in range(len(self))]

    def label(self, index: int) -> str:
        """What a picture is called: its number counted from one, and its file's name."""
        image = self._images[index]
        name = f", {PurePath(fspath(image)).name}" if isinstance(image, (str, PathLike)) else ""
        return f"picture {index + 1} of {len(self)}{name}"

    def targets(self, target: Any) -> list[Any]:
        """What is asked about each picture: a list has one target a picture, anything else is for all of them."""
        if self.single or not isinstance(target, list):
            return [target] * len(self)
        if len(target) != len(self):
            raise ArgumentError(
                f"target= lists {len(target)} classes for {len(self)} pictures. Pass one for each, one for all "
                "(target=3), or a pair as a tuple: target=(a, b)"
            )
        return target

    def _open(self, index: int) -> Session:
        try:
            return Session(self._classifier, self._images[index], **self._options)
        except XaiError as error:
            if self.single:
                raise
            raise type(error)(f"{self.label(index).capitalize()}: {error}") from error
