"""Whatever happens to bytes or frames between the parties: all end with a clear error, in time, nothing is
answered, and the next session works.
"""

from __future__ import annotations

import json
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from small_models import attention_graph, samples

from cipherformer.backends import exact
from cipherformer.backends.mpc2.build import Built, build
from cipherformer.errors import CipherformerError
from cipherformer.serve.two_party import local, session
from cipherformer.serve.two_party.config import Config
from cipherformer.serve.two_party.connection import Connection, Kind
from cipherformer.serve.two_party.relay import Fault, Shape
from cipherformer.serve.two_party.roles import run_role

GRAPH = attention_graph(4, 8, 2)
SAMPLES = samples((1, 4, 3))
INPUTS = {"x": np.concatenate([s["x"] for s in SAMPLES[:4]])}
SILENCE_S, SLACK_S = 2.0, 120.0
"""The second is for a machine that stands still: sessions take a second, what never ends ten minutes."""


@pytest.fixture(scope="module")
def built() -> Built:
    return build(GRAPH, SAMPLES)


class Roles:
    """Dealer, server and clients as threads of this process."""

    def __init__(self, built: Built, work: Path, sessions: int) -> None:
        self.work, self.configs = work, local.prepare(built.compiled, INPUTS, work, silence_s=SILENCE_S)
        self.lines: list[str] = []
        for role in ("dealer", "server"):
            self.change(role, sessions=sessions)
        self.servants = [self._thread(role) for role in ("dealer", "server")]

    def change(self, role: str, **values: object) -> None:
        path = self.configs[role]
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    def _thread(self, role: str) -> threading.Thread:
        thread = threading.Thread(target=self._run, args=(role,), daemon=True)
        thread.start()
        return thread

    def _run(self, role: str) -> None:
        try:
            run_role(Config.load(self.configs[role]), self.lines.append)
        except CipherformerError as error:
            self.lines.append(f"{role} ended: {error.what}")

    def client(self) -> str:
        """One client's session: its error, or nothing."""
        try:
            run_role(Config.load(self.configs["client"]))
        except CipherformerError as error:
            return str(error)
        return ""

    def check_next_session(self) -> None:
        """Another client is answered, and the two others end in good order."""
        address = json.loads(self.configs["server"].read_text())["server"]
        self.change("client", server=address)
        assert self.client() == ""
        with np.load(self.work / "client" / "output.npz") as found:
            for i, sample in enumerate(SAMPLES[:4]):
                wanted = exact.run(GRAPH, sample)[GRAPH.outputs[0]]
                assert np.max(np.abs(found["output_0"][i : i + 1] - wanted)) < 5e-3
        for thread in self.servants:
            thread.join(SLACK_S)
            assert not thread.is_alive()

    def check_failed(self, error: str, started: float) -> None:
        assert error and time.monotonic() - started < SILENCE_S + SLACK_S
        assert not (self.work / "client" / "output.npz").exists()
        deadline = time.monotonic() + SLACK_S
        while sum("session failed" in line for line in self.lines) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert sum("session failed" in line for line in self.lines) == 2, self.lines


# --- bytes of TLS ---

START = 12_000
"""Bytes of the server after which faults begin: weights are open, questions are being answered."""


def once(change: Callable[[bytes], list[bytes]]) -> Fault:
    done: list[bool] = []

    def fault(before: int, data: bytes) -> Iterator[bytes]:
        if before > START and not done:
            done.append(True)
            yield from change(data)
        else:
            yield data

    return fault


def flipped(data: bytes) -> list[bytes]:
    return [data[:-1] + bytes([data[-1] ^ 1])]


