"""The three roles."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from time import perf_counter

from cipherformer.backends.mpc2.dealer import Seeds, material
from cipherformer.backends.mpc2.party import Party, Usage
from cipherformer.backends.mpc2.prg import fresh_seed
from cipherformer.backends.mpc2.program import SERVER, Program
from cipherformer.backends.mpc2.protocol import PartyState
from cipherformer.backends.mpc2.ring import Ring
from cipherformer.errors import CipherformerError, ProtocolError
from cipherformer.serve.address import listen
from cipherformer.serve.two_party.client import run_client
from cipherformer.serve.two_party.config import Config
from cipherformer.serve.two_party.connection import Connection, Kind
from cipherformer.serve.two_party.folder import load_program, load_weights
from cipherformer.serve.two_party.journal import Journal
from cipherformer.serve.two_party.running import Report, answer, guarded, set_up
from cipherformer.serve.two_party.session import (
    MATERIAL_BYTES,
    Material,
    TlsLink,
    accept,
    agree,
    introduce,
    layouts,
    model_digest,
    query_version,
)


def run_role(config: Config, on_ready: Callable[[str], None] = lambda line: None) -> None:
    """Runs a role to its end.

    Args:
        config: of the role.
        on_ready: called with a line for the log: that it listens, that a session ended.
    """
    program = load_program(Path(config.program))
    match config.role:
        case "dealer":
            _serve_dealer(config, program, on_ready)
        case "server":
            _serve_server(config, program, on_ready)
        case _:
            run_client(config, program)


# --- dealer ---


def _serve_dealer(config: Config, program: Program, on_ready: Callable[[str], None]) -> None:
    listener, address = listen(config.address("dealer"))
    on_ready(f"dealer listens on {address}")
    waiting: dict[bytes, dict[str, Connection]] = {}
    workers: list[threading.Thread] = []
    with listener:
        while not config.sessions or len(workers) < config.sessions:
            try:
                connection = accept(config, listener, ("server", "client"), program)
                hello = bytes(connection.receive(Kind.HELLO, length=48))
            except CipherformerError as error:
                on_ready(f"refused: {error.what}")
                continue
            session, digest = hello[:16], hello[16:]
            connection.session = session
            if digest != program.digest():
                connection.abort("the dealer has another program")
                continue
            pair = waiting.setdefault(session, {})
            pair[connection.peer] = connection
            if len(pair) == 2:
                del waiting[session]
                workers.append(
                    threading.Thread(target=_deal, args=(config, program, session, pair, on_ready))
                )
                workers[-1].start()
    for worker in workers:
        worker.join()


def _deal(
    config: Config,
    program: Program,
    session: bytes,
    pair: Mapping[str, Connection],
    on_ready: Callable[[str], None],
) -> None:
    server, client = pair["server"], pair["client"]
    seeds = Seeds(fresh_seed(), fresh_seed())
    report = Report("dealer")

    def work() -> None:
        server.send(Kind.SEED, seeds.server)
        client.send(Kind.SEED, seeds.client)
        steps = [step for step in program.steps if step.op != "weight"]
        while True:
            number = int.from_bytes(server.receive(Kind.DEAL, length=4), "big")
            if number == 0:
                return
            if number != len(report.offline_s) + 1:
                raise ProtocolError("the server asks for randomness out of order")
            start, sent = perf_counter(), 0
            dealt = material(program, seeds, query_version(session, number))
            for step, data in zip(steps, dealt, strict=True):
                for at in range(0, len(data), MATERIAL_BYTES):
                    server.send(Kind.MATERIAL, data[at : at + MATERIAL_BYTES], turn=step.number)
                sent += len(data)
            report.offline_s.append(perf_counter() - start)
            report.dealt_bytes.append(sent)

    try:
        guarded([server, client], work)
        on_ready("session ended")
    except CipherformerError as error:
        on_ready(f"session failed: {error.what}")
    finally:
        report.save(config.report)


# --- server ---


def _serve_server(config: Config, program: Program, on_ready: Callable[[str], None]) -> None:
    weights = load_weights(Path(config.weights))
    model = model_digest(weights)
    journal = Journal(Path(config.journal))
    listener, address = listen(config.address("server"))
    on_ready(f"server listens on {address}")
    done = 0
    with listener:
        while not config.sessions or done < config.sessions:
            try:
                client = accept(config, listener, ("client",), program)
            except CipherformerError as error:
                on_ready(f"refused: {error.what}")
                continue
            done += 1
            try:
                _server_session(config, program, weights, model, journal, client)
                on_ready("session ended")
            except CipherformerError as error:
                on_ready(f"session failed: {error.what}")
                if config.sessions and done == config.sessions:
                    raise


def _server_session(
    config: Config,
    program: Program,
    weights: Mapping[str, Ring],
    model: bytes,
    journal: Journal,
    client: Connection,
) -> None:
    connections, report = [client], Report("server")

    def work() -> None:
        agree(config, client, program, model)
        dealer, seed = introduce(config, program, client.session)
        connections.append(dealer)
        party = Party(program, SERVER, seed, weights)
        link = TlsLink(client, layouts(program))
        set_up(party, link, report)
        number = 0
        while int.from_bytes(client.receive(Kind.QUERY, length=4), "big"):
            number += 1
            version = query_version(client.session, number)
            start = perf_counter()
            dealer.send(Kind.DEAL, number.to_bytes(4, "big"))
            state = party.prepare(version, {}, Material(dealer))
            report.offline_s.append(perf_counter() - start)
            journal.consume(version)
            client.send(Kind.QUERY, number.to_bytes(4, "big"))
            answer(party, link, report, partial(_run_server, party, state, link))
        dealer.send(Kind.DEAL, bytes(4))
        client.send(Kind.DONE)

    try:
        guarded(connections, work)
    finally:
        report.save(config.report)


def _run_server(party: Party, state: PartyState, link: TlsLink) -> Usage:
    return party.run(state, link)[1]
