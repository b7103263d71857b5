"""Products on masked wires: one opening of the result, whatever its inner dimension.

For x^ = x + r and w^ = w + q: x w = x^ w^ - x^ q - r w^ + r q. The dealer deals r q + t with t the mask of
the result. Where the server owns w and its mask, x w = (x^ - [r]_0) w - [r]_1 w^ + [r]_1 q: the server
multiplies once online, the client once before the run, and the dealer needs only the client's share [r]_1.
Source: Chaudhari, Patra and Suresh, ABY2.0 (USENIX Security 2021), section 3, with a dealer.
"""

from __future__ import annotations

from typing import TypeVar

from cipherformer.backends.mpc2 import narrow
from cipherformer.backends.mpc2.program import Program, Slot, Step
from cipherformer.backends.mpc2.protocol import DealerState, Masks, PartyState, Protocol, whole
from cipherformer.backends.mpc2.ring import U64, Ring, lowest, product

T = TypeVar("T")


def _times(step: Step, a: Ring, b: Ring) -> Ring:
    return product(step.attrs["product"], step.attrs, a, b)


class _Opened(Protocol):
    """The result is opened; the dealer deals one number for each of its elements."""

    def opened(self, step: Step, program: Program) -> tuple[Slot, ...]:
        return whole(step)

    def dealt(self, step: Step, program: Program) -> tuple[Slot, ...]:
        return whole(step)


class Product(_Opened):
    """Two secret factors."""

    def deal(self, step: Step, state: DealerState) -> tuple[list[Ring], Masks]:
        a, b = state.inputs(step)
        fresh = state.fresh(step)
        return [_times(step, a.whole, b.whole) + fresh.whole], fresh

    def send(self, step: Step, state: PartyState) -> list[Ring]:
        a, b = state.inputs(step)
        (dealt,) = state.dealt[step.name]
        right = b.public - b.share if state.is_server else -b.share
        return [dealt + _times(step, a.public, right) - _times(step, a.share, b.public)]


class Weighted(_Opened):
    """A secret factor and one of the server's."""

    works_ahead = True

    def deal(self, step: Step, state: DealerState) -> tuple[list[Ring], Masks]:
        x, weight = _apart(step, state.inputs(step))
        fresh = state.fresh(step)
        return [_ordered(step, x.one, weight.whole) + fresh.whole], fresh

    def ahead(self, step: Step, state: PartyState) -> Ring:
        """The client's product, which needs nothing of the run."""
        x, weight = _apart(step, state.inputs(step))
        return _ordered(step, x.share, weight.public)

    def send(self, step: Step, state: PartyState) -> list[Ring]:
        (dealt,) = state.dealt[step.name]
        if not state.is_server:
            return [dealt - state.ahead.pop(step.name)]
        name, weight = _apart(step, list(step.inputs))
        x = state.wire(name)
        return [dealt + self._online(step, x.public - x.share, state.secrets[weight])]

    def _online(self, step: Step, x: Ring, weight: Ring | narrow.Narrow) -> Ring:
        if step.attrs["product"] == "linear" and weight.dtype != U64:
            found = narrow.linear(x, step.width, weight)  # type: ignore[arg-type]
            if found is not None:
                return found
        return _ordered(step, x, narrow.widened(weight))


def _apart(step: Step, operands: list[T]) -> tuple[T, T]:
    """The secret factor and the weight."""
    a, b = operands
    return (b, a) if step.attrs["left"] else (a, b)


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


def _by(factor: int, value: Ring) -> Ring:
    return value * value.dtype.type(factor % (1 << 64))
