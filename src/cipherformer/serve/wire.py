"""Frames over a stream socket: length-checked, versioned, with a checksum.

    offset  size  field
    0       4     magic "CFWF"
    4       2     version of the frame format (little endian, like all numbers here)
    6       1     type of the message (`cipherformer.serve.messages`)
    7       1     flags, must be 0
    8       8     session: 0 until the server's welcome names one, then that one
    16      4     h, length of the header
    20      4     p, length of the payload
    24      h     header: one JSON object
    24+h    p     payload: bytes
    24+h+p  4     CRC-32 of all before it

Everything that can be checked is checked before memory is reserved: magic, version, type, flags, and both
lengths against the limits of that type. The checksum finds accidents, not attackers: run the socket over a
channel that authenticates (a Unix socket, TLS, an SSH tunnel). Keys and queries carry SHA-256 digests.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import threading
import time
import zlib
from dataclasses import dataclass
from typing import Any

from cipherformer.errors import ProtocolError

MAGIC = b"CFWF"
VERSION = 1
MAX_HEADER_BYTES = 1 << 16
CHUNK_BYTES = 1 << 22
_PREFIX = struct.Struct("<4sHBBQII")
_CHECKSUM = struct.Struct("<I")
PREFIX_BYTES = _PREFIX.size
OVERHEAD_BYTES = _PREFIX.size + _CHECKSUM.size


class FrameError(ProtocolError):
    """Bytes that are not a frame. The stream cannot be read further."""


class SilenceError(ProtocolError):
    """Nothing arrived, or nothing was taken, for longer than allowed."""


class ClosedError(ProtocolError):
    """The other side closed the connection, or died."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as it stands on the wire.

    Args:
        kind: type of the message, 1 to 255.
        session: the session it belongs to, 0 before there is one.
        header: the JSON object.
        payload: at most `CHUNK_BYTES` bytes.
    """

    kind: int
    session: int
    header: dict[str, Any]
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Prefix:
    """The fixed first 24 bytes of a frame, checked."""

    kind: int
    session: int
    header_bytes: int
    payload_bytes: int


def encode_prefix(frame: Frame, header: bytes) -> bytes:
    """The first 24 bytes of a frame."""
    return _PREFIX.pack(MAGIC, VERSION, frame.kind, 0, frame.session, len(header), len(frame.payload))


def encode(frame: Frame) -> bytes:
    """A frame as bytes."""
    header = _encode_header(frame)
    body = encode_prefix(frame, header) + header + frame.payload
    return body + _CHECKSUM.pack(zlib.crc32(body))


def decode_prefix(data: bytes, payload_limits: dict[int, int]) -> Prefix:
    """Checks the first 24 bytes of a frame.

    Args:
        data: exactly `PREFIX_BYTES` bytes.
        payload_limits: for each type of message, the largest payload in bytes.

    Raises:
        FrameError: if this is not the start of an acceptable frame.
    """
    magic, version, kind, flags, session, header_bytes, payload_bytes = _PREFIX.unpack(data)
    if magic != MAGIC:
        raise FrameError("these bytes are not a cipherformer frame", why="they do not begin with its magic")
    if version != VERSION:
        raise FrameError(
            f"frame version {version} is not supported",
            why=f"this side speaks version {VERSION}",
            fix="use the same release of cipherformer on both sides",
        )
    if kind not in payload_limits:
        raise FrameError(f"unknown message type {kind}")
    if flags:
        raise FrameError(f"unknown flags {flags:#04x}")
    if not 2 <= header_bytes <= MAX_HEADER_BYTES:
        raise FrameError(f"a header of {header_bytes} bytes", why=f"at most {MAX_HEADER_BYTES} are allowed")
    if payload_bytes > payload_limits[kind]:
        why = f"a message of type {kind} has at most {payload_limits[kind]}"
        raise FrameError(f"a payload of {payload_bytes} bytes", why=why)
    return Prefix(kind, session, header_bytes, payload_bytes)


def decode_body(prefix: Prefix, raw_prefix: bytes, body: bytes | bytearray) -> Frame:
    """Checks the rest of a frame: checksum and header.

    Raises:
        FrameError: if the checksum is wrong or the header is not one JSON object.
    """
    view = memoryview(body)
    end = prefix.header_bytes + prefix.payload_bytes
    (stated,) = _CHECKSUM.unpack(view[end:])
    if zlib.crc32(view[:end], zlib.crc32(raw_prefix)) != stated:
        raise FrameError("a frame with a wrong checksum", why="it was damaged on the way")
    header = _decode_header(bytes(view[: prefix.header_bytes]))
    return Frame(prefix.kind, prefix.session, header, bytes(view[prefix.header_bytes : end]))


def decode(data: bytes, payload_limits: dict[int, int]) -> Frame:
    """Reads one whole frame from bytes, the reverse of `encode`.

    Raises:
        FrameError: if `data` is not exactly one acceptable frame.
    """
    if len(data) < PREFIX_BYTES:
        raise FrameError("a truncated frame")
    prefix = decode_prefix(data[:PREFIX_BYTES], payload_limits)
    if len(data) != OVERHEAD_BYTES + prefix.header_bytes + prefix.payload_bytes:
        raise FrameError("a frame whose length is not the stated one")
    return decode_body(prefix, data[:PREFIX_BYTES], data[PREFIX_BYTES:])


class FrameSocket:
    """Sends and receives frames with deadlines; counts bytes. One reader, any number of senders.

    Args:
        sock: a connected stream socket; this object owns and closes it.
        payload_limits: largest payload in bytes by message type.
        stall_s: a frame that has begun fails after this many seconds without any progress.
    """

    def __init__(self, sock: socket.socket, payload_limits: dict[int, int], stall_s: float = 30.0) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._limits = payload_limits
        self._stall_s = stall_s
        self._sending = threading.Lock()
        self.bytes_sent = 0
        self.bytes_received = 0

    def send(self, frame: Frame) -> None:
        """Sends one frame.

        Raises:
            ClosedError: if the other side is gone.
            SilenceError: if it takes nothing for `stall_s` seconds.
        """
        header = _encode_header(frame)
        head = encode_prefix(frame, header) + header
        checksum = _CHECKSUM.pack(zlib.crc32(frame.payload, zlib.crc32(head)))
        with self._sending:
            if len(frame.payload) > 1 << 16:
                self._send_all(head)
                self._send_all(frame.payload)
                self._send_all(checksum)
            else:
                self._send_all(head + frame.payload + checksum)

    def receive(self, silence_s: float) -> Frame:
        """The next frame; its first byte must arrive within `silence_s` seconds.

        Raises:
            FrameError: if the bytes are not a frame.
            ClosedError: if the other side is gone.
            SilenceError: if nothing arrives in time.
        """
        raw = self._receive_exactly(PREFIX_BYTES, silence_s, at_start=True)
        prefix = decode_prefix(bytes(raw), self._limits)
        length = prefix.header_bytes + prefix.payload_bytes + _CHECKSUM.size
        return decode_body(prefix, bytes(raw), self._receive_exactly(length, self._stall_s, at_start=False))

    def has_input(self) -> bool:
        """True if something can be read now without waiting."""
        return self._ready(select.POLLIN, 0.0)

    def linger(self, limit_s: float) -> None:
        """Ends our side and discards what still arrives, so that a reset does not destroy the last frame."""
        deadline = time.monotonic() + limit_s
        try:
            self._sock.shutdown(socket.SHUT_WR)
            while (left := deadline - time.monotonic()) > 0 and self._ready(select.POLLIN, left):
                if not self._sock.recv(1 << 16):
                    return
        except OSError:
            return

    def close(self) -> None:
        """Closes the socket."""
        self._sock.close()

    def _send_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                sent = self._sock.send(view)
            except BlockingIOError:
                if not self._ready(select.POLLOUT, self._stall_s):
                    raise SilenceError(f"the other side took nothing for {self._stall_s:.0f} s") from None
                continue
            except OSError as error:
                raise _closed(error) from error
            self.bytes_sent += sent
            view = view[sent:]

    def _receive_exactly(self, count: int, wait_s: float, *, at_start: bool) -> bytearray:
        data = bytearray(count)
        view = memoryview(data)
        filled = 0
        while filled < count:
            if not self._ready(select.POLLIN, wait_s):
                what = "nothing arrived" if at_start and not filled else "a frame stopped half-way"
                raise SilenceError(f"{what} for {wait_s:.0f} s", why="the other side hangs")
            try:
                got = self._sock.recv_into(view[filled:])
            except BlockingIOError:
                continue
            except OSError as error:
                raise _closed(error) from error
            if not got:
                raise _closed(None, truncated=filled > 0 or not at_start)
            filled += got
            self.bytes_received += got
            wait_s = self._stall_s
        return data

    def _ready(self, event: int, wait_s: float) -> bool:
        try:
            poller = select.poll()
            poller.register(self._sock, event)
            return bool(poller.poll(max(0.0, wait_s) * 1000))
        except (OSError, ValueError) as error:  # closed by another thread
            raise ClosedError("the connection was closed") from error


def _closed(error: OSError | None, *, truncated: bool = False) -> ClosedError:
    what = "the connection ended inside a frame" if truncated else "the other side closed the connection"
    return ClosedError(what, why=str(error) if error else "")


def _encode_header(frame: Frame) -> bytes:
    header = json.dumps(frame.header, separators=(",", ":"), allow_nan=False).encode()
    if len(header) > MAX_HEADER_BYTES or len(frame.payload) > CHUNK_BYTES:
        raise FrameError("a frame beyond the limits", why=f"{len(header)} + {len(frame.payload)} bytes")
    return header


def _decode_header(data: bytes) -> dict[str, Any]:
    try:
        header = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise FrameError("a header that is not JSON") from error
    if not isinstance(header, dict):
        raise FrameError("a header that is not a JSON object")
    return header


def _refuse_constant(name: str) -> None:
    raise ValueError(name)
