"""Where judgements are kept: an SQLite file beside the notebook, or any database SQLAlchemy reaches.

A connection lives no longer than one call. That costs a millisecond and buys much: any thread may call, a fork or a
pickle carries no connection along, nothing has to be closed, and between calls the store is one plain file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from xai_widgets.errors import ArgumentError, MissingExtraError, StoreError
from xai_widgets.feedback import _database
from xai_widgets.feedback.records import Feedback

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import URL, Connection, Engine

T = TypeVar("T")

ANY: Final[Any] = type("Any", (), {"__repr__": lambda self: "<any>"})()
"""Stands for "whatever it is" where None has a meaning of its own."""


class FeedbackStore:
    """Judgements, kept in the order they were made; nothing is ever changed or removed.

    Parameters
    ----------
    url_or_path : str or os.PathLike
        A file for SQLite, made at the first judgement, or an SQLAlchemy URL such as
        ``postgresql+psycopg://user@host/feedback``.

    Raises
    ------
    ArgumentError
        If it is neither.
    StoreError
        If nothing can be kept there: a directory, a missing folder, an unknown kind of URL, a database in memory.

    Notes
    -----
    Several kernels may write at once: to a file those of one machine, to a server any. A store can be pickled (with the
    URL's password, if it has one) and used after a fork. An empty store is true, though its length is 0.
    """

    def __init__(self, url_or_path: str | os.PathLike[str] = "xai_feedback.db") -> None:
        if not isinstance(url_or_path, (str, os.PathLike)):
            raise ArgumentError(
                f"A store is named by a path or a URL, not by a {type(url_or_path).__name__}. "
                'Type FeedbackStore("xai_feedback.db").'
            )
        name = os.fspath(url_or_path)
        self._engine: Engine | None = None
        self._url: URL | None = None
        path: str | None = name
        if "://" in name or name == ":memory:":
            self._url, path = _database.parse(name)
        self.path = None if path is None else Path(os.path.abspath(os.path.expanduser(path)))
        """The file, absolute; None where the store is no file."""
        if self.path is not None:
            _database.check_path(self.path)
        else:
            self._connectable()  # an unknown kind of database, or a missing driver, is best heard of now

    @property
    def location(self) -> str:
        """The file, absolute, or the URL without its password."""
        if self.path is not None:
            return str(self.path)
        url = self._url  # the query is left out too: some drivers take passwords there
        return url.create(url.drivername, url.username, None, url.host, url.port, url.database).render_as_string()

    def add(self, record: Feedback) -> Feedback:
        """Keep `record`; when this returns it is on the disk.

        Raises
        ------
        ArgumentError
            If `record` is no `Feedback`.
        StoreError
            If it cannot be kept, or is in the store already.
        """
        if not isinstance(record, Feedback):
            raise ArgumentError(f"A store keeps Feedback, not {type(record).__name__}. Type store.add(Feedback(...)).")
        from sqlalchemy.exc import IntegrityError

        from xai_widgets.feedback import _tables

        row = _tables.to_row(record)

        def write(connection: Connection) -> None:
            _tables.metadata.create_all(connection)
            if self._version(connection) is None:
                version = {"key": "schema_version", "value": str(_tables.SCHEMA_VERSION)}
                connection.execute(_tables.meta.insert().values(version))
            try:
                connection.execute(_tables.feedback.insert().values(row))
            except IntegrityError as error:
                raise StoreError(
                    f"Judgement {record.id} is in {self.location} already. Make a new one: leave out id=."
                ) from error

        self._run(write, writes=True)
        return record

    def records(
        self,
        picture_id: str | None = None,
        model_id: str | None = None,
        target: int | None = ANY,
        annotator: str | None = None,
    ) -> list[Feedback]:
        """The judgements in the order they were written; empty where the store was never written to.

        Parameters
        ----------
        picture_id, model_id, annotator : str or None
            Only these; None for all.
        target : int or None
            Only of this class; None for those of no single class. Left out: all.

        Raises
        ------
        StoreError
            If the store cannot be read.
        """
        wanted = {"picture_id": picture_id, "model_id": model_id, "annotator": annotator}
        wanted = {name: value for name, value in wanted.items() if value is not None}
        if target is not ANY:
            wanted["target"] = target

        def read(connection: Connection) -> list[Feedback]:
            from sqlalchemy import select

            from xai_widgets.feedback import _tables

            if self._version(connection) is None:
                return []
            table = _tables.feedback
            query = select(table).where(*(table.c[name] == value for name, value in wanted.items()))
            return [_tables.from_row(row) for row in connection.execute(query.order_by(table.c.position)).mappings()]

        return self._run(read) if self._exists() else []

    def to_frame(self) -> pd.DataFrame:
        """All judgements as a pandas table: a row each, a column a field.

        Raises
        ------
        MissingExtraError
            If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingExtraError("to_frame() needs pandas. Type: pip install pandas") from error
        names = list(Feedback.__dataclass_fields__)
        return pd.DataFrame([[getattr(record, name) for name in names] for record in self.records()], columns=names)

    def __len__(self) -> int:
        def count(connection: Connection) -> int:
            from sqlalchemy import func, select

            from xai_widgets.feedback import _tables

            if self._version(connection) is None:
                return 0
            return connection.scalar(select(func.count()).select_from(_tables.feedback))

        return self._run(count) if self._exists() else 0

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"FeedbackStore({self.location!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return FeedbackStore, (self.path or self._url.render_as_string(hide_password=False),)

    def _exists(self) -> bool:
        return self.path is None or self.path.exists()

    def _connectable(self) -> Engine:
        # Two threads may both come here first: then one engine is thrown away, and none holds a connection.
        if self._engine is None:
            self._engine = _database.engine(self.path, self._url)
        return self._engine

    def _run(self, work: Callable[[Connection], T], *, writes: bool = False) -> T:
        """`work` in one transaction, again if somebody else was in the way, with errors that say what to do."""
        from sqlalchemy.exc import DBAPIError

        engine = self._connectable().execution_options(xai_writes=writes)
        deadline = time.monotonic() + _database.PATIENCE
        while True:
            try:
                with engine.begin() as connection:
                    return work(connection)
            except DBAPIError as error:
                if not _database.passing(error) or time.monotonic() > deadline:
                    raise StoreError(_database.explain(self.path, self.location, error.orig, writes)) from error
            time.sleep(0.01)

    def _version(self, connection: Connection) -> int | None:
        """The version of the tables in the store; None if it holds none yet."""
        from sqlalchemy import inspect, select

        from xai_widgets.feedback import _tables

        if not inspect(connection).has_table(_tables.meta.name):
            return None
        meta = _tables.meta
        found = connection.scalar(select(meta.c.value).where(meta.c.key == "schema_version"))
        if found is not None and int(found) > _tables.SCHEMA_VERSION:
            raise StoreError(
                f"{self.location} was written by a newer xai-widgets: its schema is {found}, this version knows "
                f"{_tables.SCHEMA_VERSION}. Type: pip install -U xai-widgets"
            )
        return None if found is None else int(found)
