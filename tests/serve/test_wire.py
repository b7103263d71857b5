"""Frames: what is sent arrives, and nothing else is accepted."""

from __future__ import annotations

import socket
import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cipherformer.errors import ProtocolError
from cipherformer.serve import messages as m
from cipherformer.serve.wire import (
    CHUNK_BYTES,
    MAX_HEADER_BYTES,
    PREFIX_BYTES,
    ClosedError,
    Frame,
    FrameError,
    FrameSocket,
    SilenceError,
    decode,
    decode_prefix,
    encode,
)

LIMITS = {6: 1000, 7: 0}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
FRAMES = st.builds(
    Frame,
    kind=st.just(6),
    session=st.integers(0, 2**64 - 1),
    header=st.dictionaries(st.text(max_size=8), JSON, max_size=5),
    payload=st.binary(max_size=1000),
)


@given(FRAMES)
def test_a_frame_comes_back(frame: Frame) -> None:
    assert decode(encode(frame), LIMITS) == frame


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(FrameError):
        decode(data, LIMITS)


@given(FRAMES, st.data())
def test_a_damaged_frame_is_refused(frame: Frame, data: st.DataObject) -> None:
    good = bytearray(encode(frame))
    position = data.draw(st.integers(0, len(good) - 1))
    good[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(FrameError):
        decode(bytes(good), LIMITS)


@given(FRAMES, st.data())
def test_a_truncated_frame_is_refused(frame: Frame, data: st.DataObject) -> None:
    good = encode(frame)
    with pytest.raises(FrameError):
        decode(good[: data.draw(st.integers(0, len(good) - 1))], LIMITS)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_lengths_are_checked_before_memory_is_reserved(header: int, payload: int) -> None:
    raw = struct.pack("<4sHBBQII", b"CFWF", 1, 6, 0, 0, header, payload)
    if 2 <= header <= MAX_HEADER_BYTES and payload <= LIMITS[6]:
        assert decode_prefix(raw, LIMITS).payload_bytes == payload
    else:
        with pytest.raises(FrameError):
            decode_prefix(raw, LIMITS)


@pytest.mark.parametrize(
    "raw",
    [
        struct.pack("<4sHBBQII", b"HTTP", 1, 6, 0, 0, 2, 0),
        struct.pack("<4sHBBQII", b"CFWF", 2, 6, 0, 0, 2, 0),
        struct.pack("<4sHBBQII", b"CFWF", 1, 9, 0, 0, 2, 0),
        struct.pack("<4sHBBQII", b"CFWF", 1, 6, 1, 0, 2, 0),
        struct.pack("<4sHBBQII", b"CFWF", 1, 7, 0, 0, 2, 1),
    ],
    ids=["magic", "version", "kind", "flags", "payload of a message that has none"],
)
def test_a_wrong_prefix_is_refused(raw: bytes) -> None:
    with pytest.raises(FrameError):
        decode_prefix(raw, LIMITS)


@pytest.mark.parametrize("header", [b"[1]", b"NaN", b'{"a":NaN}', b"[" * 5000, b"\xff\xfe", b'{"a":1}}'])
def test_a_header_that_is_not_one_object_is_refused(header: bytes) -> None:
    import zlib

    body = struct.pack("<4sHBBQII", b"CFWF", 1, 6, 0, 0, len(header), 0) + header
    with pytest.raises(FrameError, match="JSON"):
        decode(body + struct.pack("<I", zlib.crc32(body)), LIMITS)


def test_a_huge_stated_length_costs_no_memory() -> None:
    left, right = socket.socketpair()
    reader = FrameSocket(left, {6: CHUNK_BYTES})
    right.sendall(struct.pack("<4sHBBQII", b"CFWF", 1, 6, 0, 0, 2**32 - 1, 2**32 - 1))
    tracemalloc.start()
    try:
        with pytest.raises(FrameError, match="header of"):
            reader.receive(1.0)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
        reader.close()
        right.close()


def test_frames_cross_a_socket_and_are_counted() -> None:
    import threading

    left, right = socket.socketpair()
    a, b = FrameSocket(left, {6: CHUNK_BYTES}), FrameSocket(right, {6: CHUNK_BYTES})
    frame = Frame(6, 5, {"n": 1}, bytes(range(256)) * 4096)
    sender = threading.Thread(target=lambda: [a.send(frame) for _ in range(3)])
    sender.start()
    assert [b.receive(5.0) for _ in range(3)] == [frame] * 3
    sender.join()
    assert a.bytes_sent == b.bytes_received == 3 * len(encode(frame))
    a.close()
    b.close()


def test_silence_a_stall_and_a_closed_line_are_told_apart() -> None:
    left, right = socket.socketpair()
    reader = FrameSocket(left, LIMITS, stall_s=0.05)
    with pytest.raises(SilenceError, match="nothing arrived"):
        reader.receive(0.05)
    right.sendall(b"CFWF")
    with pytest.raises(SilenceError, match="half-way"):
        reader.receive(1.0)
    right.sendall(b"CFWF")
    right.close()
    with pytest.raises(ClosedError, match="inside a frame"):
        reader.receive(1.0)
    with pytest.raises(ClosedError, match="the other side closed"):
        reader.receive(1.0)
    reader.close()


def test_a_reader_that_takes_nothing_is_noticed() -> None:
    left, right = socket.socketpair()
    writer = FrameSocket(left, {6: CHUNK_BYTES}, stall_s=0.05)
    with pytest.raises(SilenceError, match="took nothing"):
        writer.send(Frame(6, 0, {}, bytes(CHUNK_BYTES)))
    writer.close()
    right.close()


def test_what_is_too_large_is_not_sent() -> None:
    with pytest.raises(ProtocolError):
        encode(Frame(6, 0, {"text": "x" * MAX_HEADER_BYTES}))
    with pytest.raises(ProtocolError):
        encode(Frame(6, 0, {}, bytes(CHUNK_BYTES + 1)))


MESSAGES = [
    m.Hello(protocol=1, fingerprint="0" * 64, parameters="1" * 64, client="a" * 64, software="x"),
    m.Welcome(session=1, software="x", heartbeat_s=1.0),
    m.KeyWant(names=["rotate-1-l2"]),
    m.KeyBegin(name="rotate-1-l2"),
    m.QueryBegin(number=1, ticket="0" * 64, fingerprint="0" * 64, sizes=[1, 2]),
    m.Progress(phase="computing", done=1, total=2, layer="block.1"),
    m.Resume(number=1, ticket="a" * 64),
    m.AnswerEnd(digest="0" * 64, seconds=0.5, peak_memory_bytes=1),
    m.Error(code="busy", fatal=False, what="w", where="", why="", fix="a\nb"),
    m.Ping(),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_comes_back(message: m.Message) -> None:
    frame = m.to_frame(message, 7)
    assert m.from_frame(decode(encode(frame), m.PAYLOAD_LIMITS)) == message


@pytest.mark.parametrize("message", MESSAGES[:-1], ids=lambda message: type(message).__name__)
@given(data=st.data())
def test_a_field_of_another_type_is_refused(message: m.Message, data: st.DataObject) -> None:
    frame = m.to_frame(message, 7)
    name = data.draw(st.sampled_from(sorted(frame.header)))
    wrong = data.draw(st.sampled_from([None, -1, 1.5, "\x00", [0], {}, 2**70, "é" * 5000, [-1], True]))
    if type(wrong) is type(frame.header[name]) or (name in ("seconds", "heartbeat_s") and wrong == 1.5):
        return
    with pytest.raises(FrameError):
        m.from_frame(Frame(frame.kind, 7, {**frame.header, name: wrong}))


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_missing_and_unknown_fields_are_refused(message: m.Message) -> None:
    frame = m.to_frame(message, 7)
    with pytest.raises(FrameError, match="wrong fields"):
        m.from_frame(Frame(frame.kind, 7, {**frame.header, "extra": 1}))
    for name in frame.header:
        rest = {k: v for k, v in frame.header.items() if k != name}
        with pytest.raises(FrameError, match="wrong fields"):
            m.from_frame(Frame(frame.kind, 7, rest))


def test_prefix_size_is_the_documented_one() -> None:
    assert PREFIX_BYTES == 24
