"""Protocols on additive shares, x = x_0 + x_1 modulo 2^64: products by dealt correlations, truncation by an
opening of its own.

What reads secret values opens them first under fresh masks (`open`): what is public then is a masked wire,
and the protocols of masked wires apply, but leave their result as shares, unopened and untruncated. A linear
map acts on each share alone. A wire is x^ - [r]_0 at the server and -[r]_1 at the client, so nothing is sent
on the way back. `on_shares` rewrites a compiled program so.

Sources: Beaver, CRYPTO 1991 (products); Dalskov, Escudero and Keller, PoPETs 2020 (truncation from a dealt
mask, its shifted value and its top bit).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cipherformer.approx.fourier import integer_waves
from cipherformer.backends.mpc2.local import Map
from cipherformer.backends.mpc2.program import BITS, SERVER, SHARES, WIRES, Program, Slot, Step
from cipherformer.backends.mpc2.protocol import (
    DealerState,
    Dealt,
    Held,
    Masks,
    PartyState,
    Protocol,
    spread,
    whole,
)
from cipherformer.backends.mpc2.ring import U64, WORD, Ring, lowest

_NOTHING = np.zeros(0, U64)
_UNKNOWN = Masks(_NOTHING, _NOTHING)
"""The dealer knows nothing of shares."""

READS_WIRES = ("product", "weighted", "gate", "trunc", "fourier", "compare")


class OnShares(Protocol):
    """The same map of each share; `shift` and other affine ones say who adds the constant."""

    def __init__(self, function: Map) -> None:
        self._function = function

    def deal(self, step: Step, state: DealerState) -> tuple[list[Ring], Masks]:
        return [], _UNKNOWN

    def finish(self, step: Step, state: PartyState, opened: list[Ring]) -> Held:
        return Held(_NOTHING, self._function(step, state.program, [h.share for h in state.inputs(step)]))


class ShiftShares(OnShares):
    """x + c for public c: the server adds it."""

    def __init__(self) -> None:
        super().__init__(lambda step, program, operands: operands[0])

    def finish(self, step: Step, state: PartyState, opened: list[Ring]) -> Held:
        (x,) = state.inputs(step)
        own = spread(x.share, step.shape)
        return Held(_NOTHING, own + state.program.public[step.attrs["addend"]] if state.is_server else own)


class FromWire(Protocol):
    """A wire as shares."""

    def deal(self, step: Step, state: DealerState) -> tuple[list[Ring], Masks]:
        return [], _UNKNOWN

    def finish(self, step: Step, state: PartyState, opened: list[Ring]) -> Held:
        (x,) = state.inputs(step)
        return Held(_NOTHING, x.public - x.share if state.is_server else U64(0) - x.share)


class Open(Protocol):
    """Shares as a wire, under a fresh mask: modulo 2^width, as much as its readers need."""

    def opened(self, step: Step, program: Program) -> tuple[Slot, ...]:
        return whole(step)

    def deal(self, step: Step, state: DealerState) -> tuple[list[Ring], Masks]:
        return [], state.fresh(step)

    def send(self, step: Step, state: PartyState) -> list[Ring]:
        return [state.inputs(step)[0].share + state.fresh(step)]


class Unopened(Protocol):
    """A protocol of masked wires without its last opening: what each party would send is its share."""

    def __init__(self, inner: Protocol) -> None:
        self._inner = inner
        self.works_ahead, self.stays_packed = inner.works_ahead, inner.stays_packed

    def dealt(self, step: Step, program: Program) -> tuple[Slot, ...]:
        return self._inner.dealt(step, program)

    def warm(self, step: Step) -> None:
        self._inner.warm(step)

    def ahead(self, step: Step, state: PartyState) -> Ring:
        return self._inner.ahead(step, state)

    def deal(self, step: Step, state: DealerState) -> tuple[Dealt, Masks]:
        return self._inner.deal(step, replace(state, masked=False))[0], _UNKNOWN

    def finish(self, step: Step, state: PartyState, opened: list[Ring]) -> Held:
        (share,) = self._inner.send(step, replace(state, masked=False))
        return Held(_NOTHING, share)


class TruncateOpened(Protocol):
    """Drop `bits` bits of an opened x in the same ring, for |x| < 2^62.

    With v = x + 2^62 in [0, 2^63), v + r wraps around exactly if r has its top bit and what is public has
    not: x >> t is (v^ >> t) - (r >> t) + 2^(64 - t) wrap - 2^(62 - t), rounded as for masked wires. Dealt are
    r >> t and the top bit of r modulo 2^t, which is all of it that counts.
    """

    def dealt(self, step: Step, program: Program) -> tuple[Slot, ...]:
        return Slot(step.shape, WORD), Slot(step.shape, step.attrs["bits"])

    def deal(self, step: Step, state: DealerState) -> tuple[list[Ring], Masks]:
        (mask,) = state.inputs(step)
        kept = np.right_shift(mask.whole, U64(step.attrs["bits"]))
        return [kept, np.right_shift(mask.whole, U64(WORD - 1))], _UNKNOWN

    def finish(self, step: Step, state: PartyState, opened: list[Ring]) -> Held:
        (x,) = state.inputs(step)
        kept, top = state.dealt[step.name]
        bits, offset = U64(step.attrs["bits"]), U64(1 << (WORD - 2))
        shifted = x.public + offset
        no_top = U64(1) - np.right_shift(shifted, U64(WORD - 1))
        share = np.left_shift(no_top * top, U64(WORD) - bits) - kept
        if state.is_server:
            share = share + np.right_shift(shifted, bits) - np.right_shift(offset, bits)
        return Held(_NOTHING, share)


class RevealShares(Protocol):
    """The server sends its share to the client."""

    senders = (SERVER,)

    def opened(self, step: Step, program: Program) -> tuple[Slot, ...]:
        return whole(step)

    def deal(self, step: Step, state: DealerState) -> tuple[list[Ring], Masks]:
        return [], _UNKNOWN

    def send(self, step: Step, state: PartyState) -> list[Ring]:
        return [state.inputs(step)[0].share] if state.is_server else []

    def finish(self, step: Step, state: PartyState, opened: list[Ring]) -> Held:
        (x,) = state.inputs(step)
        return Held(x.share if state.is_server else lowest(x.share + opened[0], step.width), _NOTHING)


def on_shares(program: Program) -> Program:
    """A program of masked wires, all of 64 bits, as one on additive shares.

    Each value is opened once, however many read it, in the narrowest ring that they allow.
    """
    return _Rewrite(program).run()


class _Rewrite:
    """One walk over the steps."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.steps: dict[str, Step] = {}
        self.ready: dict[str, int] = {}
        self.asked: dict[str, int] = {}
        for step in program.steps:
            for name in step.inputs if step.op in READS_WIRES else ():
                self.asked[name] = max(self.asked.get(name, 0), _read_bits(step))

    def run(self) -> Program:
        for step in self.program.steps:
            if step.op in WIRES:
                self._add(step)
            elif step.op in BITS:
                inputs = map(self._wire, step.inputs) if step.op in READS_WIRES else step.inputs
                self._add(replace(step, inputs=tuple(inputs)))
            else:
                seen = self._wire if step.op in (*READS_WIRES, "lookup") else self._shares
                self._add(replace(step, op=SHARES + step.op, inputs=tuple(map(seen, step.inputs))))
        order = sorted(self.steps.values(), key=lambda s: (s.op != "weight", s.round))
        steps = tuple(replace(step, number=i) for i, step in enumerate(order))
        return replace(self.program, steps=steps)

    def _add(self, step: Step) -> str:
        sends = step.op in (*WIRES, *BITS, f"{SHARES}reveal")
        at = -1 if step.op == "weight" else max((self.ready[name] for name in step.inputs), default=0)
        self.steps[step.name] = replace(step, round=at)
        self.ready[step.name] = 0 if step.op == "weight" else at + sends
        return step.name

    def _wire(self, name: str) -> str:
        step = self.steps[name]
        if step.op in (*WIRES, *BITS):
            return name
        opened = f"{name}.open"
        if opened not in self.steps:
            self._add(replace(step, name=opened, op="open", inputs=(name,), width=self.asked[name], attrs={}))
        return opened

    def _shares(self, name: str) -> str:
        step = self.steps[name]
        if step.op not in WIRES:
            return name
        made = f"{name}.shares"
        if made not in self.steps:
            self._add(replace(step, name=made, op=f"{SHARES}wire", inputs=(name,), attrs={}))
        return made


def _read_bits(step: Step) -> int:
    """Of an operand, that a step reads."""
    match step.op:
        case "compare":
            return int(step.attrs["compared"])
        case "fourier":
            return integer_waves(step.attrs, step.attrs["operand_bits"]).log_size
        case _:
            return WORD
