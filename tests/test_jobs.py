"""The runner: newest wins, urgent first, cancel between steps, and nothing a job raises ends it."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from xai_widgets.jobs import Runner, steps


@pytest.fixture
def runner():
    return Runner()


def never(error):
    raise AssertionError(f"must not fail: {error!r}")


class Gate:
    """A job that holds its first step until it is let go, so that tests need no sleeping."""

    def __init__(self, log, name="long", n_steps=3):
        self.entered, self.open, self.log, self.name, self.n_steps = (
            threading.Event(),
            threading.Event(),
            log,
            name,
            n_steps,
        )

    def __call__(self):
        try:
            for i in range(self.n_steps):
                self.entered.set()
                assert self.open.wait(5)
                self.log.append(f"{self.name} {i}")
                yield
        finally:
            self.log.append(f"{self.name} over")


def test_two_hundred_requests_run_the_first_and_the_last(runner):
    log: list = []
    gate = Gate(log, "first", 1)
    runner.submit("toggle", gate, fail=never, queue=True)
    assert gate.entered.wait(5)
    dropped = []
    for i in range(200):
        runner.submit(
            "toggle", steps(lambda i=i: log.append(i)), fail=never, queue=True, cancelled=lambda i=i: dropped.append(i)
        )
    gate.open.set()
    assert runner.wait({"toggle"}, 5)
    assert log == ["first 0", "first over", 199]
    assert dropped == list(range(199))


def test_an_urgent_job_slips_in_between_two_steps_of_a_long_one(runner):
    log: list = []
    gate = Gate(log)
    runner.submit("map", gate, fail=never)
    assert gate.entered.wait(5)
    runner.submit("toggle", steps(lambda: log.append("toggle")), fail=never, urgent=True)
    gate.open.set()
    assert runner.wait({"map", "toggle"}, 5)
    assert log == ["long 0", "toggle", "long 1", "long 2", "long over"]


def test_a_newer_request_ends_the_running_one_and_its_generator_is_closed(runner):
    log: list = []
    gate = Gate(log)
    cancelled = threading.Event()
    runner.submit("map", gate, fail=never, cancelled=cancelled.set)
    assert gate.entered.wait(5)
    runner.submit("map", steps(lambda: log.append("newer")), fail=never)
    gate.open.set()
    assert runner.wait({"map"}, 5)
    assert log == ["long 0", "long over", "newer"]
    assert cancelled.is_set()


def test_cancel_ends_what_runs_and_drops_what_waits(runner):
    log: list = []
    gate = Gate(log)
    ended = []
    runner.submit("map", gate, fail=never, cancelled=lambda: ended.append("running"))
    assert gate.entered.wait(5)
    runner.submit(
        "map", steps(lambda: log.append("waiting")), fail=never, queue=True, cancelled=lambda: ended.append("waiting")
    )
    assert runner.waiting("map")
    assert runner.cancel("map")
    gate.open.set()
    assert runner.wait({"map"}, 5)
    assert log == ["long 0", "long over"]
    assert sorted(ended) == ["running", "waiting"]
    assert not runner.cancel("map")


def test_what_a_job_raises_is_reported_and_the_next_job_runs(runner):
    errors: list = []
    log: list = []

    def broken():
        raise KeyboardInterrupt("from inside")

    runner.submit("a", steps(broken), fail=errors.append)
    runner.submit("b", steps(lambda: log.append("b")), fail=never)
    assert runner.wait({"a", "b"}, 5)
    assert [str(error) for error in errors] == ["from inside"]
    assert log == ["b"]


def test_a_handler_that_raises_does_not_end_the_worker(runner):
    def broken():
        raise ValueError("job")

    def worse(error):
        raise RuntimeError("handler")

    log: list = []
    runner.submit("a", steps(broken), fail=worse)
    runner.submit("b", steps(lambda: log.append("b")), fail=never)
    assert runner.wait({"a", "b"}, 5)
    assert log == ["b"]


def test_waiting_runs_out_and_says_so(runner):
    gate = Gate([])
    runner.submit("map", gate, fail=never)
    assert gate.entered.wait(5)
    assert not runner.wait({"map"}, 0.01)
    assert runner.wait({"other"}, 0.01)
    gate.open.set()
    assert runner.wait({"map"}, 5)


def test_waiting_on_the_worker_itself_is_refused_instead_of_hanging(runner):
    errors: list = []
    runner.submit("a", steps(lambda: runner.wait({"a"})), fail=errors.append)
    assert runner.wait({"a"}, 5)
    assert "worker" in str(errors[0])


def test_a_script_that_ends_in_the_middle_of_a_job_ends_cleanly():
    script = """
import sys, time
import torch
from xai_widgets.jobs import RUNNER

def work():
    a = torch.rand(600, 600)
    while True:
        for _ in range(20):
            a = a @ a / a.norm()
        yield

RUNNER.submit("map", work, fail=print)
time.sleep(0.3)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_after_the_end_nothing_waits_for_ever(runner):
    gate = Gate([])
    runner.submit("map", gate, fail=never)
    assert gate.entered.wait(5)
    gate.open.set()
    runner.shutdown()
    assert runner.wait({"map"}, 1)


def test_two_long_jobs_take_turns(runner):
    log: list = []
    first, second = Gate(log, "a"), Gate(log, "b")
    runner.submit("a", first, fail=never)
    assert first.entered.wait(5)
    runner.submit("b", second, fail=never)
    first.open.set()
    second.open.set()
    assert runner.wait({"a", "b"}, 5)
    assert [line for line in log if "over" not in line] == ["a 0", "b 0", "a 1", "b 1", "a 2", "b 2"]
