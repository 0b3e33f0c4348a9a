"""One worker thread for all model work, in which the newest request of a kind wins.

A job is a generator. The worker advances one job by one step at a time, so an urgent job (a toggle) slips in between
two steps of a long one (an explanation), and a cancelled job is closed between two steps. For each key there is at
most one job running and one waiting: a newer request takes the place of the waiting one and, unless it asks to queue,
ends the running one.
"""

from __future__ import annotations

import atexit
import itertools
import logging
import threading
from collections.abc import Callable, Generator, Hashable
from dataclasses import dataclass
from typing import Any

Work = Callable[[], Generator[None, None, None]]


@dataclass(eq=False)
class _Job:
    priority: tuple[int, int]
    key: Hashable
    work: Work
    fail: Callable[[BaseException], None]
    cancelled: Callable[[], None]
    steps: Generator[None, None, None] | None = None
    started: bool = False
    stop: bool = False


class Runner:
    """Runs jobs on one daemon thread, which starts with the first job and ends when idle for five seconds."""

    def __init__(self) -> None:
        self._jobs: list[_Job] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._count = itertools.count()
        self._closing = False
        # Python would end the thread in the middle of the model's native code, which aborts the process.
        atexit.register(self.shutdown)

    def submit(
        self,
        key: Hashable,
        work: Work,
        *,
        fail: Callable[[BaseException], None],
        cancelled: Callable[[], None] = lambda: None,
        urgent: bool = False,
        queue: bool = False,
    ) -> None:
        """File a request and return at once.

        Parameters
        ----------
        key : hashable
            What the request is about; the newest of a key wins.
        work : callable
            Returns the generator to run. It is called, and the generator advanced and closed, on the worker.
        fail : callable
            Gets the exception if the job raises.
        cancelled : callable
            Called if the job is dropped before it ends: replaced, or stopped by `cancel`.
        urgent : bool
            Goes before jobs that are not, also between their steps.
        queue : bool
            Let a running job of the same key finish first, instead of ending it.
        """
        job = _Job((0 if urgent else 1, next(self._count)), key, work, fail, cancelled)
        dropped = []
        with self._changed:
            for other in [j for j in self._jobs if j.key == key and not j.stop]:
                if not other.started:
                    self._jobs.remove(other)
                    dropped.append(other)
                elif not queue:
                    other.stop = True
            self._jobs.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="xai-widgets worker", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        for other in dropped:
            other.cancelled()

    def cancel(self, key: Hashable) -> bool:
        """Drop what waits and end what runs under a key, at the latest after its current step."""
        with self._changed:
            mine = [job for job in self._jobs if job.key == key and not job.stop]
            waiting = [job for job in mine if not job.started]
            for job in mine:
                job.stop = True
            self._jobs = [job for job in self._jobs if job not in waiting]
            self._changed.notify_all()
        for job in waiting:
            job.cancelled()
        return bool(mine)

    def waiting(self, key: Hashable) -> bool:
        """Whether a request of this key has not begun yet."""
        with self._changed:
            return any(job.key == key and not job.started for job in self._jobs)

    def busy(self, key: Hashable) -> bool:
        """Whether a request of this key runs or waits."""
        with self._changed:
            return any(job.key == key for job in self._jobs)

    def wait(self, keys: set[Hashable], timeout: float | None = None) -> bool:
        """Block until nothing runs or waits under these keys; False if the time ran out first."""
        if threading.current_thread() is self._thread:
            raise RuntimeError("wait() was called on the worker thread, which would wait for itself.")
        with self._changed:
            return self._changed.wait_for(lambda: not any(job.key in keys for job in self._jobs), timeout)

    def shutdown(self, timeout: float = 30.0) -> None:
        """Drop what waits, end what runs after its current step, and wait for the thread to be gone."""
        with self._changed:
            self._closing = True
            self._jobs = [job for job in self._jobs if job.started]
            for job in self._jobs:
                job.stop = True
            thread = self._thread
            self._changed.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    # ---- the worker ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while self._turn():
            pass

    def _turn(self) -> bool:
        """One step of the most urgent job; False after idling for long. A method, so that its locals outlive no job."""
        with self._changed:
            # Linger a little: a thread for every toggle would be wasteful, an idle one for ever untidy.
            self._changed.wait_for(lambda: bool(self._jobs) or self._closing, 5.0)
            if not self._jobs:
                self._thread = None
                return False
            # Of one key only one runs; what is to be stopped is ended first.
            busy = {job.key for job in self._jobs if job.started}
            ready = [job for job in self._jobs if job.started or job.key not in busy]
            job = min(ready, key=lambda job: (not job.stop, job.priority))
            job.started = True
        over = self._advance(job)
        with self._changed:
            job.priority = (job.priority[0], next(self._count))  # the next job of this urgency has its turn
            if over:
                self._jobs = [other for other in self._jobs if other is not job]
                self._changed.notify_all()
        return True

    def _advance(self, job: _Job) -> bool:
        """One step of a job; True when it is over."""
        try:
            if job.stop:
                if job.steps is not None:
                    job.steps.close()
                job.cancelled()
                return True
            if job.steps is None:
                job.steps = job.work()
            next(job.steps)
        except StopIteration:
            return True
        except BaseException as error:  # noqa: BLE001 - whatever a job raises is reported; nothing ends the worker
            try:
                job.fail(error)
            except Exception:
                logging.getLogger(__name__).exception("The handler of a failed job failed itself.")
            return True
        return False


RUNNER = Runner()
"""The one runner of the process: models are asked from one thread, whichever widget wants to know."""


def steps(function: Callable[[], Any]) -> Work:
    """A job of a single step."""

    def work() -> Generator[None, None, None]:
        function()
        return
        yield

    return work
