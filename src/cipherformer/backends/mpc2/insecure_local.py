"""Both parties and the dealer in one process: for tests and for pricing. Nothing is secret here."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.backends.integers import scaled
from cipherformer.backends.mpc2.compile import Compiled
from cipherformer.backends.mpc2.dealer import Seeds, material
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

    def exchange(self, turn: int, payload: bytes, expected: int) -> bytes:
        """One round."""
        if payload:
            self.sending.put(payload)
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
    one: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    two: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    links = (InsecureLink(one, two), InsecureLink(two, one))
    parties = (
        Party(program, SERVER, seeds.server, compiled.weights),
        Party(program, CLIENT, seeds.client, {}),
    )
    own: tuple[Mapping[str, Ring], ...] = ({}, client_integers(program, inputs))
    found: list[tuple[dict[str, Ring], Usage]] = [({}, Usage()), ({}, Usage())]
    failures: list[BaseException] = []

    def work(me: int) -> None:
        try:
            parties[me].set_up(links[me])
            state = parties[me].prepare(version, own[me], lambda step, size: next(online))
            found[me] = parties[me].run(state, links[me])
        except BaseException as error:
            failures.append(error)
            raise

    server = threading.Thread(target=work, args=(SERVER,), daemon=True)
    server.start()
    work(CLIENT)
    server.join(_TIMEOUT_S)
    if failures:
        raise failures[0]
    total = sum(map(len, dealt))
    return InsecureRun(answers(program, found[CLIENT][0]), (found[0][1], found[1][1]), links, total)


def client_integers(program: Program, inputs: Mapping[str, NDArray[Any]]) -> dict[str, Ring]:
    """The client's numbers as integers of the ring."""
    return {
        step.name: encoded(scaled(np.asarray(inputs[step.name], dtype=np.float64), step.frac_bits))
        for step in program.of("input")
    }
