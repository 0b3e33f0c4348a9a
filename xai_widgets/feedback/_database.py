"""How a feedback store reaches its database, and what the database's complaints mean. SQLAlchemy is loaded on use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_widgets.errors import StoreError

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

PATIENCE = 30.0
"""Seconds to wait for others who write to the same store."""


def parse(name: str) -> tuple[URL, str | None]:
    """The URL in `name`, and the file it means, if it means one."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError as BadUrl

    try:
        url = make_url("sqlite://" if name == ":memory:" else name)
    except (BadUrl, ValueError) as error:
        raise StoreError(
            f"This URL cannot be read ({error}). It should look like sqlite:///feedback.db or "
            "postgresql+psycopg://user@host/feedback."
        ) from error
    if url.get_backend_name() != "sqlite":
        return url, None
    if url.database in (None, "", ":memory:") or url.query:
        raise StoreError(
            f"{name!r} is no file, so judgements would be lost when the kernel stops. "
            'Type the path of one: FeedbackStore("feedback.db").'
        )
    return url, url.database


def check_path(path: Path) -> None:
    """Say at once what can never work; a folder that cannot be written to is no hindrance to reading."""
    if path.is_dir():
        raise StoreError(f"{path} is a directory. Type the name of a file in it: {str(path / 'xai_feedback.db')!r}.")
    if not path.parent.is_dir():
        problem = "is no directory" if path.parent.exists() else "does not exist"
        raise StoreError(f"{path.parent} {problem}, so {path.name} cannot be there. Make the folder, or name another.")


def engine(path: Path | None, url: URL | None) -> Engine:
    """An engine for the SQLite file `path` or, where that is None, for `url`. It does not connect yet."""
    from sqlalchemy import URL, NullPool, create_engine, event
    from sqlalchemy.exc import NoSuchModuleError

    if path is None:
        try:
            return create_engine(url, poolclass=NullPool)
        except (NoSuchModuleError, ImportError) as error:
            missing = f"Type: pip install {error.name}" if isinstance(error, ImportError) else "Name another database."
            raise StoreError(f"No driver for {url.drivername}:// is installed ({error}). {missing}") from error
    file = URL.create("sqlite", database=str(path))
    made = create_engine(file, poolclass=NullPool, connect_args={"timeout": PATIENCE})
    event.listen(made, "connect", _prepare)
    event.listen(made, "begin", _begin)
    return made


def _prepare(connection: Any, _: Any) -> None:
    """Settings of a new SQLite connection; its busy timeout is given on connecting."""
    connection.isolation_level = None  # Python's own BEGIN comes too late: see `_begin`
    connection.execute("PRAGMA synchronous=FULL")  # a commit returns when the disk has it


def _begin(connection: Connection) -> None:
    if not connection.get_execution_options().get("xai_writes"):
        connection.exec_driver_sql("BEGIN")
        return
    # The write-ahead log lets readers go on while somebody writes. Where it cannot be, SQLite stays with its journal,
    # which is as safe.
    connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    # Taking the write lock at once makes others wait; taking it on the first INSERT would make them fail.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def passing(error: Exception) -> bool:
    """Whether somebody else was in the way for a moment: a lock, or the same tables being made."""
    text = str(getattr(error, "orig", error)).lower()
    return "database is locked" in text or "already exists" in text


def explain(path: Path | None, location: str, error: BaseException | None, writes: bool) -> str:
    """What a database's error means for the person who gave feedback, and what to do."""
    seen = f"{type(error).__name__}: {error}"
    doing = "written to" if writes else "read"
    if path is None:
        return f"{location} cannot be {doing} ({seen}). Check that the database runs and lets you in."
    if "not a database" in str(error):
        return f"{path} is a file, but no SQLite database ({seen}). Name another file, or move this one away."
    if "locked" in str(error):
        return f"{path} was locked by another program for {PATIENCE:.0f} s. Close what has it open, and try again."
    if "full" in str(error):
        return f"The disk that holds {path} is full ({seen}). Make room, and try again."
    if "malformed" in str(error):
        return f"{path} is damaged ({seen}). Move it away and restore it from a copy."
    return (
        f"{path} cannot be {doing} ({seen}). Check that you may write to the file and to its folder, "
        'or name another: store="/a/folder/of/yours/xai_feedback.db".'
    )
