"""A connection that speaks messages: frames checked and typed, bound to one session."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from cipherformer.errors import CipherformerError, ProtocolError
from cipherformer.serve.messages import PAYLOAD_LIMITS, Error, Message, from_frame, to_frame
from cipherformer.serve.wire import CHUNK_BYTES, FrameError, FrameSocket

M = TypeVar("M")


class RefusedError(ProtocolError):
    """The other side refused a request and said why.

    Args:
        error: the message it sent; its `code` is kept for programs.
    """

    def __init__(self, error: Error) -> None:
        super().__init__(error.what, where=error.where, why=error.why, fix=error.fix)
        self.code, self.fatal = error.code, error.fatal


class Channel:
    """Sends and receives messages over one socket.

    Args:
        sock: a connected stream socket; the channel owns it.
        silence_s: seconds without any frame after which the other side counts as dead.
        stall_s: seconds without progress inside a frame after which it does.
    """

    def __init__(self, sock: socket.socket, *, silence_s: float, stall_s: float = 30.0) -> None:
        self.frames = FrameSocket(sock, PAYLOAD_LIMITS, stall_s)
        self.session = 0
        self.silence_s = silence_s

    def send(self, message: Message, payload: bytes = b"") -> None:
        """Sends one message.

        Raises:
            ProtocolError: if the other side is gone or takes nothing.
        """
        self.frames.send(to_frame(message, self.session, payload))

    def receive(self, silence_s: float | None = None) -> tuple[Message, bytes]:
        """The next message and its payload.

        Raises:
            ProtocolError: if the other side is gone, silent, or sends what is no message of this session.
        """
        frame = self.frames.receive(self.silence_s if silence_s is None else silence_s)
        message = from_frame(frame)
        if frame.session != self.session and self.session and not isinstance(message, Error):
            raise FrameError("a frame of another session", why="ciphertexts are bound to their session")
        return message, frame.payload

    def expect(self, kind: type[M], silence_s: float | None = None) -> tuple[M, bytes]:
        """The next message, which must be of one type.

        Raises:
            RefusedError: if it is an error message.
            ProtocolError: if it is of any other type.
        """
        message, payload = self.receive(silence_s)
        if isinstance(message, Error):
            raise RefusedError(message)
        if not isinstance(message, kind):
            raise FrameError(f"a {type(message).__name__} message where {kind.__name__} was expected")
        return message, payload

    def close(self) -> None:
        """Closes the connection."""
        self.frames.close()


def chunks(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The parts cut into payloads of at most `CHUNK_BYTES` bytes."""
    for part in parts:
        for start in range(0, len(part), CHUNK_BYTES):
            yield part[start : start + CHUNK_BYTES]


def digest(parts: Iterable[bytes]) -> str:
    """SHA-256 of the concatenation, hexadecimal."""
    state = hashlib.sha256()
    for part in parts:
        state.update(part)
    return state.hexdigest()


class Assembly:
    """Collects the parts of a query or an answer; memory grows with what arrives, up to `sizes`."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes, self._data = tuple(sizes), bytearray()
        self._total = sum(sizes)

    def add(self, chunk: bytes) -> None:
        """Appends one chunk.

        Raises:
            FrameError: if more arrives than was announced.
        """
        if len(self._data) + len(chunk) > self._total:
            raise FrameError("more bytes than were announced")
        self._data += chunk

    def finish(self, sha256: str) -> list[bytes]:
        """The parts, complete and with the right digest.

        Raises:
            FrameError: if they are not.
        """
        if len(self._data) != self._total:
            raise FrameError("fewer bytes than were announced")
        if hashlib.sha256(self._data).hexdigest() != sha256:
            raise FrameError("ciphertexts with a wrong digest", why="they were damaged on the way")
        parts, start = [], 0
        for size in self._sizes:
            parts.append(bytes(self._data[start : start + size]))
            start += size
        return parts


def error_message(error: CipherformerError, code: str, *, fatal: bool) -> Error:
    """An exception as a message, cut to the limits of the protocol."""
    texts = (error.what, error.where, error.why, error.fix)
    what, where, why, fix = (text.replace("\x00", "")[:400] for text in texts)
    return Error(code=code, fatal=fatal, what=what, where=where, why=why, fix=fix)
