"""The three roles."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from time import perf_counter

from cipherformer.backends.mpc2.chain import Chain
from cipherformer.backends.mpc2.dealer import Kept, Seeds, material
from cipherformer.backends.mpc2.party import Party, Prepared, Usage
from cipherformer.backends.mpc2.prg import SEED_BYTES, fresh_seed
from cipherformer.backends.mpc2.program import SERVER
from cipherformer.backends.mpc2.store import Store
from cipherformer.errors import CipherformerError, ProtocolError
from cipherformer.serve.address import listen
from cipherformer.serve.two_party.ahead import running_ahead
from cipherformer.serve.two_party.client import run_client
from cipherformer.serve.two_party.config import Config
from cipherformer.serve.two_party.connection import Connection, Kind
from cipherformer.serve.two_party.epoch import epoch_seed, offer
from cipherformer.serve.two_party.folder import load_chain, load_weights
from cipherformer.serve.two_party.journal import Journal
from cipherformer.serve.two_party.running import Report, answer, guarded, scratch, set_up
from cipherformer.serve.two_party.session import (
    MATERIAL_BYTES,
    Material,
    TlsLink,
    accept,
    agree,
    asked,
    introduce,
    model_digest,
    query_version,
    read_asked,
)

STEPS_AHEAD = 4
"""That the dealer has made while an earlier one's material is sent."""
MATERIAL_IN_MEMORY = 1 << 28
"""Bytes of a query that the server does not write to its file."""


def run_role(config: Config, on_ready: Callable[[str], None] = lambda line: None) -> None:
    """Runs a role to its end.

    Args:
        config: of the role.
        on_ready: called with a line for the log: that it listens, that a session ended.
    """
    chain = load_chain(Path(config.program))
    match config.role:
        case "dealer":
            _serve_dealer(config, chain, on_ready)
        case "server":
            _serve_server(config, chain, on_ready)
        case _:
            run_client(config, chain, on_ready)


# --- dealer ---


def _serve_dealer(config: Config, chain: Chain, on_ready: Callable[[str], None]) -> None:
    listener, address = listen(config.address("dealer"))
    on_ready(f"dealer listens on {address}")
    waiting: dict[bytes, dict[str, Connection]] = {}
    workers: list[threading.Thread] = []
    with listener:
        while not config.sessions or len(workers) < config.sessions:
            try:
                connection = accept(config, listener, ("server", "client"), chain)
                hello = bytes(connection.receive(Kind.HELLO, length=48))
            except CipherformerError as error:
                on_ready(f"refused: {error.what}")
                continue
            session, digest = hello[:16], hello[16:]
            connection.session = session
            if digest != chain.digest():
                connection.abort("the dealer has another program")
                continue
            pair = waiting.setdefault(session, {})
            pair[connection.peer] = connection
            if len(pair) == 2:
                del waiting[session]
                workers.append(threading.Thread(target=_deal, args=(config, chain, session, pair, on_ready)))
                workers[-1].start()
    for worker in workers:
        worker.join()


def _deal(
    config: Config,
    chain: Chain,
    session: bytes,
    pair: Mapping[str, Connection],
    on_ready: Callable[[str], None],
) -> None:
    server, client = pair["server"], pair["client"]
    report = Report("dealer")

    def work() -> None:
        fresh = fresh_seed(), fresh_seed()
        server.send(Kind.SEED, fresh[0])
        client.send(Kind.SEED, fresh[1])
        seeds = Seeds(*fresh, bytes(server.receive(Kind.EPOCH, length=SEED_BYTES)))
        kept: Kept = {}
        while True:
            number, index = read_asked(server.receive(Kind.DEAL, length=8), chain)
            if number == 0:
                return
            if number != len(report.offline_s) + 1:
                raise ProtocolError("the server asks for randomness out of order")
            start = begin = perf_counter()
            report.seconds, report.sent = {}, {}
            program = chain.programs[index]
            steps = [step for step in program.steps if step.op != "weight"]
            dealt = material(program, seeds, query_version(session, number), kept)
            with running_ahead(dealt, STEPS_AHEAD) as ready:
                for step, data in zip(steps, ready, strict=True):
                    for at in range(0, len(data), MATERIAL_BYTES):
                        server.send(Kind.MATERIAL, data[at : at + MATERIAL_BYTES], turn=step.number)
                    report.sent[step.name] = len(data)
                    report.seconds[step.name], begin = perf_counter() - begin, perf_counter()
            report.offline_s.append(perf_counter() - start)
            report.dealt_bytes.append(sum(report.sent.values()))

    try:
        guarded([server, client], work)
        on_ready("session ended")
    except CipherformerError as error:
        on_ready(f"session failed: {error.what}")
    finally:
        report.save(config.report)


# --- server ---


def _serve_server(config: Config, chain: Chain, on_ready: Callable[[str], None]) -> None:
    chain = Chain(chain.programs, load_weights(Path(config.weights)))
    model = model_digest(chain.weights)
    journal = Journal(Path(config.journal))
    listener, address = listen(config.address("server"))
    on_ready(f"server listens on {address}")
    done = 0
    with listener:
        while not config.sessions or done < config.sessions:
            try:
                client = accept(config, listener, ("client",), chain)
            except CipherformerError as error:
                on_ready(f"refused: {error.what}")
                continue
            done += 1
            try:
                _server_session(config, chain, model, journal, client)
                on_ready("session ended")
            except CipherformerError as error:
                on_ready(f"session failed: {error.what}")
                if config.sessions and done == config.sessions:
                    raise


def _server_session(
    config: Config,
    chain: Chain,
    model: bytes,
    journal: Journal,
    client: Connection,
) -> None:
    connections, report = [client], Report("server")

    def work() -> None:
        agree(config, client, chain, model)
        dealer, seed = introduce(config, chain, client.session)
        connections.append(dealer)
        epoch = epoch_seed(config, chain, model)
        known = offer(client, dealer, chain, model, epoch)
        seats = set_up(chain, SERVER, seed, client, report, epoch=epoch, known=known)
        number = 0
        while True:
            wanted, index = read_asked(client.receive(Kind.QUERY, length=8), chain)
            if not wanted:
                break
            number += 1
            party, link = seats[index]
            version = query_version(client.session, number)
            start = perf_counter()
            dealer.send(Kind.DEAL, asked(number, index))
            with scratch(config) as file:
                prepared = party.prepare(
                    version, {}, Material(dealer), Store(file, memory_bytes=MATERIAL_IN_MEMORY)
                )
                report.offline_s.append(perf_counter() - start)
                journal.consume(version)
                client.send(Kind.QUERY, asked(number, index))
                answer(party, link, report, partial(_run_server, party, prepared, link))
        dealer.send(Kind.DEAL, asked(0, 0))
        client.send(Kind.DONE)

    try:
        guarded(connections, work)
    finally:
        report.save(config.report)


def _run_server(party: Party, prepared: Prepared, link: TlsLink) -> Usage:
    return party.run(prepared, link)[1]
