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
from cipherformer.backends.mpc2.prg import Stream
from cipherformer.backends.mpc2.program import CLIENT, SERVER, Program, Step
from cipherformer.backends.mpc2.protocol import Held, PartyState
from cipherformer.backends.mpc2.protocols import PROTOCOLS, opens, sent_bytes
from cipherformer.backends.mpc2.ring import Ring, lowest, packed, signed, unpacked
from cipherformer.errors import CompileError

SETUP_ROUND = 0xFFFFFFFF


class Link(Interface):
    """The way to the other party."""

    def exchange(self, turn: int, payload: bytes, expected: int) -> bytes | bytearray:
        """Sends a payload (nothing if empty) and returns the other's of this round, of exactly `expected`
        bytes.
        """
        ...


Supply = Callable[[Step, int], bytes | bytearray]
"""The server's material: what the dealer sent for a step, of exactly so many bytes."""


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
    """

    def __init__(self, program: Program, me: int, seed: bytes, weights: Mapping[str, Ring]) -> None:
        self.program, self.me, self._seed = program, me, seed
        self._weights = dict(weights)
        self._steps = program.by_name()
        self._model: dict[str, Held] = {}
        self._kept: dict[int, Held] = {}

    def set_up(self, link: Link) -> None:
        """Opens the weights' masked values, once for each model and pair of seeds."""
        for step in self.program.steps:
            PROTOCOLS[step.op].warm(step)
        state = self._state(MODEL, {})
        self._round(state, SETUP_ROUND, list(self.program.of("weight")), link, Usage())
        self._model = dict(state.known)

    def next(self, program: Program) -> Party:
        """The same party for another program of a chain: weights are open already, kept wires are there."""
        other = Party(program, self.me, self._seed, self._weights)
        other._model, other._kept = self._model, self._kept
        for step in program.steps:
            PROTOCOLS[step.op].warm(step)
        return other

    def prepare(self, version: bytes, inputs: Mapping[str, Ring], supply: Supply) -> PartyState:
        """Collects the material of one query.

        Args:
            version: of the query, as the dealer has it.
            inputs: the client's integers; empty at the server.
            supply: brings the server's material; not called at the client.
        """
        state = self._state(version, inputs)
        for step in self.program.steps:
            if step.op == "weight":
                continue
            slots = PROTOCOLS[step.op].dealt(step, self.program)
            if self.me == CLIENT:
                state.dealt[step.name] = [
                    state.stream.draw(step.number, i, slot.shape, slot.width) for i, slot in enumerate(slots)
                ]
                continue
            data = memoryview(supply(step, sum(slot.bytes for slot in slots)))
            arrays, start = [], 0
            for slot in slots:
                arrays.append(unpacked(data[start : start + slot.bytes], slot.shape, slot.width))
                start += slot.bytes
            state.dealt[step.name] = arrays
        return state

    def run(self, state: PartyState, link: Link) -> tuple[dict[str, Ring], Usage]:
        """Answers one query with prepared material, which is used up.

        Returns:
            At the client the integers of the outputs, modulo 2^width; at the server masked ones.
        """
        usage = Usage()
        state.known.update(self._model)
        last = {name: step.name for step in self.program.steps for name in step.inputs}
        for turn, steps in self.program.rounds():
            self._round(state, turn, steps, link, usage)
            done = {step.name for step in steps}
            for name in [n for n in state.known if last.get(n) in done and n not in self.program.outputs]:
                del state.known[name]
        return {name: state.known[name].public for name in self.program.outputs}, usage

    def _state(self, version: bytes, inputs: Mapping[str, Ring]) -> PartyState:
        stream = Stream(self._seed, version)
        secrets = {**self._weights, **inputs}
        return PartyState(self.program, self._steps, self.me, stream, secrets=secrets, kept=self._kept)

    def _round(self, state: PartyState, turn: int, steps: list[Step], link: Link, usage: Usage) -> None:
        payload, opening = [], []
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
            usage.seconds[step.name] = usage.seconds.get(step.name, 0.0) + perf_counter() - start
        if opening:
            self._open(state, turn, opening, b"".join(payload), link, usage)

    def _open(
        self,
        state: PartyState,
        turn: int,
        opening: list[tuple[Step, list[Ring]]],
        payload: bytes,
        link: Link,
        usage: Usage,
    ) -> None:
        expected = sum(sent_bytes(step, self.program, SERVER + CLIENT - self.me) for step, _ in opening)
        start = perf_counter()
        data = memoryview(link.exchange(turn, payload, expected))
        usage.waited_s += perf_counter() - start
        usage.rounds += 1
        if len(data) != expected:
            raise CompileError(f"round {turn} brought {len(data)} bytes, not {expected}")
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


def answers(program: Program, opened: Mapping[str, Ring]) -> list[np.ndarray]:
    """Signed integers of the outputs, in order, at the client."""
    steps = program.by_name()
    return [signed(opened[name], steps[name].width) for name in program.outputs]
