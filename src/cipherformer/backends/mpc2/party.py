"""A party: runs a program round by round, with whatever brings frames to the other one and material from the
dealer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol as Interface

import numpy as np

from cipherformer.backends.mpc2.dealer import MODEL
from cipherformer.backends.mpc2.narrow import Narrow
from cipherformer.backends.mpc2.prg import Stream
from cipherformer.backends.mpc2.program import CLIENT, SERVER, Program, Step
from cipherformer.backends.mpc2.protocol import Dealt, Held, PartyState
from cipherformer.backends.mpc2.protocols import PROTOCOLS, dealt_bytes, opens, sent_bytes
from cipherformer.backends.mpc2.ring import Ring, lowest, packed, signed, unpacked
from cipherformer.backends.mpc2.store import Store
from cipherformer.errors import CompileError

SETUP_ROUND = 0xFFFFFFFF
"""Turn of weight number 0; the others count down."""

_NOTHING = np.zeros(0, np.uint64)


class Link(Interface):
    """The way to the other party."""

    def exchange(
        self, turn: int, payload: bytes, expected: int, meanwhile: Callable[[], None] = lambda: None
    ) -> bytes | bytearray:
        """Sends a payload (nothing if empty) and returns the other's of this round, of exactly `expected`
        bytes; `meanwhile` is called in between.
        """
        ...


Supply = Callable[[Step, int], bytes | bytearray | memoryview]
"""The server's material: what the dealer sent for a step, of exactly so many bytes."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """One query's randomness, used up by a run.

    Args:
        state: of the run.
        store: the server's material.
    """

    state: PartyState
    store: Store

    def material(self, step: Step) -> Dealt:
        """What was dealt for a step: read at the server, drawn at the client."""
        state, protocol = self.state, PROTOCOLS[step.op]
        slots = protocol.dealt(step, state.program)
        if not state.is_server:
            draw = state.stream.packed if protocol.stays_packed else state.stream.draw
            return [draw(step.number, i, slot.shape, slot.width) for i, slot in enumerate(slots)]
        data = np.frombuffer(self.store.take(step.name), np.uint8)
        parts = np.split(data, np.cumsum([slot.bytes for slot in slots])[:-1]) if slots else []
        if protocol.stays_packed:
            return list(parts)
        return [unpacked(part.data, slot.shape, slot.width) for part, slot in zip(parts, slots, strict=True)]


@dataclass(slots=True)
class Usage:
    """What a run took, by step.

    Args:
        sent: payload bytes, by step name.
        seconds: computing, by step name.
        rounds: in which something was exchanged.
        waited_s: waiting for the other party.
    """

    sent: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    rounds: int = 0
    waited_s: float = 0.0


class Party:
    """One of the two.

    Args:
        program: the steps.
        me: `SERVER` or `CLIENT`.
        seed: from the dealer.
        weights: the server's integers; empty at the client.
        epoch: seed of the weights' masks, at the server; by default that of the dealer.
        opened: the client's store of the weights' masked values, perhaps from an earlier session.
    """

    def __init__(
        self,
        program: Program,
        me: int,
        seed: bytes,
        weights: Mapping[str, Ring | Narrow],
        *,
        epoch: bytes = b"",
        opened: Store | None = None,
    ) -> None:
        self.program, self.me, self._seed = program, me, seed
        self._steps = program.by_name()
        self._weights, self._epoch = weights, epoch
        self._opened = opened or Store()
        stream = Stream(epoch or seed, MODEL)
        self._model = PartyState(program, self._steps, me, stream, self._weight, secrets=weights)
        self._kept: dict[int, Held] = {}

    def set_up(self, link: Link, *, known: bool = False) -> None:
        """Opens the weights' masked values, one in each frame.

        Args:
            link: to the other party.
            known: the client has them from an earlier session of this epoch, and nothing is sent.
        """
        for step in self.program.steps:
            PROTOCOLS[step.op].warm(step)
        for step in self.program.of("weight") if not known else ():
            (slot,) = PROTOCOLS["weight"].opened(step, self.program)
            if self.me == SERVER:
                (value,) = PROTOCOLS["weight"].send(step, self._model)
                link.exchange(SETUP_ROUND - step.number, packed(value, slot.width), 0)
            else:
                self._opened.put(step.name, link.exchange(SETUP_ROUND - step.number, b"", slot.bytes))

    def _weight(self, step: Step) -> Held:
        """What is known of a weight; nothing of it is kept in memory."""
        protocol = PROTOCOLS["weight"]
        if self.me == SERVER:
            return protocol.finish(step, self._model, protocol.send(step, self._model))
        data = memoryview(self._opened.get(step.name))
        return protocol.finish(step, self._model, [unpacked(data, step.shape, step.width)])

    def next(self, program: Program) -> Party:
        """The same party for another program of a chain: weights are open already, kept wires are there."""
        other = Party(program, self.me, self._seed, self._weights, epoch=self._epoch, opened=self._opened)
        other._kept = self._kept
        for step in program.steps:
            PROTOCOLS[step.op].warm(step)
        return other

    def prepare(
        self,
        version: bytes,
        inputs: Mapping[str, Ring],
        supply: Supply,
        store: Store | None = None,
    ) -> Prepared:
        """Collects the material of one query, and does what needs no input.

        Args:
            version: of the query, as the dealer has it.
            inputs: the client's integers; empty at the server.
            supply: brings the server's material; not called at the client.
            store: that the server keeps it in until the run; by default memory.
        """
        secrets = self._model.secrets if self.me == SERVER else inputs
        stream = Stream(self._seed, version)
        state = PartyState(
            self.program, self._steps, self.me, stream, self._weight, secrets=secrets, kept=self._kept
        )
        prepared = Prepared(state, store or Store())
        if self.me == CLIENT:
            self._work_ahead(prepared)
            return prepared
        for step in self.program.steps:
            if step.op != "weight":
                prepared.store.put(step.name, supply(step, dealt_bytes(step, self.program)))
        return prepared

    def _work_ahead(self, prepared: Prepared) -> None:
        """The client's products with weights, from its shares of masks: it can draw them all."""
        state = prepared.state
        online = [step for step in self.program.steps if step.op != "weight"]
        wanted: set[str] = set()
        for step in reversed(online):
            if PROTOCOLS[step.op].works_ahead or (step.name in wanted and not opens(step)):
                wanted.update(step.inputs)
        last = {name: step.name for step in online for name in step.inputs if name in wanted}
        for step in online:
            protocol = PROTOCOLS[step.op]
            if protocol.works_ahead:
                state.ahead[step.name] = protocol.ahead(step, state)
            if step.name in wanted:
                state.dealt[step.name] = prepared.material(step) if step.op == "trunc" else []
                state.known[step.name] = Held(_NOTHING, protocol.share(step, state))
            for name in [name for name in step.inputs if last.get(name) == step.name]:
                state.known.pop(name, None)
        state.known.clear()
        state.dealt.clear()

    def run(self, prepared: Prepared, link: Link) -> tuple[dict[str, Ring], Usage]:
        """Answers one query with prepared material, which is used up.

        Returns:
            At the client the integers of the outputs, modulo 2^width; at the server masked ones.
        """
        usage, state = Usage(), prepared.state
        last = {name: step.name for step in self.program.steps for name in step.inputs}
        rounds = list(self.program.rounds())
        for (turn, steps), (_, following) in zip(rounds, [*rounds[1:], (0, [])], strict=True):
            self._round(prepared, turn, steps, following, link, usage)
            done = {step.name for step in steps}
            for name in [n for n in state.known if last.get(n) in done and n not in self.program.outputs]:
                del state.known[name]
        return {name: state.known[name].public for name in self.program.outputs}, usage

    def _round(
        self,
        prepared: Prepared,
        turn: int,
        steps: list[Step],
        following: list[Step],
        link: Link,
        usage: Usage,
    ) -> None:
        """One round; while the other party's frame is on its way, material of the following one is made."""
        state = prepared.state
        payload, opening = [], []
        _fetch(prepared, steps, usage)
        for step in steps:
            start = perf_counter()
            protocol = PROTOCOLS[step.op]
            if not opens(step):
                state.known[step.name] = protocol.finish(step, state, [])
                state.dealt.pop(step.name, None)
            else:
                own = protocol.send(step, state) if self.me in protocol.senders else []
                slots = protocol.opened(step, self.program)
                own = [lowest(part, slot.width) for part, slot in zip(own, slots, strict=bool(own))]
                data = b"".join(packed(part, slot.width) for part, slot in zip(own, slots, strict=bool(own)))
                usage.sent[step.name] = len(data)
                payload.append(data)
                opening.append((step, own))
            usage.seconds[step.name] += perf_counter() - start
        if opening:
            start, before = perf_counter(), sum(usage.seconds.values())
            expected = sum(sent_bytes(step, self.program, SERVER + CLIENT - self.me) for step, _ in opening)
            frame = b"".join(payload)
            found = link.exchange(turn, frame, expected, lambda: _fetch(prepared, following, usage))
            usage.waited_s += perf_counter() - start - sum(usage.seconds.values()) + before
            usage.rounds += 1
            if len(found) != expected:
                raise CompileError(f"round {turn} brought {len(found)} bytes, not {expected}")
            self._open(state, opening, memoryview(found), usage)

    def _open(
        self,
        state: PartyState,
        opening: list[tuple[Step, list[Ring]]],
        data: memoryview,
        usage: Usage,
    ) -> None:
        position = 0
        for step, own in opening:
            start = perf_counter()
            protocol = PROTOCOLS[step.op]
            opened = []
            for i, slot in enumerate(protocol.opened(step, self.program)):
                total = own[i] if own else np.zeros(slot.shape, np.uint64)
                if SERVER + CLIENT - self.me in protocol.senders:
                    other = unpacked(data[position : position + slot.bytes], slot.shape, slot.width)
                    position += slot.bytes
                    total = total ^ other if protocol.xor else lowest(total + other, slot.width)
                opened.append(total)
            state.known[step.name] = protocol.finish(step, state, opened)
            state.dealt.pop(step.name, None)
            usage.seconds[step.name] += perf_counter() - start


def _fetch(prepared: Prepared, steps: list[Step], usage: Usage) -> None:
    """Material of a round's steps, unless it is there already."""
    for step in steps:
        if step.name not in prepared.state.dealt:
            start = perf_counter()
            prepared.state.dealt[step.name] = prepared.material(step)
            usage.seconds[step.name] = perf_counter() - start


def answers(program: Program, opened: Mapping[str, Ring]) -> list[np.ndarray]:
    """Signed integers of the outputs, in order, at the client."""
    steps = program.by_name()
    return [signed(opened[name], steps[name].width) for name in program.outputs]
