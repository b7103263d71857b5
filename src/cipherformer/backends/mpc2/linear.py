"""Products on masked wires: one opening of the result, whatever its inner dimension.

For x^ = x + r and w^ = w + q: x w = x^ w^ - x^ q - r w^ + r q. The dealer deals r q + t with t the mask of
the result. Where the server owns w and its mask, x w = (x^ - [r]_0) w - [r]_1 w^ + [r]_1 q: the server
multiplies once online, the client once before the run, and the dealer needs only the client's share [r]_1.
Source: Chaudhari, Patra and Suresh, ABY2.0 (USENIX Security 2021), section 3, with a dealer.
"""

from __future__ import annotations

from cipherformer.backends.mpc2.program import Program, Slot, Step
from cipherformer.backends.mpc2.protocol import DealerState, Held, Masks, PartyState, Protocol, whole
from cipherformer.backends.mpc2.ring import Ring, lowest, product


def _times(step: Step, a: Ring, b: Ring) -> Ring:
    return product(step.attrs["product"], step.attrs, a, b)


class Product(Protocol):
    """Two secret factors."""

    def opened(self, step: Step, program: Program) -> tuple[Slot, ...]:
        return whole(step)

    def dealt(self, step: Step, program: Program) -> tuple[Slot, ...]:
        return whole(step)

    def deal(self, step: Step, state: DealerState) -> tuple[list[Ring], Masks]:
        a, b = state.inputs(step)
        fresh = state.fresh(step)
        return [_times(step, a.whole, b.whole) + fresh.whole], fresh

    def send(self, step: Step, state: PartyState) -> list[Ring]:
        a, b = state.inputs(step)
        (dealt,) = state.dealt[step.name]
        right = b.public - b.share if state.is_server else -b.share
        return [dealt + _times(step, a.public, right) - _times(step, a.share, b.public)]

    def finish(self, step: Step, state: PartyState, opened: list[Ring]) -> Held:
        return Held(opened[0], state.fresh(step))


class Weighted(Protocol):
    """A secret factor and one of the server's."""

    def opened(self, step: Step, program: Program) -> tuple[Slot, ...]:
        return whole(step)

    def dealt(self, step: Step, program: Program) -> tuple[Slot, ...]:
        return whole(step)

    def deal(self, step: Step, state: DealerState) -> tuple[list[Ring], Masks]:
        a, b = state.inputs(step)
        fresh = state.fresh(step)
        x, weight = (b, a) if step.attrs["left"] else (a, b)
        return [_ordered(step, x.one, weight.whole) + fresh.whole], fresh

    def send(self, step: Step, state: PartyState) -> list[Ring]:
        a, b = state.inputs(step)
        x, weight = (b, a) if step.attrs["left"] else (a, b)
        name = step.inputs[0] if step.attrs["left"] else step.inputs[1]
        (dealt,) = state.dealt[step.name]
        if state.is_server:
            return [dealt + _ordered(step, x.public - x.share, state.secrets[name])]
        return [dealt - _ordered(step, x.share, weight.public)]

    def finish(self, step: Step, state: PartyState, opened: list[Ring]) -> Held:
        return Held(opened[0], state.fresh(step))


def _ordered(step: Step, x: Ring, weight: Ring) -> Ring:
    return _times(step, weight, x) if step.attrs["left"] else _times(step, x, weight)


class Gate(Protocol):
    """low x + (high - low) b x for a bit b that is public under a mask m: b = b^ + (1 - 2 b^) m."""

    def opened(self, step: Step, program: Program) -> tuple[Slot, ...]:
        return whole(step)

    def dealt(self, step: Step, program: Program) -> tuple[Slot, ...]:
        return (Slot(step.shape, step.width),) * 2

    def deal(self, step: Step, state: DealerState) -> tuple[list[Ring], Masks]:
        x, bit = state.inputs(step)
        m = bit.whole.reshape(step.shape)
        return [m, lowest(m * x.whole, step.width)], state.fresh(step)

    def send(self, step: Step, state: PartyState) -> list[Ring]:
        x, bit = state.inputs(step)
        m, m_r = state.dealt[step.name]
        seen = bit.public.reshape(step.shape)
        own = x.public - x.share if state.is_server else -x.share
        gated = seen * own + (1 - 2 * seen) * (x.public * m - m_r)
        low, high = step.attrs["low"], step.attrs["high"]
        return [_by(low, own) + _by(high - low, gated) + state.fresh(step)]

    def finish(self, step: Step, state: PartyState, opened: list[Ring]) -> Held:
        return Held(opened[0], state.fresh(step))


def _by(factor: int, value: Ring) -> Ring:
    return value * value.dtype.type(factor % (1 << 64))
