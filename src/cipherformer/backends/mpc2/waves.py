"""Sums of sines and cosines of a masked wire: one opening, whatever the function.

cos(k (x^ - r)) = cos(k x^) cos(k r) + sin(k x^) sin(k r), so the result is a sum of products of public
factors with numbers that the dealer shares. Only x^ modulo the period enters: a power of two, so that x^
reduced to it is again uniform.
"""

from __future__ import annotations

import numpy as np

from cipherformer import _native as native
from cipherformer.approx.fourier import IntegerWaves, integer_cosines, integer_waves
from cipherformer.backends.mpc2.program import Program, Slot, Step
from cipherformer.backends.mpc2.protocol import DealerState, Dealt, Masks, PartyState, Protocol, whole
from cipherformer.backends.mpc2.ring import U64, Ring


def _function(step: Step) -> IntegerWaves:
    return integer_waves(step.attrs, step.attrs["operand_bits"])


class Fourier(Protocol):
    """The value of `IntegerWaves.evaluate`, by native loops."""

    stays_packed = True

    def opened(self, step: Step, program: Program) -> tuple[Slot, ...]:
        return whole(step)

    def dealt(self, step: Step, program: Program) -> tuple[Slot, ...]:
        return (Slot((2 * len(step.attrs["cosines"]), *step.shape), step.width),)

    def warm(self, step: Step) -> None:
        """Makes the table of public factors."""
        integer_cosines(_function(step).log_size)

    def deal(self, step: Step, state: DealerState) -> tuple[Dealt, Masks]:
        (x,) = state.inputs(step)
        function = _function(step)
        table = integer_cosines(function.log_size)
        (slot,) = self.dealt(step, state.program)
        shares = state.client.packed(step.number, 0, slot.shape, slot.width)
        flat = np.ascontiguousarray(x.whole).reshape(-1)
        native.complete_waves(shares, slot.width, flat, function.coefficients, table)
        return [shares], state.fresh(step)

    def send(self, step: Step, state: PartyState) -> list[Ring]:
        (x,) = state.inputs(step)
        (secrets,) = state.dealt[step.name]
        function = _function(step)
        table = integer_cosines(function.log_size)
        flat = np.ascontiguousarray(x.public).reshape(-1)
        found = native.weighted_waves(flat, secrets.data, step.width, table).reshape(step.shape)
        out = state.fresh(step) + found
        return [out + U64(function.constant % (1 << 64)) if state.is_server else out]
