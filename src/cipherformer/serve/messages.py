"""The messages of the protocol, each a frozen record that is checked field by field when it is read.

client                         server
hello                     ->
                          <-   welcome            names the session
key_offer  (manifest)     ->
                          <-   key_want           which of them the server lacks
key_begin key_chunk* key_end ->
                          <-   key_done           after each key: stored and accepted
query_begin query_chunk* query_end ->             or resume, on a new connection
                          <-   progress*          at least every second, also while queued
cancel                    ->                      at any time while waiting
                          <-   answer_begin answer_chunk* answer_end (trace)
ping                      ->
                          <-   pong
bye                       ->
either side may send error; `fatal` says that the connection ends with it
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

from cipherformer.serve.wire import CHUNK_BYTES, Frame, FrameError

PROTOCOL = 2
MAX_PARTS = 1024
MAX_PART_BYTES = 1 << 28
MAX_KEYS = 1024
MAX_KEY_BYTES = 1 << 31
_NAME = re.compile(r"[A-Za-z0-9_.+:-]{1,48}")
_HEX = re.compile(r"[0-9a-f]{64}")

Check = Callable[[Any], bool]


def _text(limit: int) -> Any:
    return field(metadata={"check": lambda v: isinstance(v, str) and len(v) <= limit and v.isprintable()})


def _lines(limit: int) -> Any:
    return field(
        default="",
        metadata={"check": lambda v: isinstance(v, str) and len(v) <= limit and "\x00" not in v},
    )


def _name() -> Any:
    return field(metadata={"check": lambda v: isinstance(v, str) and _NAME.fullmatch(v) is not None})


def _digest() -> Any:
    return field(metadata={"check": lambda v: isinstance(v, str) and _HEX.fullmatch(v) is not None})


def _count(high: int, low: int = 0) -> Any:
    return field(metadata={"check": lambda v: type(v) is int and low <= v <= high})


def _seconds() -> Any:
    return field(metadata={"check": lambda v: type(v) in (int, float) and 0 <= v < 1e9})


def _are_names(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= MAX_KEYS
        and all(isinstance(v, str) and _NAME.fullmatch(v) for v in value)
    )


def _are_sizes(value: Any) -> bool:
    return (
        isinstance(value, list)
        and 1 <= len(value) <= MAX_PARTS
        and all(type(v) is int and 0 < v <= MAX_PART_BYTES for v in value)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """First frame of a client: what it has keys and a plan for."""

    KIND: ClassVar[int] = 1
    protocol: int = _count(1 << 16)
    fingerprint: str = _digest()
    parameters: str = _digest()
    client: str = _digest()
    software: str = _text(80)


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The server's first frame; every later frame carries `session` in its prefix."""

    KIND: ClassVar[int] = 2
    session: int = _count((1 << 63) - 1, low=1)
    software: str = _text(80)
    heartbeat_s: float = _seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyOffer:
    """The payload is the client's manifest (`cipherformer.serve.manifest`)."""

    KIND: ClassVar[int] = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyWant:
    """Names of the offered keys that the server needs and lacks."""

    KIND: ClassVar[int] = 4
    names: list[str] = field(metadata={"check": _are_names})


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyBegin:
    """A key follows in chunks."""

    KIND: ClassVar[int] = 5
    name: str = _name()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChunk:
    """Up to 4 MiB of a key in the payload."""

    KIND: ClassVar[int] = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEnd:
    """The key is complete."""

    KIND: ClassVar[int] = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDone:
    """The key is stored and belongs to the plan's parameters."""

    KIND: ClassVar[int] = 8
    name: str = _name()


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryBegin:
    """A query follows: `sizes` are the bytes of its ciphertexts, in order, sent as one run of chunks.

    `ticket` is 256 random bits, by which the client asks for it again if the connection drops.
    """

    KIND: ClassVar[int] = 9
    number: int = _count(1 << 53)
    ticket: str = _digest()
    fingerprint: str = _digest()
    sizes: list[int] = field(metadata={"check": _are_sizes})


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryChunk:
    """Up to 4 MiB of the query's ciphertexts in the payload."""

    KIND: ClassVar[int] = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryEnd:
    """The query is complete; `digest` is the SHA-256 of its ciphertexts."""

    KIND: ClassVar[int] = 11
    digest: str = _digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What the server does now. Sent at least once per heartbeat, so that silence means death."""

    KIND: ClassVar[int] = 12
    phase: str = _text(40)
    layer: str = _text(200)
    done: int = _count(1 << 40)
    total: int = _count(1 << 40)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerBegin:
    """The answer to query `number` follows, like a query."""

    KIND: ClassVar[int] = 13
    number: int = _count(1 << 53)
    fingerprint: str = _digest()
    sizes: list[int] = field(metadata={"check": _are_sizes})


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerChunk:
    """Up to 4 MiB of the answer's ciphertexts in the payload."""

    KIND: ClassVar[int] = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerEnd:
    """The answer is complete. The payload is its trace: list of {layer, node, primitive, calls, seconds}."""

    KIND: ClassVar[int] = 15
    digest: str = _digest()
    seconds: float = _seconds()
    peak_memory_bytes: int = _count(1 << 53)


@dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    """A refusal. `code` is for programs, the rest for people."""

    KIND: ClassVar[int] = 16
    code: str = _name()
    fatal: bool = field(metadata={"check": lambda v: isinstance(v, bool)})
    what: str = _lines(4000)
    where: str = _lines(400)
    why: str = _lines(4000)
    fix: str = _lines(4000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """Asks for a pong."""

    KIND: ClassVar[int] = 17


@dataclass(frozen=True, slots=True, kw_only=True)
class Pong:
    """Answers a ping."""

    KIND: ClassVar[int] = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Bye:
    """The client is done."""

    KIND: ClassVar[int] = 19


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Asks for the answer to a query that was begun on a connection that dropped."""

    KIND: ClassVar[int] = 20
    number: int = _count(1 << 53)
    ticket: str = _digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Gives up the query that is computed."""

    KIND: ClassVar[int] = 21


Message = (
    Hello | Welcome | KeyOffer | KeyWant | KeyBegin | KeyChunk | KeyEnd | KeyDone | QueryBegin | QueryChunk
    | QueryEnd | Progress | AnswerBegin | AnswerChunk | AnswerEnd | Error | Ping | Pong | Bye | Resume
    | Cancel
)  # fmt: skip

_BY_KIND: dict[int, type[Any]] = {cls.KIND: cls for cls in Message.__args__}
_WITH_PAYLOAD = (KeyOffer, KeyChunk, QueryChunk, AnswerChunk, AnswerEnd)

PAYLOAD_LIMITS: dict[int, int] = {
    kind: CHUNK_BYTES if cls in _WITH_PAYLOAD else 0 for kind, cls in _BY_KIND.items()
}
"""For each type of message the largest payload in bytes, as `cipherformer.serve.wire` wants it."""


def to_frame(message: Message, session: int, payload: bytes = b"") -> Frame:
    """A message as a frame."""
    return Frame(message.KIND, session, asdict(message), payload)


def from_frame(frame: Frame) -> Message:
    """Reads and checks a message.

    Raises:
        FrameError: on a missing, unknown or ill-typed field.
    """
    cls = _BY_KIND.get(frame.kind)
    if cls is None:
        raise FrameError(f"unknown message type {frame.kind}")
    checks = {f.name: f.metadata["check"] for f in fields(cls)}
    if set(frame.header) != set(checks):
        raise FrameError(f"a {cls.__name__} message with wrong fields")
    for name, check in checks.items():
        if not check(frame.header[name]):
            raise FrameError(f"a {cls.__name__} message with a bad value", where=name)
    message: Message = cls(**frame.header)
    return message
