"""The readers that are fuzzed: valid examples, the call, and the only exceptions it may raise."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cipherformer.errors import FormatError, ProtocolError
from cipherformer.serve import manifest, messages, wire


@dataclass(frozen=True)
class Target:
    """One reader.

    Args:
        name: for `--target`.
        seeds: bytes that it accepts.
        read: the call.
        refusals: exceptions that mean "refused"; anything else is a finding.
        repair: mends a damaged input so that it gets past checksums, or None.
    """

    name: str
    seeds: tuple[bytes, ...]
    read: Callable[[bytes], Any]
    refusals: tuple[type[Exception], ...]
    repair: Callable[[bytes], bytes] | None = None


def targets() -> tuple[Target, ...]:
    """All targets."""
    return (_frames(), _manifest())


def _frames() -> Target:
    zeros = "0" * 64
    examples = (
        (messages.Hello(protocol=1, fingerprint=zeros, parameters=zeros, client=zeros, software="x"), b""),
        (messages.QueryBegin(number=3, fingerprint=zeros, sizes=[100, 200]), b""),
        (messages.KeyChunk(), b"payload" * 9),
        (messages.Progress(phase="run", done=1, total=2), b""),
        (messages.Error(code="bad", fatal=True, what="a", where="b", why="c", fix="d"), b""),
        (messages.KeyWant(names=["rotate.1.3", "relinearise.0.4"]), b""),
    )
    seeds = tuple(wire.encode(messages.to_frame(message, 7, payload)) for message, payload in examples)

    def read(data: bytes) -> Any:
        return messages.from_frame(wire.decode(data, messages.PAYLOAD_LIMITS))

    return Target("frame", seeds, read, (ProtocolError,), _restate)


def _restate(data: bytes) -> bytes:
    """Sets the lengths and the checksum to what the bytes are, so that damage reaches the header's reader."""
    if len(data) < wire.OVERHEAD_BYTES + 2:
        return data
    end = len(data) - 4
    total = end - wire.PREFIX_BYTES
    header = min(struct.unpack_from("<I", data, 16)[0], total)
    body = data[:16] + struct.pack("<II", header, total - header) + data[wire.PREFIX_BYTES : end]
    return body + struct.pack("<I", zlib.crc32(body))


def _manifest() -> Target:
    entries = (
        manifest.KeyEntry("relinearise.0.4", 9, "0" * 64),
        manifest.KeyEntry("rotate.1.3", 7, "1" * 64),
    )
    empty, two = manifest.Manifest("a" * 64, ()), manifest.Manifest("b" * 64, entries)
    return Target(
        "manifest", (empty.to_bytes(), two.to_bytes()), manifest.Manifest.from_bytes, (FormatError,)
    )
