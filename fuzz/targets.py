"""The readers that are fuzzed: valid examples, the call, and the only exceptions it may raise."""

from __future__ import annotations

import random
import struct
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cipherformer.compiler import Options, compile_graph
from cipherformer.errors import CipherformerError, FormatError, ProtocolError
from cipherformer.graph.rewrite import GraphBuilder
from cipherformer.plan.plan import PLAN_FILE, Plan
from cipherformer.plan.signature import Signature
from cipherformer.serve import manifest, messages, wire
from fuzz.mutate import mutate, mutate_json


@dataclass(frozen=True)
class Target:
    """One reader.

    Args:
        name: for `--target`.
        seeds: bytes that it accepts.
        read: the call.
        refusals: exceptions that mean "refused"; anything else is a finding.
        repair: mends a damaged input so that it gets past checksums, or None.
        damage: makes a damaged copy.
    """

    name: str
    seeds: tuple[bytes, ...]
    read: Callable[[bytes], Any]
    refusals: tuple[type[Exception], ...]
    repair: Callable[[bytes], bytes] | None = None
    damage: Callable[[bytes, random.Random], bytes] = mutate


def targets() -> tuple[Target, ...]:
    """All targets."""
    plan = _toy_plan()
    return (_frames(), _manifest(), _signature(plan), _plan(plan))


def _frames() -> Target:
    zeros = "0" * 64
    examples = (
        (messages.Hello(protocol=1, fingerprint=zeros, parameters=zeros, client=zeros, software="x"), b""),
        (messages.QueryBegin(number=3, ticket=zeros, fingerprint=zeros, sizes=[100, 200]), b""),
        (messages.KeyChunk(), b"payload" * 9),
        (messages.Progress(phase="run", done=1, total=2, layer="block.0"), b""),
        (messages.Resume(number=3, ticket=zeros), b""),
        (messages.Cancel(), b""),
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


def _toy_plan() -> Plan:
    """A plan with matrices, a product, a polynomial and biases."""
    rng, build = np.random.default_rng(0), GraphBuilder("toy")
    x = build.input("x", (1, 4))
    hidden = build.emit(
        "linear", x, build.constant(rng.normal(size=(4, 4))), build.constant(rng.normal(size=4))
    )
    h = build.emit("gelu", hidden, approximate="none")
    graph = build.finish(
        build.emit("linear", build.emit("mul", h, x), build.constant(rng.normal(size=(2, 4))))
    )
    samples = [{"x": rng.uniform(-1, 1, (1, 4))} for _ in range(4)]
    return compile_graph(graph, samples, Options(log_n=14))


def _signature(plan: Plan) -> Target:
    """A client reads it; it comes from the server."""

    def read(data: bytes) -> Any:
        signature = Signature.from_json(data.decode())
        return signature.keys, signature.parameters, signature.to_json()

    seeds = (plan.signature.to_json().encode(),)
    return Target("signature", seeds, read, (CipherformerError, UnicodeDecodeError), damage=mutate_json)


def _plan(plan: Plan) -> Target:
    """A server reads it; its owner wrote it, but files rot."""
    folder = tempfile.TemporaryDirectory()
    path = plan.save(Path(folder.name)) / PLAN_FILE

    def read(data: bytes, keep: Any = folder) -> Any:
        path.write_bytes(data)
        return Plan.load(path.parent)

    return Target("plan", (path.read_bytes(),), read, (FormatError,), damage=mutate_json)
