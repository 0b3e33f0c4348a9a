"""What can go wrong, each with a message that says what was seen, why it cannot work and the line to type."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class XaiError(Exception):
    """Base of every error this package raises on purpose."""


class InputError(XaiError, ValueError):
    """The picture, its regions, its baseline or its preprocessing cannot be used."""


class ArgumentError(XaiError, TypeError):
    """An argument is missing, unknown or of the wrong type."""


class TargetError(XaiError, ValueError):
    """The class asked for does not exist, or its name is not unique."""


class ModelError(XaiError, ValueError):
    """The model cannot be asked: it raised, or its answer is no classification."""


class MethodError(XaiError, ValueError):
    """The method is unknown, or it cannot work on this model."""


class FileError(XaiError, ValueError):
    """A saved explanation cannot be read or written."""


class StoreError(XaiError, ValueError):
    """Feedback cannot be kept or read."""


class MissingExtraError(XaiError, ImportError):
    """An optional package is not installed."""


def nearest(word: object, known: Iterable[str], n: int = 3) -> str:
    """``" Did you mean 'tabby' or 'tub'?"``: the names closest to `word`, or nothing if none is close."""
    by_lower: dict[str, str] = {}
    for name in known:
        by_lower.setdefault(name.lower(), name)
    text = str(word).lower()
    hits = difflib.get_close_matches(text, by_lower, n=n, cutoff=0.6)
    # A word that is part of a name ("cat" in "tiger cat") is a better guess than a word of similar letters.
    parts = [low for low in by_lower if len(text) > 2 and text in low and low not in hits]
    hits = (hits + sorted(parts, key=len))[:n]
    if not hits:
        return ""
    quoted = [repr(by_lower[hit]) for hit in hits]
    return f" Did you mean {' or '.join(quoted)}?"


def first_line(error: BaseException) -> str:
    """What another library's error says, shortened to a sentence."""
    text = str(error).strip().splitlines()
    line = text[0] if text else "no message"
    return line if line.endswith(".") else line + "."
