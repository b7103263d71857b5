"""Layouts: which slot of a ciphertext holds which element of a tensor.

Every axis of a tensor is padded to a power of two, and every bit of the slot index is given to one bit of
one axis, or to nothing. A slot-index bit that belongs to no axis is *replicated* (the value does not depend
on it) or a *hole* (the value stands where the bit is 0; where it is 1 there is junk). This one family covers
row-major packing, replication for products of two tensors, strided packing after convolutions, and what a
rotate-and-sum leaves behind.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from cipherformer.errors import CompileError

Bit = tuple[int, int]
"""(axis, bit of that axis's index), or REPLICATED, or HOLE."""

REPLICATED: Bit = (-1, 0)
HOLE: Bit = (-2, 0)


def axis_bits(size: int) -> int:
    """Number of index bits of an axis of `size` elements, padded to a power of two."""
    return (size - 1).bit_length()


@dataclass(frozen=True, slots=True)
class Layout:
    """A packing of one tensor into one ciphertext.

    Args:
        shape: logical shape.
        bits: for each bit of the slot index, lowest first, what it stands for; 2^len(bits) slots.
        zero_padding: True if slots beyond an axis's size hold 0 (they may be summed), False if they hold
            junk.
    """

    shape: tuple[int, ...]
    bits: tuple[Bit, ...]
    zero_padding: bool = True

    def __post_init__(self) -> None:
        want = {(a, k) for a, size in enumerate(self.shape) for k in range(axis_bits(size))}
        have = [b for b in self.bits if b[0] >= 0]
        if len(have) != len(set(have)) or set(have) != want:
            raise CompileError(f"layout {self.bits} does not cover shape {self.shape} once")

    @property
    def slots(self) -> int:
        """Number of slots."""
        return 1 << len(self.bits)

    @property
    def period(self) -> int:
        """Smallest power of two that the content repeats after: 2^(bits below the replicated top)."""
        return 1 << self.occupied

    @property
    def occupied(self) -> int:
        """Number of slot bits below the run of replicated bits at the top."""
        n = len(self.bits)
        while n and self.bits[n - 1] == REPLICATED:
            n -= 1
        return n

    @property
    def has_holes(self) -> bool:
        """True if some slots hold junk of a rotate-and-sum."""
        return HOLE in self.bits

    def replicated_mask(self) -> int:
        """Bit mask of the replicated slot-index bits."""
        return sum(1 << i for i, b in enumerate(self.bits) if b == REPLICATED)

    def positions(self, axis: int) -> tuple[int, ...]:
        """Slot-index bits that hold an axis, lowest axis bit first."""
        where = {k: i for i, (a, k) in enumerate(self.bits) if a == axis}
        return tuple(where[k] for k in range(len(where)))

    def slot_map(self) -> NDArray[np.int64]:
        """For each slot the flat index of the element it holds, -1 where it holds none."""
        slot = np.arange(self.slots, dtype=np.int64)
        index = [np.zeros(self.slots, dtype=np.int64) for _ in self.shape]
        valid = np.ones(self.slots, dtype=bool)
        for i, (axis, k) in enumerate(self.bits):
            bit = (slot >> i) & 1
            if axis >= 0:
                index[axis] |= bit << k
            elif (axis, k) == HOLE:
                valid &= bit == 0
        flat = np.zeros(self.slots, dtype=np.int64)
        for size, idx in zip(self.shape, index, strict=True):
            valid &= idx < size
            flat = flat * size + np.minimum(idx, size - 1)
        return np.where(valid, flat, -1)

    def home_slots(self) -> NDArray[np.int64]:
        """For each element (flat index) the lowest slot that holds it."""
        where = self.slot_map()
        home = np.full(prod(self.shape), -1, dtype=np.int64)
        slots = np.nonzero(where >= 0)[0][::-1]
        home[where[slots]] = slots
        return home

    def __str__(self) -> str:
        """Lowest bit first: `f0 f1 t0 * * -` with axes as letters, `*` replicated, `-` hole."""
        letters = "abcdefgh"
        words = []
        for axis, k in self.bits:
            words.append(
                "*" if (axis, k) == REPLICATED else "-" if (axis, k) == HOLE else f"{letters[axis]}{k}"
            )
        return " ".join(words)


def row_major(shape: tuple[int, ...], slot_bits: int, *, start: int = 0) -> Layout:
    """Last axis lowest, from slot bit `start`; everything else replicated.

    Raises:
        CompileError: if the padded tensor has more elements than the ciphertext has slots.
    """
    bits: list[Bit] = [REPLICATED] * start
    for axis in reversed(range(len(shape))):
        bits += [(axis, k) for k in range(axis_bits(shape[axis]))]
    if len(bits) > slot_bits:
        raise CompileError(f"a tensor of shape {shape} needs 2^{len(bits)} slots, there are 2^{slot_bits}")
    return Layout(shape, tuple(bits) + (REPLICATED,) * (slot_bits - len(bits)))


def sum_bits(bits: tuple[Bit, ...], which: Iterable[int]) -> tuple[tuple[int, ...], tuple[Bit, ...]]:
    """Rotate-and-sum over slot-index bits: the rotations, and the bits afterwards.

    Adding the rotation by 2^b sums over bit b. Where every higher bit is replicated the carry does no harm
    and the sum stands in all slots (replicated); otherwise it stands where the bit is 0 (hole). Highest bit
    first.
    """
    out = list(bits)
    rotations = []
    for b in sorted(which, reverse=True):
        rotations.append(1 << b)
        out[b] = REPLICATED if all(o == REPLICATED for o in out[b + 1 :]) else HOLE
    return tuple(rotations), tuple(out)
