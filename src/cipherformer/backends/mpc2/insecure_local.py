"""Both parties and the dealer in one process: for tests and for pricing. Nothing is secret here."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.backends.integers import scaled
from cipherformer.backends.mpc2.chain import Chain
from cipherformer.backends.mpc2.compile import Compiled
from cipherformer.backends.mpc2.dealer import Kept, Seeds, material
from cipherformer.backends.mpc2.party import Party, Usage, answers
from cipherformer.backends.mpc2.prg import fresh_seed
from cipherformer.backends.mpc2.program import CLIENT, SERVER, Program
from cipherformer.backends.mpc2.ring import Ring, encoded

_TIMEOUT_S = 120.0


@dataclass(slots=True)
class InsecureLink:
    """One end of a pair of queues; keeps what it received."""

    sending: queue.SimpleQueue[bytes]
    receiving: queue.SimpleQueue[bytes]
    received: dict[int, bytes] = field(default_factory=dict)

    def exchange(
        self, turn: int, payload: bytes, expected: int, meanwhile: Callable[[], None] = lambda: None
    ) -> bytes:
        """One round."""
        if payload:
            self.sending.put(payload)
        meanwhile()
        data = self.receiving.get(timeout=_TIMEOUT_S) if expected else b""
        self.received[turn] = data
        return data


@dataclass(frozen=True, slots=True)
class InsecureRun:
    """What a run in one process showed.

    Args:
        integers: of the outputs.
        usage: of server and client.
        links: of server and client, with the frames they received.
        dealt_bytes: that the dealer sent.
    """

    integers: list[NDArray[np.int64]]
    usage: tuple[Usage, Usage]
    links: tuple[InsecureLink, InsecureLink]
    dealt_bytes: int


def insecure_run(
    compiled: Compiled,
    inputs: Mapping[str, NDArray[Any]],
    *,
    seeds: Seeds | None = None,
    version: bytes = b"query 0",
) -> InsecureRun:
    """One query, both parties as threads."""
    program = compiled.program
    seeds = seeds or Seeds(fresh_seed(), fresh_seed())
    dealt = list(material(program, seeds, version))
    online = iter(dealt)
    links = _links()
    parties = (
        Party(program, SERVER, seeds.server, compiled.weights),
        Party(program, CLIENT, seeds.client, {}),
    )
    own: tuple[Mapping[str, Ring], ...] = ({}, client_integers(program, inputs))
    found: list[tuple[dict[str, Ring], Usage]] = [({}, Usage()), ({}, Usage())]

    def work(me: int) -> None:
        parties[me].set_up(links[me])
        state = parties[me].prepare(version, own[me], lambda step, size: next(online))
        found[me] = parties[me].run(state, links[me])

    _both(work)
    total = sum(map(len, dealt))
    return InsecureRun(answers(program, found[CLIENT][0]), (found[0][1], found[1][1]), links, total)


class InsecureSession:
    """Queries to the programs of a chain, one after the other, both parties as threads."""

    def __init__(self, chain: Chain) -> None:
        self.seeds, self._chain, self._count = Seeds(fresh_seed(), fresh_seed()), chain, 0
        self._kept: Kept = {}
        self._links = _links()
        first = chain.programs[0]
        parties = (
            Party(first, SERVER, self.seeds.server, chain.weights),
            Party(first, CLIENT, self.seeds.client, {}),
        )
        _both(lambda me: parties[me].set_up(self._links[me]))
        self._parties = [tuple(party.next(program) for party in parties) for program in chain.programs]

    def ask(self, index: int, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[np.int64]]:
        """One query to a program: integers of its outputs."""
        self._count += 1
        program, parties, version = self._chain.programs[index], self._parties[index], self.version
        dealt = iter(list(material(program, self.seeds, version, self._kept)))
        own: tuple[Mapping[str, Ring], ...] = ({}, client_integers(program, inputs))
        found: dict[int, dict[str, Ring]] = {}

        def work(me: int) -> None:
            state = parties[me].prepare(version, own[me], lambda step, size: next(dealt))
            found[me] = parties[me].run(state, self._links[me])[0]

        _both(work)
        return answers(program, found[CLIENT])

    @property
    def version(self) -> bytes:
        """Of the last query's randomness."""
        return f"query {self._count}".encode()


def _links() -> tuple[InsecureLink, InsecureLink]:
    one: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    two: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    return InsecureLink(one, two), InsecureLink(two, one)


def _both(work: Callable[[int], None]) -> None:
    """The server's work in a thread, the client's here."""
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work(SERVER)
        except BaseException as error:
            failures.append(error)
            raise

    server = threading.Thread(target=guarded, daemon=True)
    server.start()
    work(CLIENT)
    server.join(_TIMEOUT_S)
    if failures:
        raise failures[0]


def client_integers(program: Program, inputs: Mapping[str, NDArray[Any]]) -> dict[str, Ring]:
    """The client's numbers as integers of the ring."""
    return {
        step.name: encoded(scaled(np.asarray(inputs[step.name], dtype=np.float64), step.frac_bits))
        for step in program.of("input")
    }
