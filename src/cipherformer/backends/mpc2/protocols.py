"""The protocols by name, and what a program costs: exactly what a run sends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cipherformer.backends.mpc2 import additive, carry, compare, linear, local, waves
from cipherformer.backends.mpc2.program import CLIENT, SERVER, SHARES, Program, Step
from cipherformer.backends.mpc2.protocol import Protocol

_MAPS = ("add", "sub", "neg", "sum", "lift", "reshape", "permute", "expand", "slice", "concat")

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        **dict.fromkeys(_MAPS, local.Local(local.mapped)),
        "scale": local.Local(local.scaled),
        "shift": local.Shift(),
        "trunc": local.Truncate(),
        "carry": carry.Carry(),
        "keep": carry.Keep(),
        "extend": local.Extend(),
        "input": local.Input(),
        "weight": local.Weight(),
        "reveal": local.Reveal(),
        "product": linear.Product(),
        "weighted": linear.Weighted(),
        "gate": linear.Gate(),
        "compare": compare.Compare(),
        "merge": compare.Merge(),
        "bit": compare.Bit(),
        "lookup": compare.Lookup(),
        "fourier": waves.Fourier(),
        "open": additive.Open(),
        **{SHARES + op: additive.OnShares(local.mapped) for op in _MAPS},
        f"{SHARES}scale": additive.OnShares(local.scaled),
        f"{SHARES}shift": additive.ShiftShares(),
        f"{SHARES}wire": additive.FromWire(),
        f"{SHARES}trunc": additive.TruncateOpened(),
        f"{SHARES}product": additive.Unopened(linear.Product()),
        f"{SHARES}weighted": additive.Unopened(linear.Weighted()),
        f"{SHARES}gate": additive.Unopened(linear.Gate()),
        f"{SHARES}lookup": additive.Unopened(compare.Lookup()),
        f"{SHARES}fourier": additive.Unopened(waves.Fourier()),
        f"{SHARES}reveal": additive.RevealShares(),
    }
)


SHARE_READERS = tuple(f"{SHARES}{op}" for op in (*_MAPS, "scale", "shift", "reveal"))
"""What reads shares and leaves shares; other protocols of that prefix read wires or bits."""


def opens(step: Step) -> bool:
    """Whether a step sends anything."""
    if step.op.startswith(SHARES):
        return step.op == f"{SHARES}reveal"
    return step.op not in (*_MAPS, "scale", "shift", "trunc", "carry", "keep")


def sent_bytes(step: Step, program: Program, sender: int) -> int:
    """What one party sends for a step."""
    protocol = PROTOCOLS[step.op]
    if sender not in protocol.senders:
        return 0
    return sum(slot.bytes for slot in protocol.opened(step, program))


def dealt_bytes(step: Step, program: Program) -> int:
    """What the dealer sends to the server for a step."""
    return sum(slot.bytes for slot in PROTOCOLS[step.op].dealt(step, program))


@dataclass(frozen=True, slots=True)
class Cost:
    """Declared cost of one query; frames' heads are not in it.

    Args:
        rounds: in which anything is sent.
        server_bytes: sent by the server online.
        client_bytes: sent by the client online.
        dealt_bytes: sent by the dealer, to the server.
        setup_bytes: the weights' masked values, sent once for each model.
    """

    rounds: int
    server_bytes: int
    client_bytes: int
    dealt_bytes: int
    setup_bytes: int


def cost(program: Program) -> Cost:
    """The cost that a run has."""
    online = [step for step in program.steps if step.op != "weight"]
    return Cost(
        rounds=len({step.round for step in online if opens(step)}),
        server_bytes=sum(sent_bytes(step, program, SERVER) for step in online),
        client_bytes=sum(sent_bytes(step, program, CLIENT) for step in online),
        dealt_bytes=sum(dealt_bytes(step, program) for step in online),
        setup_bytes=sum(sent_bytes(step, program, SERVER) for step in program.of("weight")),
    )
