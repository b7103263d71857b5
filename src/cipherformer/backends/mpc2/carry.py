"""Wires that outlive their query: a cache of keys and values stays masked between two steps of generation.

It keeps its public value, its shares and its mask; nothing is opened and nothing dealt. Later queries open
products with it under masks of their own, which is all that its mask must withstand.
"""

from __future__ import annotations

from cipherformer.backends.mpc2.program import Step
from cipherformer.backends.mpc2.protocol import DealerState, Held, Masks, PartyState, Protocol
from cipherformer.backends.mpc2.ring import Ring
from cipherformer.errors import ProtocolError


class Keep(Protocol):
    """Puts a wire into a slot."""

    def deal(self, step: Step, state: DealerState) -> tuple[list[Ring], Masks]:
        (mask,) = state.inputs(step)
        state.kept[step.attrs["slot"]] = mask
        return [], mask

    def finish(self, step: Step, state: PartyState, opened: list[Ring]) -> Held:
        (x,) = state.inputs(step)
        state.kept[step.attrs["slot"]] = x
        return x

    def share(self, step: Step, state: PartyState) -> Ring:
        return state.inputs(step)[0].share


class Carry(Protocol):
    """Takes a wire out of its slot, where it stays."""

    def deal(self, step: Step, state: DealerState) -> tuple[list[Ring], Masks]:
        found = state.kept.get(step.attrs["slot"])
        if found is None or found.whole.shape != step.shape:
            raise _missing(step)
        return [], found

    def finish(self, step: Step, state: PartyState, opened: list[Ring]) -> Held:
        found = state.kept.get(step.attrs["slot"])
        if found is None or found.public.shape != step.shape:
            raise _missing(step)
        return found

    def share(self, step: Step, state: PartyState) -> Ring:
        return self.finish(step, state, []).share


def _missing(step: Step) -> ProtocolError:
    return ProtocolError(
        f"no wire of shape {list(step.shape)} was kept for {step.name}",
        fix="ask the programs of a chain in order: the prompt's, then one for each further token",
    )
