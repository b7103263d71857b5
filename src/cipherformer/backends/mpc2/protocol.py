"""What a protocol is: code for the dealer and for a party, and its cost, from the step alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.backends.mpc2.narrow import Narrow
from cipherformer.backends.mpc2.prg import Stream
from cipherformer.backends.mpc2.program import CLIENT, SERVER, Program, Slot, Step
from cipherformer.backends.mpc2.ring import Ring, lowest

Dealt = list[NDArray[Any]]
"""Material of a step: integers, or bytes where they stay packed."""
MASK_SLOT, PRIVATE_SLOT = 1000, 2000
ZERO = np.zeros((), np.uint64)


@dataclass(frozen=True, slots=True)
class Masks:
    """What the dealer knows of a wire or of bits.

    Args:
        whole: the mask; bits are exclusive-ored with it, wires added to it.
        one: the client's share of it.
        parts: further masks, for the steps inside a comparison.
    """

    whole: Ring
    one: Ring
    parts: tuple[Ring, ...] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """What a party knows of a wire or of bits.

    Args:
        public: value plus mask, equal at both.
        share: of the mask of a wire; of the bits themselves inside a comparison.
        parts: further shares of the latter kind.
    """

    public: Ring
    share: Ring
    parts: tuple[Ring, ...] = ()


@dataclass(frozen=True, slots=True)
class DealerState:
    """One walk of the dealer through a program; `weight` makes a weight's masks whenever asked for."""

    program: Program
    steps: Mapping[str, Step]
    server: Stream
    client: Stream
    own: Stream
    weight: Callable[[Step], Masks]
    known: dict[str, Masks] = field(default_factory=dict)
    kept: dict[int, Masks] = field(default_factory=dict)
    masked: bool = True

    def fresh(self, step: Step, *, xor: bool = False) -> Masks:
        """The mask that both parties draw their shares of; zero for what stays unopened."""
        if not self.masked:
            return Masks(ZERO, ZERO)
        zero = self.server.draw(step.number, MASK_SLOT, step.shape, step.width)
        one = self.client.draw(step.number, MASK_SLOT, step.shape, step.width)
        return Masks(zero ^ one if xor else lowest(zero + one, step.width), one)

    def private(self, step: Step, slot: int, shape: tuple[int, ...], width: int) -> Ring:
        """Random bits that no party holds a share of yet."""
        return self.own.draw(step.number, PRIVATE_SLOT + slot, shape, width)

    def inputs(self, step: Step) -> list[Masks]:
        """Masks of the operands."""
        return [self.known.get(name) or self.weight(self.steps[name]) for name in step.inputs]


@dataclass(frozen=True, slots=True)
class PartyState:
    """One run of a party.

    Args:
        program: that it runs.
        steps: of it, by name.
        me: `SERVER` or `CLIENT`.
        stream: that its shares are drawn from.
        weight: makes what it knows of a weight, whenever that is asked for.
        known: wires and bits that something still reads.
        dealt: material of the round's steps.
        secrets: the server's weights, the client's inputs.
        ahead: products of the client's shares of masks with the weights, made before the run.
        kept: wires that outlive their query, by slot.
        masked: false while a step is run of which nothing is opened.
    """

    program: Program
    steps: Mapping[str, Step]
    me: int
    stream: Stream
    weight: Callable[[Step], Held]
    known: dict[str, Held] = field(default_factory=dict)
    dealt: dict[str, Dealt] = field(default_factory=dict)
    secrets: Mapping[str, Ring | Narrow] = field(default_factory=dict)
    ahead: dict[str, Ring] = field(default_factory=dict)
    kept: dict[int, Held] = field(default_factory=dict)
    masked: bool = True

    @property
    def is_server(self) -> bool:
        """Which party adds what is public."""
        return self.me == SERVER

    def fresh(self, step: Step) -> Ring:
        """This party's share of the mask of what the step opens."""
        if not self.masked:
            return ZERO
        return self.stream.draw(step.number, MASK_SLOT, step.shape, step.width)

    def inputs(self, step: Step) -> list[Held]:
        """What is known of the operands."""
        return [self.wire(name) for name in step.inputs]

    def wire(self, name: str) -> Held:
        """What is known of one."""
        return self.known.get(name) or self.weight(self.steps[name])


class Protocol(ABC):
    """A protocol. Local ones open nothing; `senders` says who sends what is opened, `works_ahead` whether the
    client can compute before the run, `stays_packed` that `deal` gives packed shares, and that parties read
    them packed.
    """

    senders: Sequence[int] = (SERVER, CLIENT)
    xor: bool = False
    works_ahead: bool = False
    stays_packed: bool = False

    def opened(self, step: Step, program: Program) -> tuple[Slot, ...]:
        """What each sender sends."""
        return ()

    def dealt(self, step: Step, program: Program) -> tuple[Slot, ...]:
        """What the dealer sends to the server and the client draws."""
        return ()

    def warm(self, step: Step) -> None:
        """What a party can do once for all queries."""
        return

    def ahead(self, step: Step, state: PartyState) -> Ring:
        """What the client computes before the run, from its shares of masks."""
        raise NotImplementedError(step.op)

    @abstractmethod
    def deal(self, step: Step, state: DealerState) -> tuple[Dealt, Masks]:
        """The arrays behind `dealt`, not yet shared, and the mask of the result."""

    def send(self, step: Step, state: PartyState) -> list[Ring]:
        """This party's part of `opened`."""
        return []

    def share(self, step: Step, state: PartyState) -> Ring:
        """This party's share of the result's mask, which it knows before the run."""
        return state.fresh(step)

    def finish(self, step: Step, state: PartyState, opened: list[Ring]) -> Held:
        """The result, from the sum (or exclusive or) of what was sent."""
        return Held(opened[0], self.share(step, state))


def whole(step: Step) -> tuple[Slot, ...]:
    """The slot of a result that is opened."""
    return (Slot(step.shape, step.width),)


def spread(value: Ring, shape: tuple[int, ...]) -> Ring:
    """value broadcast to a shape."""
    return value if value.shape == shape else np.broadcast_to(value, shape)
