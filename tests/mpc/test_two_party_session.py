"""Three processes over TLS: right answers, costs as declared, clear errors when something is wrong."""

from __future__ import annotations

import json
import random
import socket
import struct
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from small_models import attention_graph, samples

from cipherformer.backends import exact
from cipherformer.backends.mpc2.build import Built, build
from cipherformer.backends.mpc2.protocols import cost
from cipherformer.errors import DataError, FormatError, KeyMismatchError, ProtocolError
from cipherformer.serve.two_party import local
from cipherformer.serve.two_party.client import read_inputs
from cipherformer.serve.two_party.config import Config
from cipherformer.serve.two_party.connection import HEAD_BYTES, NO_SESSION, Connection, Kind, Timing
from cipherformer.serve.two_party.folder import load_chain
from cipherformer.serve.two_party.journal import Journal
from cipherformer.serve.two_party.tls import make_identity, wrap

GRAPH = attention_graph(4, 8, 2)
SAMPLES = samples((1, 4, 3))
INPUTS = {"x": np.concatenate([s["x"] for s in SAMPLES[:3]])}
LIMIT_S = 120.0


@pytest.fixture(scope="module")
def built() -> Built:
    return build(GRAPH, SAMPLES)


def test_three_processes_answer_and_cost_what_is_declared(built: Built, tmp_path: Path):
    run = local.run_locally(built.compiled, INPUTS, tmp_path, limit_s=LIMIT_S)
    wanted = np.concatenate([exact.run(GRAPH, s)[GRAPH.outputs[0]] for s in SAMPLES[:3]])
    assert np.max(np.abs(run.outputs[0] - wanted)) < 5e-3
    declared = cost(built.compiled.program)
    frames = {role: _frames(built, role) for role in ("server", "client")}
    for role, payload in (("server", declared.server_bytes), ("client", declared.client_bytes)):
        report = run.reports[role]
        assert report["rounds"] == [declared.rounds] * 3
        assert report["online_bytes"] == [payload + HEAD_BYTES * frames[role]] * 3
    assert run.reports["server"]["setup_bytes"] == declared.setup_bytes + HEAD_BYTES * len(
        built.compiled.program.of("weight")
    )
    assert run.reports["dealer"]["dealt_bytes"] == [declared.dealt_bytes] * 3
    assert (tmp_path / "server" / "key.pem").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "client" / "weights.npz").exists()


def _frames(built: Built, role: str) -> int:
    """Rounds in which a role sends: all, but for the server's in the first and the client's in the last."""
    one_sided = {
        s.round for s in built.compiled.program.steps if s.op == ("input" if role == "server" else "reveal")
    }
    return cost(built.compiled.program).rounds - len(one_sided)


def start(built: Built, work: Path, silence_s: float = 3.0) -> dict[str, Path]:
    return local.prepare(built.compiled, INPUTS, work, silence_s=silence_s)


def failure(
    configs: dict[str, Path], work: Path, roles: tuple[str, ...] = ("dealer", "server", "client")
) -> str:
    processes = {role: local.start(role, configs[role]) for role in roles}
    with pytest.raises(ProtocolError) as caught:
        local.finish(processes, work, LIMIT_S)
    return str(caught.value)


def change(config: Path, **values: object) -> None:
    config.write_text(json.dumps({**json.loads(config.read_text()), **values}))


def test_a_stranger_is_refused(built: Built, tmp_path: Path):
    configs = start(built, tmp_path)
    make_identity(tmp_path / "stranger", "stranger")
    change(configs["client"], key="stranger")
    text = failure(configs, tmp_path)
    assert "not who it should be" in text or "closed the connection" in text


def test_another_program_is_refused(built: Built, tmp_path: Path):
    configs = start(built, tmp_path)
    other = build(GRAPH, SAMPLES, frac_bits=15)
    local.save(other.compiled, tmp_path / "other", tmp_path / "nobody")
    change(configs["client"], program="other")
    assert "another program" in failure(configs, tmp_path)


@pytest.mark.parametrize("victim", ["dealer", "server", "client"])
def test_a_killed_role_ends_the_session_at_all(victim: str, built: Built, tmp_path: Path):
    kill_one(victim, 0.0, built, tmp_path)


@pytest.mark.slow
def test_fifty_kills_at_random_points(built: Built, tmp_path: Path):
    rng = random.Random(1)
    for i in range(50):
        kill_one(rng.choice(["dealer", "server", "client"]), rng.uniform(0.0, 1.0), built, tmp_path / str(i))
    run = local.run_locally(built.compiled, INPUTS, tmp_path / "after", limit_s=LIMIT_S)
    assert run.outputs[0].shape == (3, 5)


