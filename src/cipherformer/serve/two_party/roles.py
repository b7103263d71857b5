"""The three roles."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.backends.integers import scaled, shifted
from cipherformer.backends.mpc2.dealer import Seeds, material
from cipherformer.backends.mpc2.party import Party, Usage, answers
from cipherformer.backends.mpc2.prg import fresh_seed
from cipherformer.backends.mpc2.program import CLIENT, SERVER, Program
from cipherformer.backends.mpc2.protocol import PartyState
from cipherformer.backends.mpc2.ring import Ring, encoded
from cipherformer.errors import CipherformerError, DataError, ProtocolError
from cipherformer.serve.address import listen
from cipherformer.serve.two_party.config import Config
from cipherformer.serve.two_party.connection import Connection, Kind
from cipherformer.serve.two_party.folder import load_program, load_weights
from cipherformer.serve.two_party.journal import Journal
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
    reach,
)

NO_MODEL = bytes(32)


@dataclass(slots=True)
class Report:
    """What a role's session took; bytes are those of frames sent, heads included.

    Args:
        role: whose.
        setup_s: opening the weights' masked values.
        setup_bytes: of that.
        offline_s: material, by query.
        online_s: the rounds, by query.
        online_bytes: by query.
        rounds: by query.
        waited_s: of the online time, by query.
        dealt_bytes: material, by query.
        seconds: computing, by step, of the last query.
        sent: payload, by step, of the last query.
    """

    role: str
    setup_s: float = 0.0
    setup_bytes: int = 0
    offline_s: list[float] = field(default_factory=list)
    online_s: list[float] = field(default_factory=list)
    online_bytes: list[int] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    waited_s: list[float] = field(default_factory=list)
    dealt_bytes: list[int] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)

    def save(self, path: str) -> None:
        """Writes it as JSON."""
        if path:
            Path(path).write_text(json.dumps(asdict(self)))


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
            _run_client(config, program)


def guarded(connections: list[Connection], work: Callable[[], None]) -> None:
    """Runs a session; whatever ends it is told to the others."""
    try:
        work()
    except CipherformerError as error:
        for connection in connections:
            connection.abort(error.what)
        raise
    except BaseException:
        for connection in connections:
            connection.abort("an internal error")
        raise
    for connection in connections:
        connection.close()


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
        _set_up(party, link, report)
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
            _answer(party, link, report, partial(_run_server, party, state, link))
        dealer.send(Kind.DEAL, bytes(4))
        client.send(Kind.DONE)

    try:
        guarded(connections, work)
    finally:
        report.save(config.report)


def _run_server(party: Party, state: PartyState, link: TlsLink) -> Usage:
    return party.run(state, link)[1]


def _set_up(party: Party, link: TlsLink, report: Report) -> None:
    start = perf_counter()
    party.set_up(link)
    report.setup_s = perf_counter() - start
    report.setup_bytes = link.connection.sent_bytes.get(Kind.ROUND, 0)


def _answer(party: Party, link: TlsLink, report: Report, run: Callable[[], Usage]) -> None:
    before, start = link.connection.sent_bytes.get(Kind.ROUND, 0), perf_counter()
    usage = run()
    report.online_s.append(perf_counter() - start)
    report.online_bytes.append(link.connection.sent_bytes.get(Kind.ROUND, 0) - before)
    report.rounds.append(usage.rounds)
    report.waited_s.append(usage.waited_s)
    report.seconds, report.sent = usage.seconds, usage.sent


# --- client ---


def _run_client(config: Config, program: Program) -> None:
    samples = read_inputs(Path(config.input), program)
    journal = Journal(Path(config.journal))
    found: list[list[NDArray[np.float64]]] = []
    connections: list[Connection] = []
    report = Report("client")

    def work() -> None:
        server = reach(config, "server", program)
        connections.append(server)
        agree(config, server, program, NO_MODEL)
        dealer, seed = introduce(config, program, server.session)
        connections.append(dealer)
        party = Party(program, CLIENT, seed, {})
        link = TlsLink(server, layouts(program))
        _set_up(party, link, report)
        for number, sample in enumerate(samples, start=1):
            found.append(_ask(config, party, server, link, journal, report, number, sample))
        server.send(Kind.QUERY, bytes(4))
        server.receive(Kind.DONE, length=0)

    try:
        guarded(connections, work)
    finally:
        report.save(config.report)
    columns = {f"output_{i}": np.concatenate(list(rows)) for i, rows in enumerate(zip(*found, strict=True))}
    np.savez(config.output, **columns)  # type: ignore[arg-type]


def _ask(
    config: Config,
    party: Party,
    server: Connection,
    link: TlsLink,
    journal: Journal,
    report: Report,
    number: int,
    sample: Mapping[str, Ring],
) -> list[NDArray[np.float64]]:
    version = query_version(server.session, number)
    server.send(Kind.QUERY, number.to_bytes(4, "big"))
    start = perf_counter()
    state = party.prepare(version, sample, _nothing_is_dealt)
    report.offline_s.append(perf_counter() - start)
    journal.consume(version)
    server.receive(Kind.QUERY, length=4)
    opened: dict[str, Ring] = {}

    def run() -> Usage:
        values, usage = party.run(state, link)
        opened.update(values)
        return usage

    _answer(party, link, report, run)
    steps = party.program.by_name()
    integers = answers(party.program, opened)
    return [
        shifted(value, steps[name].frac_bits)
        for value, name in zip(integers, party.program.outputs, strict=True)
    ]


def _nothing_is_dealt(step: Any, size: int) -> bytes:
    raise ProtocolError("the client is dealt nothing")


def read_inputs(path: Path, program: Program) -> list[dict[str, Ring]]:
    """The client's samples as integers of the ring.

    Raises:
        DataError: if they do not fit the program.
    """
    steps = program.of("input")
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = {step.name: np.asarray(content[step.name], dtype=np.float64) for step in steps}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError("no inputs for this program", where=str(path), why=str(error)) from error
    counts = {len(array) for array in arrays.values()}
    if len(counts) != 1:
        raise DataError("not one sample for each input", where=str(path))
    out = []
    for i in range(counts.pop()):
        sample = {}
        for step in steps:
            value = arrays[step.name][i : i + 1]
            if value.shape != step.shape or not np.isfinite(value).all():
                raise DataError(
                    f"an input of shape {list(value.shape)}",
                    where=step.name,
                    why=f"the program takes finite numbers {list(step.shape)}",
                )
            if float(np.max(np.abs(value), initial=0.0)) >= 2.0 ** step.attrs["magnitude"]:
                raise DataError(
                    f"an input of size {float(np.max(np.abs(value))):.4g}",
                    where=step.name,
                    why=f"the program was calibrated for less than 2^{step.attrs['magnitude']}",
                    fix="compile it with samples like this one",
                )
            sample[step.name] = encoded(scaled(value, step.frac_bits))
        out.append(sample)
    return out
