"""A relay between two roles: a slow and distant network, or a hostile one. TLS passes through untouched.

Used by benchmarks and tests. Each direction has its own delay and bandwidth; a fault may replace what passes.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType

from cipherformer.errors import ProtocolError
from cipherformer.serve.address import Address, connect, listen

_CHUNK_BYTES = 1 << 16
_IN_FLIGHT = 256
_PATIENCE_S = 60.0

Fault = Callable[[int, bytes], Iterable[bytes]]
"""What is passed on for a chunk, given how many bytes of its direction came before. It may sleep;
`ConnectionError` cuts the connection."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a connection is like, in each direction.

    Args:
        delay_s: one way.
        bytes_per_s: that pass.
    """

    delay_s: float = 0.0
    bytes_per_s: float = float("inf")


class Relay:
    """Passes connections on to an address until it is closed.

    Args:
        target: where to; it may not listen yet.
        shape: of each connection.
        to_target: fault in that direction.
        from_target: fault in the other.
    """

    def __init__(
        self,
        target: Address,
        shape: Shape = Shape(),
        *,
        to_target: Fault | None = None,
        from_target: Fault | None = None,
    ) -> None:
        self._target, self._shape, self._faults = target, shape, (to_target, from_target)
        self._listener, self.address = listen(Address(host="127.0.0.1", port=0))
        self._open: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Relay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cuts everything."""
        for sock in self._open:
            _shut(sock)

    def _accept(self) -> None:
        with contextlib.suppress(OSError, ProtocolError):
            while True:
                near, _ = self._listener.accept()
                self._open.append(near)
                far = self._reach()
                self._open.append(far)
                for sock in (near, far):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    sock.settimeout(None)
                for source, sink, fault in ((near, far, self._faults[0]), (far, near, self._faults[1])):
                    self._pass(source, sink, fault)

    def _reach(self) -> socket.socket:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return connect(self._target, _PATIENCE_S)
            except ProtocolError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def _pass(self, source: socket.socket, sink: socket.socket, fault: Fault | None) -> None:
        line: queue.Queue[tuple[float, bytes]] = queue.Queue(_IN_FLIGHT)

        def take() -> None:
            free, count = 0.0, 0
            with contextlib.suppress(OSError):
                while data := source.recv(_CHUNK_BYTES):
                    for part in filter(None, fault(count, data) if fault else (data,)):
                        free = max(free, time.monotonic()) + len(part) / self._shape.bytes_per_s
                        line.put((free + self._shape.delay_s, part))
                    count += len(data)
            line.put((0.0, b""))

        def give() -> None:
            due, data = line.get()
            with contextlib.suppress(OSError):
                while data:
                    time.sleep(max(0.0, due - time.monotonic()))
                    sink.sendall(data)
                    due, data = line.get()
            for sock in (source, sink):
                _shut(sock)
            while data:  # lets `take` come to its end
                _, data = line.get()

        for work in (take, give):
            threading.Thread(target=work, daemon=True).start()


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
