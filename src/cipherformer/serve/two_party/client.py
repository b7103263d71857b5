"""The client: asks with its own inputs, and alone learns the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.backends.integers import scaled, shifted
from cipherformer.backends.mpc2.chain import Chain
from cipherformer.backends.mpc2.generation import one_hot
from cipherformer.backends.mpc2.party import Party, Usage, answers
from cipherformer.backends.mpc2.program import CLIENT, Program, Step
from cipherformer.backends.mpc2.ring import Ring, encoded
from cipherformer.errors import DataError, ProtocolError
from cipherformer.serve.two_party.config import Config
from cipherformer.serve.two_party.connection import Connection, Kind
from cipherformer.serve.two_party.epoch import Weights
from cipherformer.serve.two_party.journal import Journal
from cipherformer.serve.two_party.running import Report, answer, guarded, set_up
from cipherformer.serve.two_party.session import TlsLink, agree, asked, introduce, query_version, reach

NO_MODEL = bytes(32)


def run_client(config: Config, chain: Chain, on_answer: Callable[[str], None]) -> None:
    """Asks what the configuration says, in one session.

    Args:
        config: of the client.
        chain: that all run.
        on_answer: called with a line for each generated token.
    """
    questions = Prompts.read(config, chain) if config.generate else None
    samples = [] if questions else read_inputs(Path(config.input), chain.programs[0])
    found: dict[str, NDArray[Any]] = {}
    connections: list[Connection] = []
    report = Report("client")

    def work() -> None:
        server = reach(config, "server", chain)
        connections.append(server)
        agree(config, server, chain, NO_MODEL)
        dealer, seed = introduce(config, chain, server.session)
        connections.append(dealer)
        weights = Weights(config, chain, server)
        files.callback(weights.close)
        seats = set_up(chain, CLIENT, seed, server, report, opened=weights.store, known=weights.known)
        weights.seal()
        asking = _Asking(server, seats, _journal(config), report)
        if questions:
            found["tokens"] = questions.generate(asking.ask, on_answer)
        else:
            rows = [asking.ask(0, sample) for sample in samples]
            found.update(
                (f"output_{i}", np.concatenate(one)) for i, one in enumerate(zip(*rows, strict=True))
            )
        server.send(Kind.QUERY, asked(0, 0))
        server.receive(Kind.DONE, length=0)

    with ExitStack() as files:
        try:
            guarded(connections, work)
        finally:
            report.save(config.report)
    np.savez(config.output, **found)  # type: ignore[arg-type]


def _journal(config: Config) -> Journal:
    return Journal(Path(config.journal))


@dataclass(slots=True)
class _Asking:
    """An open session, seen from the client."""

    server: Connection
    seats: Sequence[tuple[Party, TlsLink]]
    journal: Journal
    report: Report
    count: int = 0

    def ask(self, index: int, sample: Mapping[str, Ring]) -> list[NDArray[np.float64]]:
        """One query to a program: the values of its outputs."""
        self.count += 1
        party, link = self.seats[index]
        version, question = query_version(self.server.session, self.count), asked(self.count, index)
        self.server.send(Kind.QUERY, question)
        start = perf_counter()
        state = party.prepare(version, sample, _nothing_is_dealt)
        self.report.offline_s.append(perf_counter() - start)
        self.journal.consume(version)
        if bytes(self.server.receive(Kind.QUERY, length=len(question))) != question:
            raise ProtocolError("the server answers another question")
        opened: dict[str, Ring] = {}

        def run() -> Usage:
            values, usage = party.run(state, link)
            opened.update(values)
            return usage

        answer(party, link, self.report, run)
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
    return [
        {step.name: encoded_input(step, arrays[step.name][i : i + 1]) for step in steps}
        for i in range(counts.pop())
    ]


def encoded_input(step: Step, value: NDArray[np.float64]) -> Ring:
    """A value as integers of the ring.

    Raises:
        DataError: if it does not fit the program's input.
    """
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
    return encoded(scaled(value, step.frac_bits))


Ask = Callable[[int, Mapping[str, Ring]], list[NDArray[np.float64]]]


@dataclass(frozen=True, slots=True)
class Prompts:
    """Texts to continue.

    Args:
        chain: the prompt's program, then one for each further token.
        tokens: ids [n, L].
        table: public embedding of each id [V, d]; without it the programs take one-hot ids.
        count: tokens to generate.
    """

    chain: Chain
    tokens: NDArray[np.int64]
    table: NDArray[np.float64] | None
    count: int

    @classmethod
    def read(cls, config: Config, chain: Chain) -> Prompts:
        """What the client's configuration names.

        Raises:
            DataError: if it does not fit the programs.
        """
        try:
            with np.load(config.input, allow_pickle=False) as content:
                tokens = np.asarray(content["tokens"], dtype=np.int64)
            table = np.load(config.table, allow_pickle=False) if config.table else None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError("no prompts", where=config.input, why=str(error)) from error
        shape = chain.programs[0].of("input")[0].shape
        size = len(table) if table is not None else shape[-1]
        if tokens.ndim != 2 or tokens.shape[1] != shape[1] or tokens.min() < 0 or tokens.max() >= size:
            why = f"the program takes {shape[1]} ids below {size}"
            raise DataError(f"prompts of shape {list(tokens.shape)}", where=config.input, why=why)
        if not 1 <= config.generate <= len(chain.programs):
            raise DataError(f"{config.generate} tokens of a chain for {len(chain.programs)}")
        return cls(chain, tokens, table, config.generate)

    def generate(self, ask: Ask, on_token: Callable[[str], None]) -> NDArray[np.int64]:
        """The tokens [n, count], greedily; the line of one is `token`, its prompt's number and its id."""
        out = np.zeros((len(self.tokens), self.count), np.int64)
        for i, prompt in enumerate(self.tokens):
            given = prompt
            for j, program in enumerate(self.chain.programs[: self.count]):
                (step,) = program.of("input")
                (found,) = ask(j, {step.name: encoded_input(step, self._rows(given, step.shape[-1]))})
                out[i, j] = round(float(found.item())) if found.size == 1 else int(found.argmax())
                on_token(f"token {i} {out[i, j]}")
                given = out[i, j : j + 1]
        return out

    def _rows(self, ids: NDArray[np.int64], size: int) -> NDArray[np.float64]:
        table = self.table
        return one_hot(ids[None], size) if table is None else np.asarray(table[ids][None], dtype=np.float64)
