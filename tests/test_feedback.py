"""Judgements: what a record refuses, and that the store loses nothing."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import threading
import zlib
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from xai_widgets.errors import ArgumentError, InputError, MissingExtraError, StoreError
from xai_widgets.feedback import Feedback, FeedbackStore

HOSTILE = [
    "'; DROP TABLE xai_feedback; --",
    "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "👩‍🔬 🏳️‍🌈 e\u0301 \u200d",
    "مرحبا \u202eevil\u202c",
    "before\0after",
    "half an emoji \ud83d",
    r"C:\new\u0041 \\ %s {x} :name ?",
    "line\r\nline\ttab ",
    "x" * 100_000,
]


def full(**changes):
    """A record with every field set."""
    mask = np.zeros((5, 7), bool)
    mask[1:3, 2:] = True
    values = {
        "annotator": "anna",
        "verdict": "must_not_matter",
        "scope": "regions",
        "regions": (3, 1),
        "mask": mask,
        "rating": 4,
        "label": "watermark",
        "comment": "the logo, not the dog",
        "picture_id": "p1",
        "model_id": "m1",
        "model_name": "ResNet",
        "target": 281,
        "target_name": "tabby",
        "method": "lime",
        "params": {"n_samples": 1000, "kernel": 0.1 + 0.2},
        "explanation": {"seed": 0, "baseline": "blur", "versions": {"torch": "2.15"}},
        "to_source": (2.0, 0.0, 0.5, 0.0, 1 / 3, -1e-17),
        "source_size": (640, 480),
    }
    return Feedback(**(values | changes))


def said(**values):
    return Feedback(**({"verdict": "mattered"} | values))


# ---------------------------------------------------------------------------------------------------------------------
# Records
# ---------------------------------------------------------------------------------------------------------------------


def test_defaults():
    record = said()
    assert record.schema_version == 1
    assert len(record.id) == 32
    assert record.id != said().id
    assert record.created.endswith("+00:00")
    assert len(record.created) == len("2026-01-01T00:00:00.000+00:00")
    assert (record.scope, record.regions, record.mask, record.target) == ("map", (), None, None)


def test_frozen_and_apart_from_what_made_it():
    mask, params = np.ones((2, 2), bool), {"a": [1]}
    record = said(scope="mask", mask=mask, params=params)
    mask[0, 0] = False
    params["a"].append(2)
    assert record.mask.all()
    assert record.params == {"a": [1]}
    with pytest.raises(ValueError, match="read-only"):
        record.mask[0, 0] = False
    with pytest.raises(FrozenInstanceError):
        record.rating = 1


def test_numpy_scalars_become_plain():
    record = full(
        rating=np.int64(3),
        target=np.int32(5),
        regions=np.array([4, 2, 4]),
        params={"a": np.float32(0.5), "b": np.arange(2), "c": (1, 2), "d": np.bool_(True)},
        to_source=np.arange(6),
        source_size=np.array([3, 2]),
        mask=np.eye(3, dtype=np.uint8),
    )
    assert record.regions == (2, 4)
    assert record.params == {"a": 0.5, "b": [0, 1], "c": [1, 2], "d": True}
    assert [type(x) for x in (record.rating, record.target, *record.regions, *record.source_size)] == [int] * 6
    assert [type(x) for x in record.to_source] == [float] * 6
    assert record.mask.dtype == bool


def test_equality():
    record = full()
    assert record == replace(record)
    assert hash(record) == hash(replace(record))
    assert record != replace(record, comment="other")
    assert record != replace(record, mask=~record.mask)
    assert record != replace(record, mask=record.mask[:, :-1])
    assert said() != "something else"


def test_time_is_kept_in_utc():
    assert said(created="2026-11-21T12:00:00.1239+02:00").created == "2026-11-21T10:00:00.123+00:00"


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"verdict": "matered"}, InputError, "'matered' is unknown. Did you mean 'mattered'"),
        ({"verdict": None}, InputError, "says nothing"),
        ({"rating": 0}, InputError, "from 1 to 5"),
        ({"rating": 6}, InputError, "6 is none"),
        ({"rating": 2.5}, ArgumentError, "not 2.5"),
        ({"rating": True}, ArgumentError, "not True"),
        ({"target": -1}, InputError, "target"),
        ({"target": "tabby"}, ArgumentError, "not 'tabby'"),
        ({"comment": None}, ArgumentError, 'comment=""'),
        ({"label": b"x"}, ArgumentError, "not bytes"),
        ({"scope": "pixels"}, InputError, "regions, map, mask"),
        ({"scope": "regions", "mask": np.ones((2, 2), bool)}, InputError, "no region"),
        ({"regions": [1], "scope": "map"}, InputError, "1 region"),
        ({"regions": [1], "scope": "regions"}, InputError, "np.isin"),
        ({"regions": 3}, ArgumentError, r"regions=\[3\]"),
        ({"regions": "12"}, ArgumentError, "text '12'"),
        ({"regions": [-1], "scope": "regions"}, InputError, "-1 is none"),
        ({"scope": "mask"}, InputError, "without a mask"),
        ({"mask": np.ones((2, 2), bool)}, InputError, "with a mask"),
        ({"scope": "mask", "mask": np.zeros((2, 3), bool)}, InputError, "3 × 2.*no pixel"),
        ({"scope": "mask", "mask": np.ones(4, bool)}, InputError, r"not \(4,\)"),
        ({"scope": "mask", "mask": np.full((2, 2), 0.3)}, ArgumentError, "values > 0.5"),
        ({"scope": "mask", "mask": np.full((2, 2), 255, np.uint8)}, ArgumentError, "uint8"),
        ({"id": "1"}, InputError, "32 hexadecimal"),
        ({"created": "yesterday"}, InputError, "ISO 8601"),
        ({"created": "2026-11-21T10:00:00"}, InputError, "no time zone"),
        ({"params": [1]}, ArgumentError, "not list"),
        ({"params": {"f": len}}, ArgumentError, "builtin_function_or_method"),
        ({"explanation": {"x": {1, 2}}}, ArgumentError, "set"),
        ({"to_source": (1, 0, 0, 0, 1)}, InputError, "six finite"),
        ({"to_source": (1, 0, 0, 0, 1, float("nan"))}, InputError, "six finite"),
        ({"source_size": (640,)}, InputError, "width, height"),
        ({"source_size": (0, 3)}, InputError, "0 is none"),
        ({"schema_version": 0}, InputError, "schema_version"),
    ],
)
def test_a_record_refuses(changes, error, words):
    with pytest.raises(error, match=words):
        said(**changes)


def test_a_rating_a_label_or_a_comment_is_enough():
    for one in ({"rating": 1}, {"label": "x"}, {"comment": "y"}):
        assert Feedback(**one).verdict is None


def test_judgement_is_what_the_protocol_says():
    from xai_widgets.protocol import Judgement

    record = full(comment="half \ud83d and whole \ud83d\ude00", verdict=None)
    judgement = record.to_judgement()
    assert set(judgement) == set(Judgement.__annotations__)
    assert judgement["verdict"] == ""
    assert judgement["regions"] == [1, 3]
    assert judgement["comment"] == "half \ufffd and whole 😀"
    assert json.loads(json.dumps(judgement, ensure_ascii=False).encode()) == judgement


# ---------------------------------------------------------------------------------------------------------------------
# Store
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path):
    return FeedbackStore(tmp_path / "feedback.db")


def test_round_trip_is_exact(store):
    written = [full(), said(), Feedback(comment="only this"), full(scope="mask", regions=())]
    for record in written:
        assert store.add(record) is record
    read = FeedbackStore(store.path).records()
    assert read == written
    assert [type(value) for value in vars(read[0]).values()] == [type(value) for value in vars(written[0]).values()]
    assert len(store) == 4


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 5), (224, 224), (480, 641)])
def test_masks_come_back_bit_for_bit(store, shape):
    mask = np.random.default_rng(0).random(shape) < 0.5
    mask[0, 0] = True
    store.add(said(scope="mask", mask=mask))
    (read,) = store.records()
    assert read.mask.dtype == bool
    assert np.array_equal(read.mask, mask)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_any_text_is_kept_as_it_is(store, text):
    store.add(full(comment=text, label=text, annotator=text, picture_id=text, params={"t": text}))
    store.add(said())
    (read,) = store.records(annotator=text, picture_id=text)
    assert read.comment == read.label == read.annotator == read.picture_id == read.params["t"] == text


def test_ordinary_text_is_readable_in_the_file(store):
    store.add(full(comment="Größe: 'ok' 👍"))
    with sqlite3.connect(store.path) as raw:
        assert raw.execute("SELECT comment, target, verdict FROM xai_feedback").fetchall() == [
            ("Größe: 'ok' 👍", 281, "must_not_matter")
        ]
        assert raw.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
    raw.close()


def test_filters_and_order(store):
    for i in range(6):
        store.add(full(picture_id=f"p{i % 2}", model_id=f"m{i % 3}", target=None if i < 2 else i, comment=str(i)))
    found = [
        [r.comment for r in store.records(**by)]
        for by in ({}, {"picture_id": "p1"}, {"model_id": "m0"}, {"target": None}, {"target": 4}, {"annotator": "x"})
    ]
    assert found == [list("012345"), list("135"), list("03"), list("01"), list("4"), []]
    assert [r.comment for r in store.records(picture_id="p0", model_id="m2")] == ["2"]


def test_nothing_is_made_before_the_first_judgement(store):
    assert store.records() == []
    assert len(store) == 0
    assert bool(store)
    assert list(store.path.parent.iterdir()) == []
    store.add(said())
    assert [p.name for p in store.path.parent.iterdir()] == ["feedback.db"]  # no journal is left beside it


def test_an_empty_or_foreign_database_is_used_but_not_changed_by_reading(store):
    with sqlite3.connect(store.path) as raw:
        raw.execute("CREATE TABLE mine (x)")
    raw.close()
    before = store.path.read_bytes()
    assert store.records() == []
    assert len(store) == 0
    assert store.path.read_bytes() == before
    store.add(said())
    assert len(store) == 1


def test_the_file_may_vanish_between_judgements(store):
    store.add(said())
    store.path.unlink()
    store.add(said())
    assert len(store) == 1


def test_the_same_judgement_twice_is_refused(store):
    record = store.add(said())
    with pytest.raises(StoreError, match=f"{record.id} is in .* already"):
        store.add(record)
    assert len(store) == 1


def test_only_feedback_is_kept(store):
    with pytest.raises(ArgumentError, match=r"not dict.*store.add\(Feedback"):
        store.add({"verdict": "mattered"})
    assert not store.path.exists()


KILLED = """
import os, signal, sys
from xai_widgets.feedback import Feedback, FeedbackStore
store = FeedbackStore(sys.argv[1])
for i in range(20):
    store.add(Feedback(comment=str(i)))
    os.write(1, f"{i}\\n".encode())
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_kernel_loses_nothing(store):
    done = subprocess.run([sys.executable, "-c", KILLED, store.path], stdout=subprocess.PIPE, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [record.comment for record in store.records()] == done.stdout.decode().split()
    assert len(store) == 20


def test_a_judgement_is_committed_to_disk_before_add_returns(store, monkeypatch):
    # What a test can see of a power cut: SQLite waits for the disk at every commit.
    seen = []
    from xai_widgets.feedback import _database

    prepare = _database._prepare

    def watch(connection, record):
        prepare(connection, record)
        seen.append(connection.execute("PRAGMA synchronous").fetchone()[0])
        seen.append(connection.execute("PRAGMA busy_timeout").fetchone()[0])

    monkeypatch.setattr(_database, "_prepare", watch)
    store.add(said())
    assert seen == [2, 30_000]  # 2 is FULL


def _write_fifty(path, worker, barrier):
    store = FeedbackStore(path)
    barrier.wait()
    for i in range(50):
        store.add(Feedback(comment=str(i), annotator=str(worker)))


@pytest.mark.parametrize("start", ["spawn", "fork"])
def test_four_kernels_write_at_once(store, start):
    context = multiprocessing.get_context(start)
    barrier = context.Barrier(4)
    workers = [context.Process(target=_write_fifty, args=(store.path, i, barrier)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0] * 4
    for i in range(4):
        assert [record.comment for record in store.records(annotator=str(i))] == [str(n) for n in range(50)]
    assert len(store) == 200


def test_threads_share_a_store(store):
    errors = []

    def write():
        try:
            for _ in range(20):
                store.add(said())
                assert store.records()
        except BaseException as error:  # noqa: BLE001 - a thread's error would be lost
            errors.append(error)

    threads = [threading.Thread(target=write) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert errors == []
    assert len(store) == 120


def test_pickled_and_forked_stores_write_on(store):
    store.add(said(comment="here"))
    pickle.loads(pickle.dumps(store)).add(said(comment="pickled"))
    child = multiprocessing.get_context("fork").Process(target=store.add, args=(said(comment="forked"),))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    store.add(said(comment="here again"))
    assert [record.comment for record in store.records()] == ["here", "pickled", "forked", "here again"]


def test_a_newer_schema_is_refused(store):
    store.add(said())
    with sqlite3.connect(store.path) as raw:
        raw.execute("UPDATE xai_feedback_meta SET value = '2' WHERE key = 'schema_version'")
    raw.close()
    for use in (store.records, store.__len__, lambda: store.add(said())):
        with pytest.raises(StoreError, match=r"its schema is 2, this version knows 1.*pip install -U xai-widgets"):
            use()


def test_a_damaged_mask_is_told(store):
    store.add(full())
    for data in (b"rubbish", zlib.compress(b"too many bytes")):
        with sqlite3.connect(store.path) as raw:
            raw.execute("UPDATE xai_feedback SET mask = ?", (data,))
        raw.close()
        with pytest.raises(StoreError, match="The mask of judgement"):
            store.records()


def test_paths_that_cannot_work(tmp_path):
    with pytest.raises(StoreError, match=r"is a directory. Type the name of a file in it.*xai_feedback.db"):
        FeedbackStore(tmp_path)
    with pytest.raises(StoreError, match=r"missing does not exist.*Make the folder"):
        FeedbackStore(tmp_path / "missing" / "feedback.db")
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="is no directory"):
        FeedbackStore(tmp_path / "file" / "feedback.db")
    for wrong in (None, 3, b"x.db"):
        with pytest.raises(ArgumentError, match="FeedbackStore"):
            FeedbackStore(wrong)


def test_a_file_that_is_no_database(store):
    store.path.write_text("dear diary, " * 100)
    for use in (store.records, store.__len__, lambda: store.add(said())):
        with pytest.raises(StoreError, match=r"no SQLite database.*Name another file"):
            use()
    assert store.path.read_text().startswith("dear diary")


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder where even root cannot make files")
def test_a_folder_that_cannot_be_written_to():
    store = FeedbackStore("/proc/self/feedback.db")
    assert store.records() == []
    with pytest.raises(StoreError, match=r"/proc/\S+/feedback.db cannot be written to.*to its folder, or name another"):
        store.add(said())


def test_a_locked_store_is_told(store, monkeypatch):
    from xai_widgets.feedback import _database

    monkeypatch.setattr(_database, "PATIENCE", 0.1)
    store.add(said())
    with sqlite3.connect(store.path, isolation_level=None) as raw:
        raw.execute("BEGIN IMMEDIATE")
        assert len(store) == 1  # readers do not wait for writers
        with pytest.raises(StoreError, match="locked by another program"):
            FeedbackStore(store.path).add(said())
    raw.close()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", ":memory:", "sqlite:///f.db?mode=memory&uri=true"])
def test_memory_is_no_store(url):
    with pytest.raises(StoreError, match=r"would be lost.*FeedbackStore\("):
        FeedbackStore(url)


def test_urls(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = FeedbackStore("sqlite:///feedback.db")
    assert store.path == tmp_path / "feedback.db"
    assert FeedbackStore().location == str(tmp_path / "xai_feedback.db")
    assert repr(store) == f"FeedbackStore({str(tmp_path / 'feedback.db')!r})"
    monkeypatch.chdir("/")
    store.add(said())
    assert (tmp_path / "feedback.db").exists()
    with pytest.raises(StoreError, match="No driver for nosuch"):
        FeedbackStore("nosuch://host/db")
    with pytest.raises(StoreError, match="cannot be read"):
        FeedbackStore("://")


@pytest.mark.parametrize("dialect", ["postgresql", "mysql"])
def test_tables_can_be_made_on_a_server(dialect):
    # No server here: this is what one would be told.
    from importlib import import_module

    from sqlalchemy.schema import CreateIndex, CreateTable

    from xai_widgets.feedback import _tables

    spoken = import_module(f"sqlalchemy.dialects.{dialect}").dialect()
    made = str(CreateTable(_tables.feedback).compile(dialect=spoken))
    assert "BIGSERIAL" in made or "position BIGINT NOT NULL AUTO_INCREMENT" in made.replace("`", "")
    indexed = [str(CreateIndex(index).compile(dialect=spoken)) for index in _tables.feedback.indexes]
    assert len(indexed) == 1
    assert ("picture_id(64)" in indexed[0]) == (dialect == "mysql")  # MySQL indexes no text without a length


def test_a_missing_driver_is_told(monkeypatch):
    for driver in ("psycopg", "psycopg2"):
        monkeypatch.setitem(sys.modules, driver, None)
    with pytest.raises(StoreError, match="pip install psycopg"):
        FeedbackStore("postgresql://anna:secret@host/db")


def test_a_password_is_never_shown(monkeypatch):
    from xai_widgets.feedback import _database

    monkeypatch.setattr(_database, "engine", lambda path, url: None)  # no server here
    url = "postgresql://anna:secret@host/db?sslpassword=secret2"
    store = FeedbackStore(url)
    assert store.path is None
    assert store.location == "postgresql://anna@host/db"
    assert "secret" not in repr(store)
    assert pickle.loads(pickle.dumps(store))._url.password == "secret"


def test_to_frame(store, monkeypatch):
    assert list(store.to_frame().columns)[:3] == ["schema_version", "id", "created"]
    for record in (full(), said()):
        store.add(record)
    frame = store.to_frame()
    assert list(frame["verdict"]) == ["must_not_matter", "mattered"]
    assert frame["mask"][0].shape == (5, 7)
    assert frame["mask"][1] is None
    assert list(frame["regions"]) == [(1, 3), ()]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match="pip install pandas"):
        store.to_frame()
