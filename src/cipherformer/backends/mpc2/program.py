"""Protocol steps: what the compiler decides and the dealer and the parties carry out, in this order.

A *wire* is a value x modulo 2^width of which both parties know x + r, while each holds a share of the mask
r. A step makes one wire (or, inside a comparison, bits). Steps are sorted by the round in which they run;
those that open something send it in that round, in one frame with all others, and what they make is known in
the next. In a program on additive shares most steps leave x as the sum of two shares instead.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.backends.mpc2.ring import Ring, packed_bytes

_NOTHING: Mapping[str, Any] = MappingProxyType({})
SERVER, CLIENT = 0, 1
PRODUCTS = ("mul", "matmul", "linear", "conv2d")
SHARES = "shares."
"""Prefix of the protocols that leave additive shares."""
WIRES = ("input", "weight", "open")
BITS = ("compare", "merge", "bit")
"""What makes masked wires, and bits, in a program on additive shares."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One array that is dealt or sent.

    Args:
        shape: of the array.
        width: bits of an entry.
    """

    shape: tuple[int, ...]
    width: int

    @property
    def bytes(self) -> int:
        """Length of its packed form."""
        return packed_bytes(prod(self.shape), self.width)


@dataclass(frozen=True, slots=True)
class Step:
    """One protocol step.

    Args:
        name: of the wire or the bits it makes.
        op: a protocol of `protocols.PROTOCOLS`.
        inputs: names of earlier steps.
        shape: of the result.
        width: bits of its ring.
        frac_bits: fraction bits of its value.
        attrs: of the protocol; plain JSON values.
        origin: module path in the user's model.
        number: its place in the program, which names its masks.
        round: in which it runs.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    width: int
    frac_bits: int
    attrs: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    origin: str = ""
    number: int = -1
    round: int = -1


@dataclass(frozen=True, slots=True)
class Program:
    """A model as protocol steps.

    Args:
        steps: sorted by round; `weight` steps first.
        outputs: names of the steps whose values the client learns.
        public: integers that both parties know, modulo 2^64, by name.
        name: of the model.
    """

    steps: tuple[Step, ...]
    outputs: tuple[str, ...]
    public: Mapping[str, Ring]
    name: str

    def by_name(self) -> dict[str, Step]:
        """Steps by name."""
        return {step.name: step for step in self.steps}

    def of(self, op: str) -> tuple[Step, ...]:
        """Steps of one protocol."""
        return tuple(step for step in self.steps if step.op == op)

    def rounds(self) -> Iterator[tuple[int, list[Step]]]:
        """Steps by round, without the weights, which are opened once for each model."""
        online = (step for step in self.steps if step.op != "weight")
        for number, steps in groupby(online, key=lambda step: step.round):
            yield number, list(steps)

    def digest(self) -> bytes:
        """SHA-256 of all that both parties must agree on; no weights are in it."""
        state = hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode())
        for name in sorted(self.public):
            state.update(name.encode() + self.public[name].tobytes())
        return state.digest()

    def to_json(self) -> dict[str, Any]:
        """Everything but the arrays."""
        rows = [
            [
                s.name,
                s.op,
                list(s.inputs),
                list(s.shape),
                s.width,
                s.frac_bits,
                dict(s.attrs),
                s.origin,
                s.round,
            ]
            for s in self.steps
        ]
        return {"name": self.name, "outputs": list(self.outputs), "steps": rows}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], public: Mapping[str, NDArray[np.uint64]]) -> Program:
        """Inverse of `to_json`."""
        steps = [
            Step(name, op, tuple(inputs), tuple(shape), width, frac_bits, _tuples(attrs), origin, i, turn)
            for i, (name, op, inputs, shape, width, frac_bits, attrs, origin, turn) in enumerate(
                data["steps"]
            )
        ]
        return cls(tuple(steps), tuple(data["outputs"]), dict(public), data["name"])


def _tuples(attrs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _tuple(value) for name, value in attrs.items()}


def _tuple(value: Any) -> Any:
    return tuple(_tuple(v) for v in value) if isinstance(value, list) else value
