"""Client and server over a real socket, with a backend without cryptography."""

from __future__ import annotations

import os
import socket
import threading

import numpy as np
import pytest
from fake_backend import KEY_NAMES, FakeCipher, FakeEvaluation, digest, facts, make_keys
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from talk import X, answers, channel_to, dial, until

from cipherformer.errors import DataError, KeyMismatchError, ProtocolError
from cipherformer.serve import messages as m
from cipherformer.serve.address import Address
from cipherformer.serve.channel import Channel, RefusedError
from cipherformer.serve.channel import digest as sha256
from cipherformer.serve.client import Client
from cipherformer.serve.keys import load
from cipherformer.serve.store import KeyStore, StoreLimits
from cipherformer.serve.wire import encode
from cipherformer.serve.worker import Worker


def test_questions_are_answered(run_server, connect) -> None:
    address, log = run_server()
    seen = []
    with connect(address, on_progress=lambda *state: seen.append(state)) as client:
        answer = client.ask(X)
        answers(client)
        assert 0 < client.ping() < 5
    np.testing.assert_array_equal(answer.output, 2 * X)
    assert answer.trace == [
        {"layer": "head", "node": "n1", "primitive": "rotate", "calls": 2, "seconds": 0.5}
    ]
    assert answer.bytes_up > 88 and answer.bytes_down > 44 and answer.peak_memory_server_bytes > 1 << 20
    assert seen[0][0] == "uploading keys" and {"queued", "computing"} & {phase for phase, *_ in seen}
    until(lambda: [event for event, _ in log].count("answered") == 2)


def test_keys_are_sent_once(run_server, connect) -> None:
    address, _ = run_server()
    with connect(address) as client:
        assert client.key_bytes_sent > 1000
    with connect(address) as client:
        assert client.key_bytes_sent == 0
        answers(client)


def test_tcp_works_too(folder, run_process, connect) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    run_process(f"tcp:127.0.0.1:{port}")
    with connect(Address.parse(f"tcp:127.0.0.1:{port}")) as client:
        answers(client)


def test_another_plan_is_refused_on_both_sides(run_server, connect) -> None:
    address, log = run_server()
    with pytest.raises(RefusedError, match="another plan") as caught:
        connect(address, plan="another")
    assert caught.value.code == "plan_mismatch"
    assert ("plan_mismatch" in {facts.get("code") for _, facts in log}) and log[-1][0] == "refused"
    with connect(address) as client:
        answers(client)


def test_keys_of_another_parameter_set_are_refused(folder, run_server, connect) -> None:
    address, _ = run_server()
    foreign = make_keys(folder / "foreign", "other")
    with pytest.raises(KeyMismatchError, match="another parameter set"):
        connect(address, keys=foreign)
    with pytest.raises(RefusedError, match="another parameter set"):
        Client(address, facts(parameters="other"), foreign, FakeCipher("other"), silence_s=5.0)
    lying = make_keys(folder / "lying", "other", stated="parameters")
    with pytest.raises(RefusedError, match="refuses an evaluation key") as caught:
        connect(address, keys=lying)
    assert caught.value.code == "key_refused" and "another parameter set" in str(caught.value)
    assert not list((folder / "store" / lying.manifest.client).glob("*.key"))
    with connect(address) as client:
        answers(client)


def test_bad_input_is_refused_before_anything_is_sent(run_server, connect) -> None:
    address, _ = run_server()
    with connect(address) as client:
        sent = client._channel.frames.bytes_sent
        with pytest.raises(DataError):
            client.ask(np.array([1.0, np.nan, 3.0, 4.0]))
        assert client._channel.frames.bytes_sent == sent
        answers(client)


def test_a_malformed_ciphertext_is_refused_and_the_connection_goes_on(run_server, connect) -> None:
    class Broken(FakeCipher):
        broken = True

        def encrypt(self, x, /):
            return [os.urandom(44), os.urandom(44)] if self.broken else super().encrypt(x)

    address, _ = run_server()
    with connect(address) as client:
        cipher = client._cipher = Broken()
        with pytest.raises(RefusedError, match="refuses the query") as caught:
            client.ask(X)
        assert caught.value.code == "query_refused" and not caught.value.fatal
        cipher.broken = False
        answers(client)


def test_a_bug_in_the_engine_does_not_stop_the_server(run_server, connect) -> None:
    address, log = run_server()
    with connect(address) as client:
        with pytest.raises(RefusedError, match="internal error") as caught:
            client.ask(np.array([666.0, 0, 0, 0]))
        assert "a bug in the engine" not in str(caught.value)  # details stay in the server's log
        answers(client)
    assert any(event == "internal error" and "a bug" in facts["text"] for event, facts in log)


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n" * 4, os.urandom(4096), b"\x00" * 64])
def test_garbage_is_refused_and_the_next_client_is_served(run_server, connect, garbage) -> None:
    address, log = run_server()
    channel = Channel(dial(address), silence_s=5.0)
    channel.frames._sock.send(garbage)
    with pytest.raises(RefusedError, match="not a cipherformer frame"):
        channel.expect(m.Welcome)
    channel.close()
    with connect(address) as client:
        answers(client)
    assert log[1][0] == "refused"


