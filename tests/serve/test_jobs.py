"""Queries that outlive their connection: resumed, begun anew, cancelled, given up."""

from __future__ import annotations

import socket
import threading

import numpy as np
import pytest
from fake_backend import FakeCipher, facts, make_keys
from talk import X, answers, channel_to, until

from cipherformer.errors import ProtocolError
from cipherformer.serve import messages as m
from cipherformer.serve.address import Address
from cipherformer.serve.channel import RefusedError
from cipherformer.serve.channel import digest as sha256
from cipherformer.serve.jobs import Job, Jobs, Result, State, StoppedError

TICKET = "1" * 64
RESULT = Result([b"answer"], [], 0.0)


def drop(client) -> None:
    """Cuts the line under a client."""
    client._channel.frames._sock.shutdown(socket.SHUT_RDWR)


def during_computation(action) -> tuple[object, list[str]]:
    """A progress callback that acts once, as soon as something is computed; and the phases it saw."""
    phases: list[str] = []

    def watch(phase: str, done: int, total: int, layer: str) -> None:
        if phase == "computing" and done and "acted" not in phases:
            phases.append("acted")
            action()
        phases.append(phase)

    return watch, phases


def test_a_query_goes_on_when_its_connection_drops(run_server, connect) -> None:
    address, log = run_server(step_s=0.05, steps=20)
    watch, phases = during_computation(lambda: drop(client))
    with connect(address, on_progress=watch, reconnect_s=5.0) as client:
        answer = client.ask(X)
        np.testing.assert_array_equal(answer.output, 2 * X)
        assert answer.bytes_up > 2 * 44
        answers(client)
    assert "reconnecting" in phases
    events = [event for event, _ in log]
    assert "resumed" in events and events.count("answered") == 2


def test_a_connection_may_drop_more_than_once(run_server, connect) -> None:
    address, log = run_server(step_s=0.05, steps=60)
    drops = [5, 45]  # two seconds apart, more than is searched for

    def watch(phase: str, done: int, total: int, layer: str) -> None:
        if phase == "computing" and drops and done >= drops[0]:
            drops.pop(0)
            drop(client)

    with connect(address, on_progress=watch, reconnect_s=1.5) as client:
        answers(client)
    assert not drops and [event for event, _ in log].count("resumed") == 2


def test_without_leave_to_reconnect_a_drop_is_an_error(run_server, connect) -> None:
    address, _ = run_server(step_s=0.05, steps=20)
    watch, _ = during_computation(lambda: drop(client))
    with connect(address, on_progress=watch) as client, pytest.raises(ProtocolError, match="went away"):
        client.ask(X)


def test_a_query_begins_anew_on_a_server_that_was_started_again(folder, run_process, connect) -> None:
    address = f"unix:{folder / 'socket'}"
    process = run_process(address, "--steps", "600", "--step-s", "0.05")

    def restart() -> None:
        process.kill()
        process.wait()
        run_process(address)

    watch, phases = during_computation(restart)
    with connect(Address.parse(address), on_progress=watch, reconnect_s=20.0) as client:
        answers(client)
    assert "reconnecting" in phases


def test_a_server_that_shuts_down_and_comes_back_is_found_again(folder, run_process, connect) -> None:
    address = f"unix:{folder / 'socket'}"
    process = run_process(address, "--steps", "600", "--step-s", "0.05")

    def restart() -> None:
        process.terminate()
        process.wait()
        run_process(address)

    watch, _ = during_computation(restart)
    with connect(Address.parse(address), on_progress=watch, reconnect_s=20.0) as client:
        answers(client)


def test_a_query_is_cancelled_and_the_connection_goes_on(run_server, connect) -> None:
    address, log = run_server(step_s=0.02, steps=1000)
    watch, _ = during_computation(lambda: client.cancel())
    with connect(address, on_progress=watch) as client:
        with pytest.raises(RefusedError, match="cancelled") as caught:
            client.ask(X)
        assert caught.value.code == "cancelled" and not caught.value.fatal
        assert client.ping() < 5
    until(lambda: not any(thread.name == "query" for thread in threading.enumerate()))
    assert "answered" not in [event for event, _ in log]


def test_leaving_cancels(run_server, connect) -> None:
    address, log = run_server(step_s=0.02, steps=1000)
    watch, _ = during_computation(lambda: client.close())
    client = connect(address, on_progress=watch)
    with pytest.raises(ProtocolError):
        client.ask(X)
    until(lambda: ("refused", "cancelled") in [(event, given.get("code")) for event, given in log])
    until(lambda: not any(thread.name == "query" for thread in threading.enumerate()))


