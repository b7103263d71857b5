"""A TLS connection that speaks frames: typed, bounded, of one session, with signs of life.

    offset  size  field
    0       4     magic "CFMP"
    4       2     version of the format (little endian, like all numbers here)
    6       1     kind
    7       1     0
    8       16    session: 0 until both sides know it
    24      4     turn: round, or number of the step that material is for; of a sign of life, frames sent
    28      8     layout: digest of names, protocols, shapes and widths of what follows
    36      8     length of the payload

Everything is checked against what the plan says must come before the payload is read. One thread reads and
notes signs of life, one sends them; TLS itself is never used by two threads at once.
"""

from __future__ import annotations

import contextlib
import queue
import select
import ssl
import struct
import threading
import time
from dataclasses import dataclass
from enum import IntEnum

from cipherformer.errors import CipherformerError, ProtocolError

MAGIC, VERSION = b"CFMP", 1
_HEAD = struct.Struct("<4sHBB16sI8sQ")
HEAD_BYTES = _HEAD.size
NO_SESSION, NO_LAYOUT = bytes(16), bytes(8)
SMALL_BYTES = 4096
QUEUED_FRAMES = 64
_POLL_S = 0.2


class Kind(IntEnum):
    """What a frame is."""

    HELLO = 1
    SEED = 2
    DEAL = 3
    MATERIAL = 4
    QUERY = 5
    ROUND = 6
    PING = 7
    ABORT = 8
    DONE = 9
    EPOCH = 10


_LARGE = (Kind.MATERIAL, Kind.ROUND)


@dataclass(frozen=True, slots=True)
class Timing:
    """How long to wait.

    Args:
        silence_s: without any byte, the other side counts as dead.
        beat_s: between signs of life.
        wait_s: for one frame, alive or not.
    """

    silence_s: float = 10.0
    beat_s: float = 1.0
    wait_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Frame:
    """One message, checked."""

    kind: Kind
    session: bytes
    turn: int
    layout: bytes
    payload: bytearray


