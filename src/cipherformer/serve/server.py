"""The server: listens, and gives every connection a thread. It holds plan, weights and evaluation keys.

No secret key is ever constructed here: this module and all it imports know only the evaluation side of a
backend.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from cipherformer.errors import LimitError, ProtocolError
from cipherformer.serve.address import Address, listen, unlink_socket
from cipherformer.serve.channel import Channel, error_message
from cipherformer.serve.interface import Evaluation, Log, PlanFacts
from cipherformer.serve.jobs import Jobs
from cipherformer.serve.service import Service
from cipherformer.serve.session import Session
from cipherformer.serve.store import KeyStore, StoreLimits
from cipherformer.serve.worker import Worker


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Limits and times of a server.

    Args:
        store: what the key store accepts.
        connections: most connections at a time.
        queue: most queries that may wait for the engine.
        query_bytes: largest query.
        idle_s: seconds after which a connection without requests is closed.
        heartbeat_s: seconds between signs of life while a query is computed.
        keep_s: seconds that a query goes on, and its answer is kept, after its connection has dropped.
    """

    store: StoreLimits = field(default_factory=StoreLimits)
    connections: int = 8
    queue: int = 4
    query_bytes: int = 1 << 30
    idle_s: float = 600.0
    heartbeat_s: float = 1.0
    keep_s: float = 300.0


class Server:
    """Answers encrypted queries for one plan.

    Args:
        address: where to listen.
        facts: of the plan.
        make: builds an evaluation of the plan without keys; called for each client that comes into memory.
        store: folder for evaluation keys.
        options: limits and times.
        log: takes events; see `json_log`.

    Raises:
        ProtocolError: if the address cannot be bound.
    """

    def __init__(
        self,
        address: Address,
        facts: PlanFacts,
        make: Callable[[], Evaluation],
        store: Path,
        *,
        options: ServerOptions | None = None,
        log: Log = lambda event, facts: None,
    ) -> None:
        self._options = options or ServerOptions()
        keys = KeyStore(store, self._options.store)
        self._stopping = threading.Event()
        self._service = Service(
            facts,
            keys,
            Worker(make, keys, self._options.queue),
            Jobs(self._stopping, self._options.keep_s),
            log,
            self._stopping,
            query_bytes=self._options.query_bytes,
            idle_s=self._options.idle_s,
            heartbeat_s=self._options.heartbeat_s,
        )
        self._sockets: dict[int, socket.socket] = {}
        self._threads: dict[int, threading.Thread] = {}
        self._guard = threading.Lock()
        self._listener, self.address = listen(address)
        self._listener.setblocking(False)  # a client may leave between `select` and `accept`
        self._wake_read, self._wake_write = os.pipe()

    def serve_forever(self) -> None:
        """Serves until `stop` is called, then ends all connections and returns."""
        self._log("listening", address=str(self.address), plan=self._service.facts.fingerprint[:16])
        try:
            for number in itertools.count(1):
                ready, _, _ = select.select([self._listener.fileno(), self._wake_read], [], [])
                if self._wake_read in ready:
                    return
                with contextlib.suppress(OSError):
                    sock, _ = self._listener.accept()
                    self._start(number, sock)
        finally:
            self._shut_down()

    def stop(self) -> None:
        """Asks `serve_forever` to return. Safe to call from a signal handler and from any thread."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b"x")

    def _start(self, number: int, sock: socket.socket) -> None:
        with self._guard:
            full = len(self._sockets) >= self._options.connections
            if not full:
                self._sockets[number] = sock
                thread = threading.Thread(target=self._serve, args=(number, sock), daemon=True)
                self._threads[number] = thread
        if full:
            self._turn_away(sock)
        else:
            thread.start()

    def _serve(self, number: int, sock: socket.socket) -> None:
        channel = Channel(sock, silence_s=self._options.idle_s)
        try:
            Session(channel, self._service).run()
        finally:
            with self._guard:
                self._sockets.pop(number, None)
                self._threads.pop(number, None)
            channel.close()

    def _turn_away(self, sock: socket.socket) -> None:
        channel = Channel(sock, silence_s=1.0, stall_s=1.0)
        error = LimitError("the server has too many connections", fix="try again later")
        with contextlib.suppress(ProtocolError):
            channel.send(error_message(error, "busy", fatal=True))
            channel.frames.linger(0.1)
        channel.close()
        self._log("turned away", connections=self._options.connections)

    def _shut_down(self) -> None:
        self._stopping.set()
        self._listener.close()
        unlink_socket(self.address)
        with self._guard:
            threads = list(self._threads.values())
            for sock in self._sockets.values():
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RD)
        deadline = time.monotonic() + 10.0
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._service.jobs.wait(max(0.0, deadline - time.monotonic()))
        os.close(self._wake_read)
        os.close(self._wake_write)
        self._log("stopped")

    def _log(self, event: str, **facts: Any) -> None:
        self._service.log(event, facts)


def json_log(stream: IO[str]) -> Log:
    """A log that writes one JSON object a line: time, event, facts."""
    guard = threading.Lock()

    def log(event: str, facts: Mapping[str, Any]) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        with guard, contextlib.suppress(OSError, ValueError):  # a log that cannot be written stops nobody
            stream.write(json.dumps({"time": now, "event": event, **facts}, ensure_ascii=True) + "\n")
            stream.flush()

    return log
