"""The client: asks with its own inputs, and alone learns the answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.backends.integers import scaled, shifted
from cipherformer.backends.mpc2.party import Party, Usage, answers
from cipherformer.backends.mpc2.program import CLIENT, Program
from cipherformer.backends.mpc2.ring import Ring, encoded
from cipherformer.errors import DataError, ProtocolError
from cipherformer.serve.two_party.config import Config
from cipherformer.serve.two_party.connection import Connection, Kind
from cipherformer.serve.two_party.journal import Journal
from cipherformer.serve.two_party.running import Report, answer, guarded, set_up
from cipherformer.serve.two_party.session import TlsLink, agree, introduce, layouts, query_version, reach

NO_MODEL = bytes(32)


def run_client(config: Config, program: Program) -> None:
    """Asks what the configuration says, in one session."""
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
        set_up(party, link, report)
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

    answer(party, link, report, run)
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
