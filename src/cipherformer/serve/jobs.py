"""Queries that are computed on a thread of their own, so that a connection may drop and come back."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


class StoppedError(Exception):
    """Ends a computation that nobody waits for any more, or because the server shuts down."""


@dataclass(frozen=True, slots=True)
class Result:
    """An encrypted answer, records {layer, node, primitive, calls, seconds}, and the seconds it took."""

    answer: list[bytes]
    trace: list[dict[str, Any]]
    seconds: float


@dataclass(frozen=True, slots=True)
class State:
    """What a computation does now, as `messages.Progress` says it."""

    phase: str
    done: int = 0
    total: int = 0
    layer: str = ""


Compute = Callable[["Job"], Result]


class Job:
    """One query. It goes on while a connection follows it, and for `keep_s` seconds after the last has gone.

    Args:
        client: who asked.
        ticket: the client's name for the query.
        stopping: set when the server shuts down.
        keep_s: see above.
    """

    def __init__(self, client: str, ticket: str, stopping: threading.Event, keep_s: float) -> None:
        self.client, self.ticket = client, ticket
        self.state = State("queued")
        self.finished = threading.Event()
        self._stopping, self._keep_s = stopping, keep_s
        self._cancelled = threading.Event()
        self._followers, self._left = 0, time.monotonic()
        self._result: Result | None = None
        self._error: Exception | None = None
        self._guard = threading.Lock()

    def start(self, compute: Compute) -> None:
        """Computes on a new thread."""
        threading.Thread(target=self._run, args=(compute,), name="query", daemon=True).start()

    def enter(self, state: State) -> None:
        """States what is done now.

        Raises:
            StoppedError: if the query was cancelled or abandoned, or the server shuts down.
        """
        self.state = state
        if self._cancelled.is_set() or self._stopping.is_set() or self.abandoned:
            raise StoppedError

    def cancel(self) -> None:
        """Stops it at its next step."""
        self._cancelled.set()

    @property
    def alone(self) -> bool:
        """True if no connection follows it."""
        return self._followers == 0

    @property
    def abandoned(self) -> bool:
        """True if none has for longer than it is kept."""
        return self.alone and time.monotonic() - self._left > self._keep_s

    @contextlib.contextmanager
    def followed(self) -> Iterator[None]:
        """A connection waits for it as long as the block runs."""
        with self._guard:
            self._followers += 1
        try:
            yield
        finally:
            with self._guard:
                self._followers, self._left = self._followers - 1, time.monotonic()

    def result(self) -> Result:
        """What a finished job gave.

        Raises:
            Exception: whatever ended it.
        """
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result

    def _run(self, compute: Compute) -> None:
        try:
            self._result = compute(self)
        except Exception as error:  # given to whoever asks for the result
            self._error = error
        finally:
            self.finished.set()


class Jobs:
    """The queries of all clients that are computed, or whose answers have not been taken for certain.

    Args:
        stopping: set when the server shuts down.
        keep_s: seconds that a query goes on, and its answer is kept, after its connection has dropped.
        most: jobs that are kept; the oldest finished ones that nobody follows make room.
    """

    def __init__(self, stopping: threading.Event, keep_s: float = 300.0, most: int = 16) -> None:
        self._stopping, self._keep_s, self._most = stopping, keep_s, most
        self._jobs: dict[tuple[str, str], Job] = {}
        self._guard = threading.Lock()

    @contextlib.contextmanager
    def begun(self, client: str, ticket: str, compute: Compute) -> Iterator[Job]:
        """Begins a query, and follows it as long as the block runs. Earlier ones of the client that no
        connection follows are given up."""
        job = Job(client, ticket, self._stopping, self._keep_s)
        with job.followed():
            self._register(job)
            job.start(compute)
            yield job

    def _register(self, job: Job) -> None:
        with self._guard:
            for known in [j for j in self._jobs.values() if j.alone and j.client == job.client]:
                known.cancel()
                self._drop(known)
            self._make_room()
            self._jobs[job.client, job.ticket] = job

    def find(self, client: str, ticket: str) -> Job | None:
        """The client's query of that name, if it is known and has not been abandoned."""
        with self._guard:
            job = self._jobs.get((client, ticket))
            return None if job is None or job.abandoned else job

    def forget(self, job: Job) -> None:
        """The answer has arrived, or nobody wants it."""
        with self._guard:
            self._drop(job)

    def wait(self, seconds: float) -> None:
        """Waits for what still runs, when the server shuts down."""
        deadline = time.monotonic() + seconds
        for job in list(self._jobs.values()):
            job.finished.wait(max(0.0, deadline - time.monotonic()))

    def _make_room(self) -> None:
        for job in [j for j in self._jobs.values() if j.finished.is_set() and j.abandoned]:
            self._drop(job)
        idle = [j for j in self._jobs.values() if j.finished.is_set() and j.alone]
        for job in idle[: max(0, len(self._jobs) - self._most + 1)]:
            self._drop(job)

    def _drop(self, job: Job) -> None:
        if self._jobs.get((job.client, job.ticket)) is job:
            del self._jobs[job.client, job.ticket]