def kill_one(victim: str, after_s: float, built: Built, work: Path) -> None:
    """So long after the server's first journal entry: nobody hangs, and the others say what is wrong."""
    work.mkdir(exist_ok=True)
    configs = local.prepare(built.compiled, {"x": np.repeat(INPUTS["x"], 400, axis=0)}, work, silence_s=3.0)
    processes = {role: local.start(role, configs[role]) for role in ("dealer", "server", "client")}
    deadline = time.monotonic() + LIMIT_S
    journal = work / "server" / "journal"
    while not (journal.exists() and journal.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(after_s)
    processes[victim].kill()
    parties = [role for role in ("server", "client") if role != victim]
    for role in parties:
        processes[role].wait(timeout=30.0)
        assert processes[role].returncode
        log = configs[role].with_suffix(".log").read_text()
        assert "closed the connection" in log or "ended the session" in log
    processes["dealer"].terminate()
    for process in processes.values():
        process.wait(timeout=30.0)
    assert not (work / "client" / "output.npz").exists()


def test_used_randomness_is_refused(tmp_path: Path):
    Journal(tmp_path / "journal").consume(b"one")
    again = Journal(tmp_path / "journal")
    again.consume(b"two")
    for version in (b"one", b"two"):
        with pytest.raises(ProtocolError, match="used before"):
            again.consume(version)


# --- frames ---


@pytest.fixture
def pair(tmp_path: Path):
    """Two ends of a TLS connection, the second one bare, for frames that no honest side sends."""
    ends = [make_identity(tmp_path / name, name) for name in ("a", "b")]
    sockets = socket.socketpair()
    found: dict[int, object] = {}

    def shake(i: int) -> None:
        peers = {"peer": ends[1 - i].certificate}
        found[i] = wrap(sockets[i], ends[i], peers, server_side=i == 0, timeout_s=10.0)[0]

    threads = [threading.Thread(target=shake, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    timing = Timing(silence_s=1.0, beat_s=60.0, wait_s=5.0)
    connection = Connection(found[0], largest=1000, timing=timing, peer="peer")
    yield connection, found[1]
    connection.close()
    found[1].close()


def head(
    kind: int = Kind.ROUND,
    turn: int = 0,
    length: int = 4,
    session: bytes = NO_SESSION,
    magic: bytes = b"CFMP",
) -> bytes:
    return struct.pack("<4sHBB16sI8sQ", magic, 1, kind, 0, session, turn, bytes(8), length)


@pytest.mark.parametrize(
    "sent, message",
    [
        (head(magic=b"CFMQ") + b"1234", "no frame"),
        (head(kind=77) + b"1234", "no frame"),
        (head(length=1001), "announced"),
        (head(kind=Kind.SEED, length=5000), "announced"),
        (head(turn=1) + b"1234", "out of order"),
        (head(kind=Kind.DONE) + b"1234", "out of order"),
        (head(session=b"s" * 16) + b"1234", "another session"),
        (head(length=3) + b"123", "another shape"),
        (head(kind=Kind.ABORT) + b"fire", "fire"),
        (head() + b"12", "sign of life"),
        (b"", "sign of life"),
    ],
)
def test_wrong_frames_end_a_session(pair, sent: bytes, message: str):
    connection, bare = pair
    if sent:
        bare.sendall(sent)
    with pytest.raises(ProtocolError, match=message):
        connection.receive(Kind.ROUND, length=4)


def test_a_closed_connection_is_an_error(pair):
    connection, bare = pair
    bare.close()
    with pytest.raises(ProtocolError, match="closed the connection"):
        connection.receive(Kind.ROUND, length=4)


def test_frames_arrive(pair):
    connection, bare = pair
    bare.sendall(head(kind=Kind.PING, length=0) + head() + b"1234")
    assert bytes(connection.receive(Kind.ROUND, length=4)) == b"1234"


# --- files ---


def test_damaged_programs_and_inputs_are_refused(built: Built, tmp_path: Path):
    local.save(built.compiled, tmp_path / "p", tmp_path / "w")
    chain = load_chain(tmp_path / "p")
    (program,) = chain.programs
    assert chain.digest() == built.compiled.program.digest()
    text = (tmp_path / "p" / "program.json").read_text()
    for damaged in (
        "",
        "{}",
        text.replace('"format": 2', '"format": 3'),
        text.replace('"trunc"', '"lookup"', 1),
    ):
        (tmp_path / "p" / "program.json").write_text(damaged)
        with pytest.raises(FormatError):
            load_chain(tmp_path / "p")
    for wrong in (
        {"y": INPUTS["x"]},
        {"x": INPUTS["x"][:, :2]},
        {"x": INPUTS["x"] * np.nan},
        {"x": INPUTS["x"] * 99},
    ):
        np.savez(tmp_path / "in.npz", **wrong)
        with pytest.raises(DataError):
            read_inputs(tmp_path / "in.npz", program)


def test_configurations_are_checked(tmp_path: Path):
    with pytest.raises(DataError, match="a configuration for"):
        Config("judge", "p", "k", {})
    with pytest.raises(DataError, match="lacks weights"):
        Config("server", "p", "k", {"client": "c", "dealer": "d"}, journal="j")
    (tmp_path / "c.json").write_text("[]")
    with pytest.raises(DataError, match="no configuration"):
        Config.load(tmp_path / "c.json")
    make_identity(tmp_path / "k", "one")
    with pytest.raises(KeyMismatchError):
        make_identity(tmp_path / "k", "one")