def swapped(data: bytes) -> list[bytes]:
    return [data[len(data) // 2 :], data[: len(data) // 2]]


def silenced() -> Fault:
    return lambda before, data: [data] if before <= START else []


def cut(data: bytes) -> list[bytes]:
    raise ConnectionError


def late() -> Fault:
    def fault(before: int, data: bytes) -> list[bytes]:
        if before > START:
            time.sleep(2.0 * SILENCE_S)
        return [data]

    return fault


BYTES: dict[str, Callable[[], Fault]] = {
    "altered": lambda: once(flipped),
    "dropped": lambda: once(lambda data: []),
    "truncated": lambda: once(lambda data: [data[:-3]]),
    "replayed": lambda: once(lambda data: [data, data]),
    "reordered": lambda: once(swapped),
    "cut": lambda: once(cut),
    "silenced": silenced,
    "late": late,
}


@pytest.mark.parametrize("kind", sorted(BYTES))
def test_altered_bytes_end_a_session(kind: str, built: Built, tmp_path: Path):
    roles = Roles(built, tmp_path, sessions=2)
    with local.through(roles.configs["client"], Shape(), from_target=BYTES[kind]()):
        started = time.monotonic()
        roles.check_failed(roles.client(), started)
    roles.check_next_session()


# --- frames inside TLS ---

Send = Callable[..., None]


def dropping(send: Send, *given: object, **named: object) -> None:
    """The frame is lost."""


def truncating(send: Send, own: Connection, kind: Kind, payload: bytes, **named: object) -> None:
    send(own, kind, payload[:-1], **named)


def repeating(send: Send, *given: object, **named: object) -> None:
    send(*given, **named)
    send(*given, **named)


def forging(send: Send, own: Connection, kind: Kind, payload: bytes, **named: object) -> None:
    send(own, kind, payload, **{**named, "layout": b"another!"})


def misnaming(send: Send, own: Connection, kind: Kind, payload: bytes, **named: object) -> None:
    right, own.session = own.session, b"another session!"
    send(own, kind, payload, **named)
    own.session = right


FRAMES = {
    "dropped": dropping,
    "truncated": truncating,
    "replayed": repeating,
    "forged": forging,
    "of another session": misnaming,
}


def alter(monkeypatch: pytest.MonkeyPatch, change: Callable[..., None], peer: str, which: int) -> None:
    """Changes one round's frame to `peer` between the parties."""
    send, count = Connection.send, [0]

    def altered(self: Connection, kind: Kind, payload: bytes = b"", **named: object) -> None:
        count[0] += kind is Kind.ROUND and self.peer == peer
        if kind is Kind.ROUND and self.peer == peer and count[0] == which:
            change(send, self, kind, payload, **named)
        else:
            send(self, kind, payload, **named)

    monkeypatch.setattr(Connection, "send", altered)


@pytest.mark.parametrize("kind", sorted(FRAMES))
@pytest.mark.parametrize("peer", ["server", "client"])
def test_altered_frames_end_a_session(
    kind: str, peer: str, built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    roles = Roles(built, tmp_path, sessions=2)
    with monkeypatch.context() as patch:
        alter(patch, FRAMES[kind], peer, 9)
        started = time.monotonic()
        roles.check_failed(roles.client(), started)
    roles.check_next_session()


def test_frames_out_of_order_end_a_session(built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    roles = Roles(built, tmp_path, sessions=2)
    send, held = Connection.send, []

    def altered(self: Connection, kind: Kind, payload: bytes = b"", **named: object) -> None:
        if kind is Kind.MATERIAL and len(held) < 2:
            held.append(lambda: send(self, kind, payload, **named))
            if len(held) == 2:
                held[1]()
                held[0]()
        else:
            send(self, kind, payload, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "send", altered)
        started = time.monotonic()
        roles.check_failed(roles.client(), started)
    roles.check_next_session()


def test_the_last_frame_of_an_answer_is_missed(built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Nothing comes behind it: the signs of life tell."""
    roles = Roles(built, tmp_path, sessions=2)
    last = max(step.round for step in built.compiled.program.of("reveal"))
    write = Connection._write
    lost = struct.Struct("<4sHBB16sI")

    def altered(self: Connection, data: bytes) -> None:
        *_, kind, _, _, turn = lost.unpack(data[: lost.size])
        if not (kind == Kind.ROUND and self.peer == "client" and turn == last):
            write(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "_write", altered)
        started = time.monotonic()
        error = roles.client()
        roles.check_failed(error, started)
        assert "lost" in error
    roles.check_next_session()


def test_a_session_of_the_same_name_is_refused(built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Should both sides ever draw the nonces of an earlier session, their journals refuse its randomness."""
    roles = Roles(built, tmp_path, sessions=3)
    with monkeypatch.context() as patch:
        patch.setattr(session.secrets, "token_bytes", bytes)
        assert roles.client() == ""
        (tmp_path / "client" / "output.npz").unlink()
        started = time.monotonic()
        error = roles.client()
        assert "used before" in error or "used before" in "".join(roles.lines)
        roles.check_failed(error, started)
    roles.check_next_session()