class Connection:
    """Frames over TLS.

    Args:
        sock: after the handshake; the connection owns it.
        largest: most bytes of a payload that the plan knows.
        timing: of waiting.
        peer: role of the other side, for messages.
    """

    def __init__(self, sock: ssl.SSLSocket, *, largest: int, timing: Timing, peer: str) -> None:
        sock.setblocking(False)
        self._sock, self._largest, self._timing, self.peer = sock, largest, timing, peer
        self.session = NO_SESSION
        self._tls, self._sending = threading.Lock(), threading.Lock()
        self._arrived: queue.Queue[Frame | CipherformerError] = queue.Queue(QUEUED_FRAMES)
        self._closed = threading.Event()
        self._frames_sent = self._frames_read = 0
        self.sent_bytes: dict[Kind, int] = {}
        for work in (self._read_frames, self._beat):
            threading.Thread(target=work, daemon=True).start()

    def send(
        self, kind: Kind, payload: bytes | memoryview = b"", *, turn: int = 0, layout: bytes = NO_LAYOUT
    ) -> None:
        """Sends one frame.

        Raises:
            ProtocolError: if the other side is gone or takes nothing.
        """
        head = _HEAD.pack(MAGIC, VERSION, kind, 0, self.session, turn, layout, len(payload))
        with self._sending:
            self._frames_sent += 1
            self._write(head + payload if len(payload) < 1 << 16 else head)
            if len(payload) >= 1 << 16:
                self._write(payload)
            self.sent_bytes[kind] = self.sent_bytes.get(kind, 0) + len(head) + len(payload)

    def receive(
        self, kind: Kind, *, length: int | None = None, turn: int = 0, layout: bytes = NO_LAYOUT
    ) -> bytearray:
        """The payload of the next frame, which must be this one.

        Args:
            kind: of the frame.
            length: of its payload, if it is known.
            turn: as sent.
            layout: likewise.

        Raises:
            ProtocolError: if it is another frame, or none comes.
        """
        try:
            frame = self._arrived.get(timeout=self._timing.wait_s)
        except queue.Empty:
            raise ProtocolError(f"the {self.peer} sent nothing for {self._timing.wait_s:.0f} s") from None
        if isinstance(frame, CipherformerError):
            raise frame
        if frame.session != self.session:
            raise ProtocolError(f"the {self.peer} sent a frame of another session")
        if (frame.kind, frame.turn) != (kind, turn):
            raise ProtocolError(
                f"the {self.peer} sent {frame.kind.name} {frame.turn} in place of {kind.name} {turn}",
                why="a frame is lost, repeated or out of order",
            )
        if frame.layout != layout or (length is not None and len(frame.payload) != length):
            raise ProtocolError(
                f"the {self.peer} sent a {kind.name} {turn} of another shape", why="the plans differ"
            )
        return frame.payload

    def abort(self, reason: str) -> None:
        """Tells the other side why this one ends, and closes."""
        with contextlib.suppress(CipherformerError):
            self.send(Kind.ABORT, reason.encode()[:1000])
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._closed.set()
        with self._tls, contextlib.suppress(OSError, ValueError):
            self._sock.unwrap()
        with self._tls, contextlib.suppress(OSError):
            self._sock.close()

    # --- sending ---

    def _write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        deadline = time.monotonic() + self._timing.silence_s
        while view:
            try:
                with self._tls:
                    sent = self._sock.send(view)
                view, deadline = view[sent:], time.monotonic() + self._timing.silence_s
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError, BlockingIOError):
                self._wait(select.POLLOUT)
                if time.monotonic() > deadline:
                    raise ProtocolError(
                        f"the {self.peer} took nothing for {self._timing.silence_s:.0f} s"
                    ) from None
            except (OSError, ValueError) as error:
                raise self._gone(error) from error

    def _beat(self) -> None:
        while not self._closed.wait(self._timing.beat_s):
            if self._sending.acquire(blocking=False):
                try:
                    count = self._frames_sent % (1 << 32)
                    self._write(_HEAD.pack(MAGIC, VERSION, Kind.PING, 0, self.session, count, NO_LAYOUT, 0))
                except CipherformerError:
                    return
                finally:
                    self._sending.release()

    # --- reading ---

    def _read_frames(self) -> None:
        try:
            while not self._closed.is_set():
                frame = self._read_frame()
                if frame.kind is Kind.ABORT:
                    why = bytes(frame.payload).decode(errors="replace")
                    raise ProtocolError(f"the {self.peer} ended the session", why=why)
                if frame.kind is Kind.PING:
                    self._check_count(frame)
                else:
                    self._frames_read += 1
                    self._arrived.put(frame, timeout=self._timing.wait_s)
        except CipherformerError as error:
            with contextlib.suppress(queue.Full):
                self._arrived.put(error, timeout=self._timing.wait_s)
        except queue.Full:
            self._closed.set()

    def _check_count(self, sign: Frame) -> None:
        """A frame that is lost for good is noticed though nothing comes behind it."""
        if sign.turn != self._frames_read % (1 << 32):
            raise ProtocolError(
                f"the {self.peer} has sent {sign.turn} frames, and {self._frames_read} came",
                why="a frame is lost or repeated",
            )

    def _read_frame(self) -> Frame:
        head = self._read(HEAD_BYTES)
        magic, version, code, zero, session, turn, layout, length = _HEAD.unpack(head)
        if magic != MAGIC or version != VERSION or zero or code not in list(Kind):
            raise ProtocolError(f"the {self.peer} sent what is no frame")
        kind = Kind(code)
        if length > (self._largest if kind in _LARGE else SMALL_BYTES):
            raise ProtocolError(f"the {self.peer} announced a {kind.name} of {length} bytes")
        return Frame(kind, session, turn, layout, self._read(length))

    def _read(self, count: int) -> bytearray:
        data = bytearray(count)
        view, filled = memoryview(data), 0
        while filled < count:
            try:
                with self._tls:
                    got = self._sock.recv_into(view[filled:])
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
                self._await_bytes()
                continue
            except (OSError, ValueError) as error:
                raise self._gone(error) from error
            if not got:
                raise self._gone(None)
            filled += got
        return data

    def _await_bytes(self) -> None:
        """Silence counts while this side listens: one that was itself stopped for a while blames nobody."""
        silent_s = 0.0
        while not self._wait(select.POLLIN):
            silent_s += _POLL_S
            if self._closed.is_set():
                raise ProtocolError("the connection was closed")
            if silent_s > self._timing.silence_s:
                raise ProtocolError(
                    f"the {self.peer} gave no sign of life for {self._timing.silence_s:.0f} s",
                    why="it hangs, or the network is down",
                )

    def _wait(self, event: int) -> bool:
        try:
            poller = select.poll()
            poller.register(self._sock, event)
            return bool(poller.poll(1000.0 * _POLL_S))
        except (OSError, ValueError) as error:
            raise self._gone(error) from error

    def _gone(self, error: Exception | None) -> ProtocolError:
        return ProtocolError(f"the {self.peer} closed the connection", why=str(error) if error else "")
