"""The tables of a feedback store and how a record becomes a row; ``store.py`` imports it on use: it loads SQLAlchemy.

Text is in columns of its own, so that a store can be read with any database tool. What JSON keeps is JSON; a mask is
its bits, row by row, eight a byte (``numpy.packbits``), deflated.
"""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import fields
from typing import Any

import numpy as np
from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text, UniqueConstraint
from sqlalchemy.types import TypeDecorator

from xai_widgets.errors import StoreError
from xai_widgets.feedback.records import Feedback

SCHEMA_VERSION = 1
"""Version of the tables, raised when an older xai-widgets could not read them."""

_UNSTORABLE = re.compile("[\\\\\0\ud800-\udfff]")
_ESCAPED = re.compile(r"\\u([0-9a-f]{4})")


class AnyText(TypeDecorator):
    r"""Text that comes back as it went in, whatever it is.

    Databases refuse or cut text at NUL, and UTF-8 has no lone surrogates (half an emoji). These, and the backslash that
    marks them, are kept as ``\uXXXX``; everything else stays readable.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        return value and _UNSTORABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", value)

    def process_result_value(self, value: str | None, dialect: Any) -> str | None:
        return value and _ESCAPED.sub(lambda match: chr(int(match[1], 16)), value)


class Json(TypeDecorator):
    """Numbers, text, lists and dicts as ASCII JSON."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> str:
        return json.dumps(value)

    def process_result_value(self, value: str, dialect: Any) -> Any:
        return json.loads(value)


metadata = MetaData()

meta = Table(
    "xai_feedback_meta", metadata, Column("key", String(64), primary_key=True), Column("value", Text, nullable=False)
)

feedback = Table(
    "xai_feedback",
    metadata,
    # SQLite counts rows up by itself only where the type is INTEGER.
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("id", String(32), nullable=False),
    # Rows are never changed. A corrected judgement will be a row of the same id with the next revision.
    Column("revision", Integer, nullable=False),
    Column("schema_version", Integer, nullable=False),
    Column("created", String(32), nullable=False),
    Column("annotator", AnyText, nullable=False),
    Column("verdict", String(32)),
    Column("scope", String(32), nullable=False),
    Column("regions", Json, nullable=False),
    Column("mask", LargeBinary),
    Column("mask_height", Integer),
    Column("mask_width", Integer),
    Column("rating", Integer),
    Column("label", AnyText, nullable=False),
    Column("comment", AnyText, nullable=False),
    Column("picture_id", AnyText, nullable=False),
    Column("model_id", AnyText, nullable=False),
    Column("model_name", AnyText, nullable=False),
    Column("target", Integer),
    Column("target_name", AnyText, nullable=False),
    Column("method", AnyText, nullable=False),
    Column("params", Json, nullable=False),
    Column("explanation", Json, nullable=False),
    Column("to_source", Json, nullable=False),
    Column("source_size", Json, nullable=False),
    UniqueConstraint("id", "revision"),
    Index("xai_feedback_picture_id", "picture_id", mysql_length=64),
    # Never give a position twice, so that it stays the order of writing.
    sqlite_autoincrement=True,
)


def to_row(record: Feedback) -> dict[str, Any]:
    """`record` as the values of its row's columns."""
    row = {f.name: getattr(record, f.name) for f in fields(record)} | {"revision": 1}
    if record.mask is not None:
        row["mask"] = zlib.compress(np.packbits(record.mask).tobytes())
        row["mask_height"], row["mask_width"] = record.mask.shape
    return row


def from_row(row: Any) -> Feedback:
    """The record in `row`, a mapping from column names to values.

    Raises
    ------
    StoreError
        If the mask's bytes are damaged.
    """
    values = {f.name: row[f.name] for f in fields(Feedback)}
    if values["mask"] is not None:
        values["mask"] = _unpack(values["mask"], (row["mask_height"], row["mask_width"]), row["id"])
    return Feedback(**values)


def _unpack(data: bytes, shape: tuple[int, int], name: str) -> np.ndarray:
    count = shape[0] * shape[1]
    try:
        bits = np.frombuffer(zlib.decompress(data), np.uint8)
    except zlib.error as error:
        raise StoreError(f"The mask of judgement {name} is damaged ({error}). Restore it from a copy.") from error
    if bits.size != (count + 7) // 8:
        raise StoreError(f"The mask of judgement {name} has {bits.size} bytes, too few or too many for {shape}.")
    return np.unpackbits(bits, count=count).astype(bool).reshape(shape)