@pytest.mark.parametrize("cut", [1, 23, 30, 60])
def test_a_truncated_frame_does_not_stop_the_server(run_server, connect, cut) -> None:
    address, _ = run_server()
    frame = m.to_frame(m.QueryBegin(number=1, ticket="0" * 64, fingerprint="0" * 64, sizes=[44, 44]), 1)
    with dial(address) as sock:
        sock.sendall(encode(frame)[:cut])
    with connect(address) as client:
        answers(client)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=4), st.booleans())
def test_fuzzed_connections_leave_the_server_alive(fuzzed, blobs, greeted) -> None:
    address, connect = fuzzed
    channel = channel_to(address) if greeted else Channel(dial(address), silence_s=5.0)
    try:
        for blob in blobs:
            channel.frames._sock.send(blob)
    except OSError:
        pass  # the server has hung up already
    finally:
        channel.close()
    with connect(address) as client:
        answers(client)


@pytest.fixture
def fuzzed(run_server, connect):
    address, _ = run_server()
    return address, connect


MISBEHAVIOUR = {
    "query before keys": [
        m.QueryBegin(number=1, ticket="0" * 64, fingerprint=facts().fingerprint, sizes=[44, 44])
    ],
    "key before list": [m.KeyBegin(name=KEY_NAMES[0])],
    "message of the server": [m.KeyWant(names=[])],
    "chunk out of place": [m.QueryChunk()],
    "second hello": [
        m.Hello(protocol=1, fingerprint="0" * 64, parameters="0" * 64, client="0" * 64, software="x")
    ],
}


@pytest.mark.parametrize("messages", MISBEHAVIOUR.values(), ids=MISBEHAVIOUR.keys())
def test_messages_out_of_place_end_the_connection(run_server, connect, messages) -> None:
    address, _ = run_server()
    channel = channel_to(address)
    for message in messages:
        channel.send(message)
    with pytest.raises(RefusedError) as caught:
        channel.expect(m.Pong)
    assert caught.value.fatal
    channel.close()
    with connect(address) as client:
        answers(client)


def test_an_offer_that_is_not_the_clients_is_refused(folder, run_server) -> None:
    address, _ = run_server()
    keys = make_keys(folder / "keys")
    for payload in (keys.manifest.to_bytes(), b"{}", b"\xff", b"[" * 9000):
        channel = channel_to(address)  # calls itself aaaa...
        channel.send(m.KeyOffer(), payload)
        with pytest.raises(RefusedError) as caught:
            channel.expect(m.KeyWant)
        assert caught.value.code == "keys_refused"
        channel.close()


@pytest.mark.parametrize("sent", [b"", b"short", b"x" * 2000], ids=["empty", "short", "long"])
def test_a_key_that_is_not_the_announced_one_is_not_stored(folder, run_server, connect, sent) -> None:
    address, _ = run_server()
    keys = make_keys(folder / "keys")
    channel = channel_to(address, keys)
    channel.send(m.KeyOffer(), keys.manifest.to_bytes())
    name = channel.expect(m.KeyWant)[0].names[0]
    channel.send(m.KeyBegin(name=name))
    channel.send(m.KeyChunk(), sent)
    channel.send(m.KeyEnd())
    with pytest.raises(RefusedError) as caught:
        channel.expect(m.KeyDone)
    assert caught.value.code == "key_refused"
    channel.close()
    assert [p.name for p in (folder / "store" / keys.manifest.client).iterdir()] == ["manifest.json"]
    with connect(address, keys=load(folder / "keys")) as client:
        answers(client)


def test_too_many_bytes_of_keys_are_refused(folder, run_server, connect) -> None:
    address, _ = run_server(store=StoreLimits(client_bytes=1000))
    with pytest.raises(RefusedError, match="GB of evaluation keys"):
        connect(address)


def test_the_least_recently_used_client_makes_room(folder, run_server, connect) -> None:
    address, _ = run_server(store=StoreLimits(clients=2))
    folders = [make_keys(folder / f"keys{n}", size=100 + n) for n in range(3)]
    for keys in folders:
        with connect(address, keys=keys) as client:
            answers(client)
    with connect(address, keys=folders[2]) as client:
        assert client.key_bytes_sent == 0
    with connect(address, keys=folders[0]) as client:
        assert client.key_bytes_sent > 0