def asked(address, keys, ticket: str = TICKET):
    """A connection on which a query has been sent."""
    channel = channel_to(address, keys)
    channel.send(m.KeyOffer(), keys.manifest.to_bytes())
    assert channel.expect(m.KeyWant)[0].names == []
    query = FakeCipher().encrypt(X)
    begin = m.QueryBegin(number=1, ticket=ticket, fingerprint=facts().fingerprint, sizes=[44, 44])
    channel.send(begin)
    for part in query:
        channel.send(m.QueryChunk(), part)
    channel.send(m.QueryEnd(digest=sha256(query)))
    return channel


def test_an_answer_that_was_lost_on_the_way_is_sent_again(folder, run_server, connect) -> None:
    address, log = run_server()
    with connect(address) as client:
        keys = client._keys
    channel = asked(address, keys)
    until(lambda: "answered" in [event for event, _ in log])
    channel.close()  # without having read it
    again = channel_to(address, keys)
    again.send(m.Resume(number=7, ticket=TICKET))
    while not isinstance(message := again.receive()[0], m.AnswerBegin):
        assert isinstance(message, m.Progress)
    assert message.number == 7
    assert isinstance(again.receive()[0], m.AnswerChunk) and isinstance(again.receive()[0], m.AnswerEnd)
    again.send(m.Ping())  # whoever speaks again has it
    again.expect(m.Pong)
    again.send(m.Resume(number=8, ticket=TICKET))
    with pytest.raises(RefusedError) as caught:
        again.expect(m.AnswerBegin)
    assert caught.value.code == "unknown_query" and not caught.value.fatal
    again.close()


def test_nobody_elses_query_can_be_resumed(folder, run_server, connect) -> None:
    address, log = run_server()
    with connect(address) as client:
        channel = asked(address, client._keys)
        until(lambda: "answered" in [event for event, _ in log])
    other = channel_to(address, make_keys(folder / "other", size=7))
    other.send(m.Resume(number=1, ticket=TICKET))
    with pytest.raises(RefusedError) as caught:
        other.expect(m.AnswerBegin)
    assert caught.value.code == "unknown_query"
    channel.close()
    other.close()


def test_speaking_out_of_turn_ends_the_connection_and_the_query(folder, run_server, connect) -> None:
    address, _ = run_server(step_s=0.02, steps=1000)
    with connect(address) as client:
        keys = client._keys
    channel = asked(address, keys)
    channel.send(m.QueryChunk(), b"more")
    while isinstance(message := channel.receive()[0], m.Progress):
        pass
    assert isinstance(message, m.Error) and message.fatal and message.code == "protocol"
    until(lambda: not any(thread.name == "query" for thread in threading.enumerate()))
    channel.close()


def steps_until_stopped(job: Job) -> Result:
    while True:
        job.enter(State("computing"))
        threading.Event().wait(0.01)


def test_what_nobody_follows_is_given_up_in_time() -> None:
    jobs = Jobs(threading.Event(), keep_s=0.05)
    with jobs.begun("client", TICKET, steps_until_stopped) as job:
        assert not job.finished.wait(0.2)
    assert job.finished.wait(5) and jobs.find("client", TICKET) is None
    with pytest.raises(StoppedError):
        job.result()


def test_a_new_query_ends_the_clients_abandoned_ones_alone() -> None:
    jobs = Jobs(threading.Event(), keep_s=60.0)
    with jobs.begun("one", TICKET, steps_until_stopped) as first:
        pass
    with jobs.begun("two", TICKET, steps_until_stopped) as other:
        for client in ("one", "two"):
            with jobs.begun(client, "2" * 64, lambda job: RESULT) as quick:
                assert quick.finished.wait(5) and quick.result() is RESULT
        assert first.finished.wait(5) and not other.finished.wait(0.1)
        assert jobs.find("two", TICKET) is other
        other.cancel()
        assert other.finished.wait(5)


def test_finished_answers_make_room_the_oldest_first() -> None:
    jobs = Jobs(threading.Event(), keep_s=60.0, most=2)
    for n in range(4):
        with jobs.begun(f"client{n}", TICKET, lambda job: RESULT) as job:
            assert job.finished.wait(5)
    assert [jobs.find(f"client{n}", TICKET) is not None for n in range(4)] == [False, False, True, True]
