"""The dealer: derives all correlated randomness of a program from two seeds, before anybody has an input.

It needs the program and the seeds, nothing of weights and inputs. The client draws its shares from its seed;
the server draws its shares of masks likewise, and is sent, for everything dealt, the value less the client's
share.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from cipherformer.backends.mpc2.prg import Stream
from cipherformer.backends.mpc2.program import SHARES, Program, Step
from cipherformer.backends.mpc2.protocol import DealerState, Dealt, Masks
from cipherformer.backends.mpc2.protocols import PROTOCOLS
from cipherformer.backends.mpc2.ring import Ring, completed

MODEL = b"model"
Kept = dict[int, Masks]
_NOTHING = np.zeros(0, np.uint8)
_NEEDS_MASK = ("trunc", "fourier", f"{SHARES}trunc", f"{SHARES}fourier")


@dataclass(frozen=True, slots=True)
class Seeds:
    """What the dealer hands out: the server gets one, the client the other.

    Args:
        server: for one session.
        client: likewise.
        epoch: of the weights' masks, the server's own, for as long as the weights stay; by default `server`.
    """

    server: bytes
    client: bytes
    epoch: bytes = b""

    @property
    def own(self) -> bytes:
        """A seed that only who knows both can make."""
        return hashlib.sha256(b"cipherformer mpc2 dealer" + self.server + self.client).digest()


def _state(program: Program, seeds: Seeds, version: bytes, kept: Kept) -> DealerState:
    server, client, own = (Stream(seed, version) for seed in (seeds.server, seeds.client, seeds.own))
    epoch = Stream(seeds.epoch or seeds.server, MODEL)

    def weight(step: Step) -> Masks:
        return PROTOCOLS["weight"].deal(step, replace(state, server=epoch))[1]

    state = DealerState(program, program.by_name(), server, client, own, weight, kept=kept)
    return state


def _walk(
    program: Program, seeds: Seeds, version: bytes, kept: Kept
) -> Iterator[tuple[Step, Dealt, DealerState]]:
    """Each online step with what is dealt for it; masks of wires that nothing reads any more are dropped."""
    state = _state(program, seeds, version, kept)
    last = {name: i for i, step in enumerate(program.steps) for name in step.inputs}
    for i, step in enumerate(program.steps):
        if step.op == "weight":
            continue
        arrays, state.known[step.name] = PROTOCOLS[step.op].deal(step, state)
        yield step, arrays, state
        for name in dict.fromkeys((*step.inputs, step.name)):
            if last.get(name, i) == i:
                state.known.pop(name, None)


def material(
    program: Program, seeds: Seeds, version: bytes, kept: Kept | None = None
) -> Iterator[memoryview]:
    """What the server is sent for one query: one packed string for each online step, in order.

    Args:
        program: that the parties run.
        seeds: of this model epoch.
        version: of the query; never used twice.
        kept: masks of wires that outlive their query, for the whole session.
    """
    for step, arrays, state in _walk(program, seeds, version, {} if kept is None else kept):
        protocol = PROTOCOLS[step.op]
        parts = []
        for i, (slot, value) in enumerate(zip(protocol.dealt(step, program), arrays, strict=True)):
            if protocol.stays_packed:
                parts.append(value)
                continue
            one = state.client.packed(step.number, i, slot.shape, slot.width)
            parts.append(completed(one, value, slot.width, xor=protocol.xor))
        yield (parts[0] if len(parts) == 1 else np.concatenate([_NOTHING, *parts])).data


def insecure_tape(
    program: Program, seeds: Seeds, version: bytes, kept: Kept | None = None
) -> Mapping[str, Ring]:
    """The masks on which roundings depend, for `fixed` to repeat a run bit for bit: they uncover every value.

    Returns:
        For each truncation and each sum of waves, the mask of its operand.
    """
    tape: dict[str, Ring] = {}
    for step, _, state in _walk(program, seeds, version, {} if kept is None else kept):
        if step.op in _NEEDS_MASK:
            tape[step.name] = state.known[step.inputs[0]].whole
    return tape