@pytest.mark.parametrize(
    ("sizes", "fingerprint"),
    [([44], facts().fingerprint), ([1 << 28] * 2, facts().fingerprint), ([44, 44], digest("other"))],
    ids=["count", "size", "plan"],
)
def test_a_query_of_the_wrong_form_is_refused(folder, run_server, connect, sizes, fingerprint) -> None:
    address, _ = run_server(query_bytes=1 << 20)
    with connect(address) as client:
        client._channel.send(m.QueryBegin(number=1, ticket="0" * 64, fingerprint=fingerprint, sizes=sizes))
        with pytest.raises(RefusedError) as caught:
            client._channel.expect(m.AnswerBegin)
        assert caught.value.fatal
    with connect(address) as client:
        answers(client)


def test_a_query_of_another_session_is_refused(run_server, connect) -> None:
    address, _ = run_server()
    with connect(address) as client:
        client._channel.session += 1
        with pytest.raises(ProtocolError, match="another session"):
            client.ask(X)


def test_a_damaged_query_is_refused(run_server, connect) -> None:
    address, _ = run_server()
    with connect(address) as client:
        query = FakeCipher().encrypt(X)
        channel = client._channel
        channel.send(m.QueryBegin(number=1, ticket="0" * 64, fingerprint=facts().fingerprint, sizes=[44, 44]))
        channel.send(m.QueryChunk(), query[0])
        channel.send(m.QueryChunk(), query[1])
        channel.send(m.QueryEnd(digest=sha256([b"something else"])))
        with pytest.raises(RefusedError, match="wrong digest"):
            channel.expect(m.AnswerBegin)


def test_one_query_at_a_time_and_a_full_queue_says_busy(run_server, connect) -> None:
    address, _ = run_server(step_s=0.3, queue=0)
    computing = threading.Event()

    def watch(phase: str, done: int, total: int, layer: str) -> None:
        if phase == "computing":
            computing.set()

    with connect(address, on_progress=watch) as first, connect(address) as second:
        waiting = threading.Thread(target=answers, args=(first,))
        waiting.start()
        assert computing.wait(5)
        with pytest.raises(RefusedError, match="busy") as caught:
            second.ask(X)
        assert caught.value.code == "busy" and not caught.value.fatal
        waiting.join()
        answers(second)


def test_waiting_clients_are_served_in_turn(run_server, connect) -> None:
    address, log = run_server(step_s=0.05)
    phases = []
    with (
        connect(address) as first,
        connect(address, on_progress=lambda phase, done, total, layer: phases.append(phase)) as second,
    ):
        threads = [threading.Thread(target=answers, args=(client,)) for client in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    until(lambda: [event for event, _ in log].count("answered") == 2)


def test_too_many_connections_are_turned_away(run_server, connect) -> None:
    address, _ = run_server(connections=1)
    with connect(address) as client:
        with pytest.raises(RefusedError, match="too many connections"):
            connect(address)
        answers(client)


def test_a_client_that_leaves_stops_its_computation(run_server, connect) -> None:
    address, log = run_server(step_s=0.05, steps=400, keep_s=0.1)
    client = connect(address)
    query = FakeCipher().encrypt(X)
    client._send(m.QueryBegin(number=1, ticket="0" * 64, fingerprint=facts().fingerprint, sizes=[44, 44]))
    for part in query:
        client._send(m.QueryChunk(), part)
    client._send(m.QueryEnd(digest=sha256(query)))
    client._channel.close()
    until(lambda: any(event == "connection lost" for event, _ in log))
    until(lambda: not any(thread.name == "query" for thread in threading.enumerate()))


def test_a_client_that_sends_keys_does_not_push_out_another(folder, run_server, connect) -> None:
    made: list[FakeEvaluation] = []

    class Counting(FakeEvaluation):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    store = KeyStore(folder / "counting")
    worker = Worker(Counting, store)
    first, second = (make_keys(folder / name, size=size) for name, size in (("a", 10), ("b", 11)))
    for keys in (first, second):
        store.register(keys.manifest)
        for entry in keys.manifest.entries:
            with store.writing(keys.manifest.client, entry) as writer:
                for chunk in keys.read_chunks(entry):
                    writer.write(chunk)
            worker.try_key(keys.manifest, entry)
    resident = worker.evaluation(first.manifest)
    assert resident is made[0] and not resident.missing_keys()
    assert worker.evaluation(second.manifest) is not resident


def test_keys_that_were_on_disk_before_others_came_are_used(folder, run_server, connect) -> None:
    address, _ = run_server()
    with connect(address) as client:
        name = client._keys.manifest.client
    sorted((folder / "store" / name).glob("*.key"))[0].unlink()
    second, _ = run_server()
    with connect(second) as client:
        assert 0 < client.key_bytes_sent < client._keys.manifest.size
        answers(client)
