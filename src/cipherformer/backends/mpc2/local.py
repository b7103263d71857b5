"""Protocols without interaction: sums and moves, products with public numbers, truncation into a narrower
ring.

On masked wires a linear map acts on the public value and on the shares of the mask alike. Truncation by t
bits drops the low bits of both: (x + r) >> t less r >> t is floor((x + (r mod 2^t)) / 2^t) modulo 2^(n - t),
one unit off at most, whatever x is; the dealer deals shares of r >> t.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cipherformer.backends.mpc2.narrow import widened
from cipherformer.backends.mpc2.program import CLIENT, SERVER, SHARES, Program, Slot, Step
from cipherformer.backends.mpc2.protocol import DealerState, Held, Masks, PartyState, Protocol, spread, whole
from cipherformer.backends.mpc2.ring import U64, Ring, linear_map, lowest, product

Map = Callable[[Step, Program, list[Ring]], Ring]


class Local(Protocol):
    """The same map of public values and of masks."""

    def __init__(self, function: Map) -> None:
        self._function = function

    def deal(self, step: Step, state: DealerState) -> tuple[list[Ring], Masks]:
        masks = state.inputs(step)
        whole, one = [m.whole for m in masks], [m.one for m in masks]
        return [], Masks(self._function(step, state.program, whole), self._function(step, state.program, one))

    def finish(self, step: Step, state: PartyState, opened: list[Ring]) -> Held:
        public = [h.public for h in state.inputs(step)]
        return Held(self._function(step, state.program, public), self.share(step, state))

    def share(self, step: Step, state: PartyState) -> Ring:
        return self._function(step, state.program, [h.share for h in state.inputs(step)])


def mapped(step: Step, program: Program, operands: list[Ring]) -> Ring:
    """A sum or a move."""
    return linear_map(step.op.removeprefix(SHARES), step.attrs, operands)


def scaled(step: Step, program: Program, operands: list[Ring]) -> Ring:
    """A product with a public array."""
    factor = program.public[step.attrs["factor"]]
    pair = (factor, operands[0]) if step.attrs["left"] else (operands[0], factor)
    return product(step.attrs["product"], step.attrs, *pair)


class Shift(Protocol):
    """x + c for public c; the mask stays."""

    def deal(self, step: Step, state: DealerState) -> tuple[list[Ring], Masks]:
        (mask,) = state.inputs(step)
        return [], Masks(spread(mask.whole, step.shape), spread(mask.one, step.shape))

    def finish(self, step: Step, state: PartyState, opened: list[Ring]) -> Held:
        (x,) = state.inputs(step)
        return Held(x.public + state.program.public[step.attrs["addend"]], self.share(step, state))

    def share(self, step: Step, state: PartyState) -> Ring:
        return spread(state.inputs(step)[0].share, step.shape)


class Truncate(Protocol):
    """Drop `bits` bits: the ring narrows with the value."""

    def dealt(self, step: Step, program: Program) -> tuple[Slot, ...]:
        return whole(step)

    def deal(self, step: Step, state: DealerState) -> tuple[list[Ring], Masks]:
        (mask,) = state.inputs(step)
        kept = np.right_shift(lowest(mask.whole, step.width + step.attrs["bits"]), U64(step.attrs["bits"]))
        return [kept], Masks(kept, state.client.draw(step.number, 0, step.shape, step.width))

    def finish(self, step: Step, state: PartyState, opened: list[Ring]) -> Held:
        (x,) = state.inputs(step)
        bits = step.attrs["bits"]
        return Held(np.right_shift(lowest(x.public, step.width + bits), U64(bits)), self.share(step, state))

    def share(self, step: Step, state: PartyState) -> Ring:
        return state.dealt[step.name][0]


class Extend(Protocol):
    """From n bits to more, for |x| < 2^(n - 2).

    With v = x + 2^(n - 2) in [0, 2^(n - 1)), v + r wraps around exactly if r has its top bit and what is
    public has not. So x = public - r + 2^n wrap - 2^(n - 2) with a dealt bit; the result is opened under a
    fresh mask.
    """

    def opened(self, step: Step, program: Program) -> tuple[Slot, ...]:
        return whole(step)

    def dealt(self, step: Step, program: Program) -> tuple[Slot, ...]:
        return (Slot(step.shape, step.width), Slot(step.shape, step.width - step.attrs["narrow"]))

    def deal(self, step: Step, state: DealerState) -> tuple[list[Ring], Masks]:
        (mask,) = state.inputs(step)
        narrow = step.attrs["narrow"]
        old, fresh = lowest(mask.whole, narrow), state.fresh(step)
        return [fresh.whole - old, np.right_shift(old, U64(narrow - 1))], fresh

    def send(self, step: Step, state: PartyState) -> list[Ring]:
        narrow = step.attrs["narrow"]
        (x,) = state.inputs(step)
        change, top = state.dealt[step.name]
        offset = U64(1 << (narrow - 2))
        shifted = lowest(x.public + offset, narrow)
        no_top = U64(1) - np.right_shift(shifted, U64(narrow - 1))
        out = change + np.left_shift(no_top * top, U64(narrow))
        return [out + shifted - offset if state.is_server else out]


class Input(Protocol):
    """The client's value: the client alone knows the mask."""

    senders = (CLIENT,)

    def opened(self, step: Step, program: Program) -> tuple[Slot, ...]:
        return whole(step)

    def deal(self, step: Step, state: DealerState) -> tuple[list[Ring], Masks]:
        one = state.fresh(step).one
        return [], Masks(one, one)

    def send(self, step: Step, state: PartyState) -> list[Ring]:
        return [] if state.is_server else [widened(state.secrets[step.name]) + state.fresh(step)]

    def share(self, step: Step, state: PartyState) -> Ring:
        return np.zeros(step.shape, U64) if state.is_server else state.fresh(step)


class Weight(Protocol):
    """The server's value, opened once for each model: the server alone knows the mask."""

    senders = (SERVER,)

    def opened(self, step: Step, program: Program) -> tuple[Slot, ...]:
        return whole(step)

    def deal(self, step: Step, state: DealerState) -> tuple[list[Ring], Masks]:
        mask = state.server.draw(step.number, 0, step.shape, step.width)
        return [], Masks(mask, np.zeros(step.shape, U64))

    def send(self, step: Step, state: PartyState) -> list[Ring]:
        return [widened(state.secrets[step.name]) + self.share(step, state)] if state.is_server else []

    def share(self, step: Step, state: PartyState) -> Ring:
        if not state.is_server:
            return np.zeros(step.shape, U64)
        return state.stream.draw(step.number, 0, step.shape, step.width)


class Reveal(Protocol):
    """The server sends its share of the mask: the client learns the value, and nobody else does."""

    senders = (SERVER,)

    def opened(self, step: Step, program: Program) -> tuple[Slot, ...]:
        return whole(step)

    def deal(self, step: Step, state: DealerState) -> tuple[list[Ring], Masks]:
        return [], state.inputs(step)[0]

    def send(self, step: Step, state: PartyState) -> list[Ring]:
        return [state.inputs(step)[0].share] if state.is_server else []

    def finish(self, step: Step, state: PartyState, opened: list[Ring]) -> Held:
        (x,) = state.inputs(step)
        value = x.public if state.is_server else x.public - x.share - opened[0]
        return Held(lowest(value, step.width), x.share)
