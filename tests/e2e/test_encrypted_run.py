"""The real thing at small, insecure parameters: processes, sockets, keys, ciphertexts."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import ServerProcess, command, insecure_plan, run_json, samples

from cipherformer.backends.ckks.client import generate_keys
from cipherformer.backends.ckks_sim import reference
from cipherformer.errors import DataError, KeyMismatchError, ProtocolError
from cipherformer.serve import keys as key_folders
from cipherformer.serve.address import Address
from cipherformer.serve.channel import RefusedError
from cipherformer.serve.client import Client
from cipherformer.serve.interface import PlanFacts

X = samples()


def answers(world, client) -> None:
    np.testing.assert_allclose(client.ask(X[:1]).output, reference(world.plan, X[:1]), atol=1e-5)


def test_a_client_process_gets_the_plaintext_models_answers(world, shared_server, tmp_path) -> None:
    words = ("query", world.keys, "-c", shared_server.address, "-i", world.inputs, "-o", tmp_path / "out.npy")
    record = run_json(tmp_path / "answers.json", *words)
    expected = np.concatenate([reference(world.plan, x[None]) for x in X])
    found = np.load(tmp_path / "out.npy")
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - expected).max() > 0  # encrypted, not computed in the clear
    assert (found.argmax(1) == expected.argmax(1)).all()
    assert record["plan"] == world.plan.fingerprint and len(record["answers"]) == len(X)
    first = record["answers"][0]
    assert {r["primitive"] for r in first["trace"]} >= {"ct-ct product", "rotation", "ct-pt matrix"}
    assert {r["layer"] for r in first["trace"]} >= {"first", "second"}
    assert sum(r["seconds"] for r in first["trace"]) <= first["seconds_server"] <= first["seconds"]
    assert record["peak_memory_server_bytes"] > 1 << 20 and record["peak_memory_client_bytes"] > 1 << 20


def test_bytes_are_close_to_the_plans_prediction(world, shared_server) -> None:
    predicted = world.plan.summary()
    with world.client(shared_server.address) as client:
        answer = client.ask(X[:1])
    assert answer.bytes_up == pytest.approx(predicted["bytes_up"], rel=0.1)
    assert answer.bytes_down == pytest.approx(predicted["bytes_down"], rel=0.2)


@pytest.mark.parametrize("bad", [np.full((1, 8), np.nan), np.full((1, 8), 50.0), np.zeros((1, 7))])
def test_bad_input_is_refused_on_the_clients_side(world, shared_server, tmp_path, bad) -> None:
    with world.client(shared_server.address) as client:
        with pytest.raises(DataError):
            client.ask(bad)
        answers(world, client)
    np.save(tmp_path / "bad.npy", bad)
    words = command("query", world.keys, "-c", shared_server.address, "-i", tmp_path / "bad.npy")
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 2 and "error" in done.stderr and "Traceback" not in done.stderr


def test_another_plan_is_refused(world, shared_server) -> None:
    other = replace(world.signature, fingerprint="0" * 64)
    with pytest.raises(RefusedError, match="another plan"):
        Client(shared_server.address, PlanFacts.of(other), world.key_folder, world.cipher())
    with world.client(shared_server.address) as client:
        answers(world, client)


def test_keys_of_another_parameter_set_are_refused(world, shared_server, tmp_path) -> None:
    other = insecure_plan(scale_bits=41).signature
    made = generate_keys(other, insecure=True)
    for stated, error in ((other.parameters, KeyMismatchError), (world.signature.parameters, RefusedError)):
        folder = key_folders.create(
            tmp_path / stated[:8],
            signature=other.to_json(),
            parameters=stated,
            save_secret=made.save_secret,
            evaluation_keys=made.evaluation_keys(),
        )
        with pytest.raises(error):
            world.client(shared_server.address, keys=folder)
    with world.client(shared_server.address) as client:
        answers(world, client)


def test_keys_for_other_rotations_are_refused(world, shared_server, tmp_path) -> None:
    keys = dict(world.cipher().evaluation_keys())
    names = [name for name in keys if name.startswith("rotate")]
    keys[names[0]], keys[names[1]] = keys[names[1]], keys[names[0]]
    folder = key_folders.create(
        tmp_path / "swapped",
        signature=world.signature.to_json(),
        parameters=world.signature.parameters,
        save_secret=world.cipher().save_secret,
        evaluation_keys=keys.items(),
    )
    with pytest.raises(RefusedError, match="does not fit the plan"):
        world.client(shared_server.address, keys=folder)
    with world.client(shared_server.address) as client:
        answers(world, client)


class Damaging:
    """A client's cipher that damages what it sends."""

    def __init__(self, cipher, damage) -> None:
        self._cipher, self.damage = cipher, damage

    def encrypt(self, x, /):
        return [self.damage(part) for part in self._cipher.encrypt(x)]

    def decrypt(self, answer, /):
        return self._cipher.decrypt(answer)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: os.urandom(len(data)),
        lambda data: data[:-1],
        lambda data: data + b"\x00",
        lambda data: data[:40] + b"\xff" * (len(data) - 40),
        lambda data: b"\x00",
    ],
    ids=["random", "short", "long", "residues beyond q", "one byte"],
)
def test_a_malformed_ciphertext_is_refused(world, shared_server, damage) -> None:
    cipher = Damaging(world.cipher(), damage)
    with world.client(shared_server.address, cipher=cipher) as client:
        with pytest.raises(RefusedError, match="refuses the query"):
            client.ask(X[:1])
        cipher.damage = lambda data: data
        answers(world, client)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**9), st.integers(1, 255))
def test_a_flipped_bit_never_harms_the_server(world, shared_server, position, flip) -> None:
    def damage(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[position % (120 if position % 2 else len(data))] ^= flip
        return bytes(changed)

    cipher = Damaging(world.cipher(), damage)
    with world.client(shared_server.address, cipher=cipher) as client:
        try:
            client.ask(X[:1])  # a changed residue is still a ciphertext: garbage comes back
        except (RefusedError, DataError) as error:
            assert not getattr(error, "fatal", False)
        cipher.damage = lambda data: data
        answers(world, client)


def test_a_killed_server_is_noticed_and_a_new_one_serves_the_same_keys(world, tmp_path) -> None:
    address = Address(path=str(tmp_path / "s"))
    server = ServerProcess(world.plan_folder, tmp_path, address)
    try:
        with world.client(address) as client:
            assert client.key_bytes_sent > 0
            answers(world, client)
            killed: list[float] = []

            def kill() -> None:
                killed.append(time.monotonic())
                server.process.kill()

            threading.Timer(0.5, kill).start()
            with pytest.raises(ProtocolError, match="the server went away"):
                while True:
                    client.ask(X[:1])
            assert time.monotonic() - killed[0] < 5
    finally:
        server.kill()
    server = ServerProcess(world.plan_folder, tmp_path, address)
    try:
        with world.client(address) as client:
            assert client.key_bytes_sent == 0
            answers(world, client)
    finally:
        assert server.stop() == 0


def test_two_clients_do_not_mix(world, shared_server, tmp_path) -> None:
    made = generate_keys(world.signature, insecure=True)
    folder = key_folders.create(
        tmp_path / "second",
        signature=world.signature.to_json(),
        parameters=world.signature.parameters,
        save_secret=made.save_secret,
        evaluation_keys=made.evaluation_keys(),
    )
    with (
        world.client(shared_server.address) as first,
        world.client(shared_server.address, keys=folder, cipher=made) as second,
    ):
        for client in (first, second, first):
            answers(world, client)
