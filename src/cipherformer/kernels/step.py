"""The instructions of a plan: one tensor-level kernel call each, everything about it decided."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from cipherformer.kernels.layout import Layout


@dataclass(frozen=True, slots=True)
class TermStep:
    """One summand of an affine step.

    Args:
        source: index into the step's inputs.
        pre: rotations of a rotate-and-sum before the map.
        transform: key of the diagonals in the plan's transforms.
        post: rotations of a rotate-and-sum after it.
    """

    source: int
    pre: tuple[int, ...]
    transform: str
    post: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Diagonals:
    """How scores of all pairs of tokens stand in a stack (`kernels.stack`).

    Args:
        heads: matrices of scores.
        tokens: of a sequence, a power of two.
        babies: rotations of keys and values; divides the tokens.
        unit: slots from one token to the next.
        held: rotations of the keys of a head that are in memory at once; queries are rotated again for every
            so many. Divides the babies.
    """

    heads: int
    tokens: int
    babies: int
    unit: int
    held: int

    @property
    def baby_steps(self) -> tuple[int, ...]:
        """Rotations of keys and values."""
        return tuple(i * self.unit for i in range(self.babies))

    @property
    def giant_steps(self) -> tuple[int, ...]:
        """Rotations of sums of products, and, to the other side, of queries."""
        return tuple(i * self.unit for i in range(0, self.tokens, self.babies))


@dataclass(frozen=True, slots=True)
class Step:
    """One kernel call.

    Args:
        name: the value it makes.
        kernel: `input affine scalar contract outer mul power polynomial reciprocal refresh part`. A `refresh`
            of several inputs makes a bundle; each `part` takes one value out of it.
        inputs: values it reads.
        layout: where the result's elements stand.
        origin: module path in the user's model.
        terms: summands of an `affine` step; of a `scalar` step the rotations only.
        bias: key of a public vector to add, or "".
        factor: of a `scalar` step.
        sums: rotations after the product of a `contract` or `outer` step.
        left, right: of an `outer` step: keys of the maps that spread the operands, by stage.
        exponent, coefficients, interval, relaxations: of the polynomial kernels.
        bound: largest absolute value of the result by calibration, a margin included; 0 if unknown.
        bounds: of a `refresh` step: for each input what its values do not exceed.
        gains: of a `refresh` step: the integer that each refreshed value is multiplied by; its scale is then
            the target's times gain / bound.
        index: of a `part` step: which value of the bundle.
        stack: ciphertexts of a value that is a stack; 0 for one ciphertext. `mix pairs scores attended` are
            kernels for stacks only.
        diagonals: of a `scores` or `attended` step.
        reason: why a `refresh` step stands where it stands.
        level_in: level that the inputs are dropped to.
        level: level of the result.
        scale: scale of the result (of a bundle: of its first value); affine, outer, polynomial and refresh
            steps are steered to it, others arrive at it.
    """

    name: str
    kernel: str
    inputs: tuple[str, ...]
    layout: Layout
    origin: str
    terms: tuple[TermStep, ...] = ()
    bias: str = ""
    factor: float = 1.0
    sums: tuple[int, ...] = ()
    left: tuple[tuple[str, ...], ...] = ()
    right: tuple[tuple[str, ...], ...] = ()
    exponent: int = 0
    coefficients: tuple[float, ...] = ()
    interval: tuple[float, float] = (0.0, 0.0)
    relaxations: tuple[float, ...] = ()
    bound: float = 0.0
    bounds: tuple[float, ...] = ()
    gains: tuple[int, ...] = ()
    index: int = 0
    stack: int = 0
    diagonals: Diagonals | None = None
    reason: str = ""
    level_in: int = -1
    level: int = -1
    scale: float = 0.0

    def maps(self) -> Iterator[tuple[str, int, int]]:
        """(key, level, how often) of the transforms that the step applies."""
        for term in self.terms:
            if term.transform and not self.stack:
                yield term.transform, self.level_in, 1
        for stages in (self.left, self.right):
            times = 1
            for k, keys in enumerate(stages):
                for key in keys:
                    yield key, self.level_in - k, times
                times *= len(keys)

    def with_(self, **changes: Any) -> Step:
        """A copy with some fields changed."""
        return replace(self, **changes)
