"""What all connections of a server share, and the signs of life it gives while it works."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from types import TracebackType

from cipherformer.errors import CipherformerError, ProtocolError
from cipherformer.serve.channel import Channel
from cipherformer.serve.interface import Log, PlanFacts
from cipherformer.serve.jobs import Jobs, StoppedError
from cipherformer.serve.messages import Progress
from cipherformer.serve.store import KeyStore
from cipherformer.serve.worker import Worker


@dataclass(frozen=True, slots=True)
class Service:
    """What all connections of a server share.

    Args:
        facts: of the plan that is served.
        store: evaluation keys on disk.
        worker: the engine.
        jobs: queries that are computed, and answers that wait.
        log: takes events.
        stopping: set when the server shuts down.
        query_bytes: largest query.
        idle_s: seconds after which a connection without requests is closed.
        heartbeat_s: seconds between progress messages.
    """

    facts: PlanFacts
    store: KeyStore
    worker: Worker
    jobs: Jobs
    log: Log
    stopping: threading.Event
    query_bytes: int = 1 << 30
    idle_s: float = 600.0
    heartbeat_s: float = 1.0


class RefuseError(Exception):
    """Ends a request with an error message to the client."""

    def __init__(self, code: str, error: CipherformerError, *, fatal: bool) -> None:
        super().__init__(code)
        self.code, self.error, self.fatal = code, error, fatal


class Heartbeat:
    """Tells the client from a second thread what the server does, as long as the block runs."""

    def __init__(self, channel: Channel, service: Service, phase: str) -> None:
        self._channel, self._service = channel, service
        self._state = (phase, 0, 0)
        self._end, self.lost = threading.Event(), False
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def set(self, phase: str, done: int = 0, total: int = 0) -> None:
        """States what is done now.

        Raises:
            StoppedError: if the client is gone or the server shuts down.
        """
        self._state = (phase, done, total)
        if self.lost or self._service.stopping.is_set():
            raise StoppedError

    def _beat(self) -> None:
        try:
            while True:
                phase, done, total = self._state
                self._channel.send(Progress(phase=phase, done=done, total=total, layer=""))
                if self._end.wait(self._service.heartbeat_s):
                    return
        except ProtocolError:
            self.lost = True
