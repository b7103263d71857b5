"""Matrices as slot-level linear maps: the diagonals of a matrix between two layouts, and the kernel that
applies them.

y[t] = sum_c M[D(t), c] x[c]: for every slot t of the result and every non-zero of its row, a slot s of x
that holds column c; the weight goes to the diagonal of rotation s - t (Halevi and Shoup, CRYPTO 2014; baby-
step giant-step after Halevi and Shoup, CRYPTO 2018). Replication of x is used to keep s near t, and so the
diagonals few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cipherformer.errors import CompileError
from cipherformer.kernels.algebra import SlotAlgebra, Transform, V
from cipherformer.kernels.layout import Layout

HOISTED = 0.45
"""Cost of a hoisted baby rotation against a giant one, for choosing a split only."""


@dataclass(frozen=True, slots=True)
class Triplets:
    """Non-zeros of a matrix, sorted by row.

    Args:
        rows: number of rows.
        columns: number of columns.
        start: [rows + 1] offsets into the others.
        column, weight: one entry a non-zero.
    """

    rows: int
    columns: int
    start: NDArray[np.int64]
    column: NDArray[np.int64]
    weight: NDArray[np.float64]

    @staticmethod
    def of(matrix: NDArray[np.float64]) -> Triplets:
        """From a dense [rows, columns] matrix."""
        row, column = np.nonzero(matrix)
        start = np.searchsorted(row, np.arange(matrix.shape[0] + 1))
        rows, columns = matrix.shape
        return Triplets(rows, columns, start, column, matrix[row, column])

    @staticmethod
    def from_entries(
        shape: tuple[int, int], row: NDArray[np.int64], column: NDArray[np.int64], weight: NDArray[np.float64]
    ) -> Triplets:
        """From non-zeros in any order."""
        order = np.lexsort((column, row))
        start = np.searchsorted(row[order], np.arange(shape[0] + 1))
        return Triplets(*shape, start, column[order], weight[order])

    @staticmethod
    def identity(size: int) -> Triplets:
        """The identity matrix."""
        all_ = np.arange(size)
        return Triplets(size, size, np.arange(size + 1), all_, np.ones(size))

    @property
    def row(self) -> NDArray[np.int64]:
        """The row of each non-zero."""
        return np.repeat(np.arange(self.rows), np.diff(self.start))

    def apply(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """The matrix times a vector [columns]."""
        products = self.weight * x[self.column]
        return np.bincount(self.row, weights=products, minlength=self.rows).astype(np.float64)

    @property
    def widest(self) -> int:
        """Largest number of non-zeros in a row."""
        return int(np.diff(self.start).max(initial=0))


@dataclass(frozen=True, eq=False, slots=True)
class Routes:
    """Where each product of a matrix goes: slot of the result, rotation, weight; one entry a product.

    Args:
        period: everything repeats after this many slots.
        slot, rotation, weight: equally long; slots below the period.
        reach: rotations lie in [-reach, reach); 0 for the period.
        spread: [slots] for the slots of a ciphertext, or of its smallest part that repeats, the slot that
            stands for each; None where slots stand for themselves.
    """

    period: int
    slot: NDArray[np.int64]
    rotation: NDArray[np.int64]
    weight: NDArray[np.float64]
    reach: int = 0
    spread: NDArray[np.int64] | None = None

    def rotations(self) -> tuple[int, ...]:
        """Distinct rotations, ascending."""
        reach = self.reach or self.period
        seen = np.zeros(2 * reach, dtype=bool)
        seen[self.rotation + reach] = True
        return tuple(int(r) - reach for r in np.nonzero(seen)[0])

    def diagonals(self) -> dict[int, NDArray[np.float64]]:
        """Rotation -> diagonal [period]; slots that get nothing hold 0."""
        rotations, reach = self.rotations(), self.reach or self.period
        index = np.zeros(2 * reach, dtype=np.int64)
        index[np.array(rotations, dtype=np.int64) + reach] = np.arange(len(rotations))
        cell = index[self.rotation + reach] * self.period + self.slot
        rows = np.bincount(cell, weights=self.weight, minlength=len(rotations) * self.period)
        rows = rows.reshape(len(rotations), self.period)
        return dict(zip(rotations, rows if self.spread is None else rows[:, self.spread], strict=True))


def routes(
    matrix: Triplets, source: Layout, target: Layout, places: Sequence[int] = (), wrap: int = 0
) -> Routes:
    """How `matrix @ tensor` in layout `target` comes from the tensor in layout `source`.

    Args:
        matrix: the map.
        source, target: layouts.
        places: where the layouts are those of some slot bits only, as the map does nothing to the others: the
            positions of these bits, ascending.
        wrap: slots after which the whole source repeats; by default its period.
    """
    home = source.home_slots()
    period = max(source.period, target.period)
    row_of = target.slot_map()[:period]
    t = np.nonzero(row_of >= 0)[0]
    row = row_of[t]
    count = matrix.start[row + 1] - matrix.start[row]
    ends = np.cumsum(count)
    entry = np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(
        matrix.start[row] - (ends - count), count
    )
    t = np.repeat(t, count)
    s = home[matrix.column[entry]]
    if (s < 0).any():
        raise CompileError("a matrix reads an element that its source layout does not hold")
    from_slot = s | (t & source.replicated_mask())
    if not places:
        return Routes(period, t, wrapped(from_slot - t, source.period), matrix.weight[entry])
    shift = wrapped(_deposit(from_slot, places) - _deposit(t, places), wrap)
    bits = max(source.occupied, target.occupied)
    whole = np.arange(1 << (places[bits - 1] + 1 if bits else 0))
    spread = sum((((whole >> place) & 1) << i for i, place in enumerate(places[:bits])), np.zeros_like(whole))
    return Routes(period, t, shift, matrix.weight[entry], wrap, spread)


def _deposit(slot: NDArray[np.int64], places: Sequence[int]) -> NDArray[np.int64]:
    """Bit i of each number, moved to position places[i]."""
    return sum((((slot >> i) & 1) << place for i, place in enumerate(places)), np.zeros_like(slot))


def wrapped(shift: NDArray[np.int64], period: int) -> NDArray[np.int64]:
    """Into [-period/2, period/2): rotating a vector of that period by a whole period does nothing."""
    return (shift + period // 2) % period - period // 2


def smallest_period(rows: NDArray[np.float64]) -> int:
    """The smallest power of two that every row repeats after."""
    period = int(rows.shape[1])
    while period > 1 and np.array_equal(rows[:, : period // 2], rows[:, period // 2 : period]):
        period //= 2
    return period


def baby_step_for(rotations: Sequence[int], slots: int) -> int:
    """The baby step that makes `HOISTED` x babies + giants smallest; a power of two."""

    def cost(step: int) -> tuple[float, int]:
        babies = {r % step for r in rotations} - {0}
        giants = {r - r % step for r in rotations} - {0}
        return HOISTED * len(babies) + len(giants), step

    return min((1 << i for i in range(slots.bit_length())), key=cost)


def make_transform(name: str, parts: dict[int, NDArray[np.float64]], slots: int) -> Transform:
    """Diagonals, cut to their period and split into baby and giant steps."""
    rotations = tuple(sorted(parts))
    rows = np.stack([parts[r] for r in rotations])
    rows = np.ascontiguousarray(rows[:, : smallest_period(rows)])
    return Transform(name, rotations, rows, baby_step_for(rotations, slots))


def invariant_bits(matrix: NDArray[np.float64], layout: Layout) -> tuple[int, ...]:
    """Slot-index bits over which the matrix's columns do not change: they may be summed before it is
    applied."""
    full = matrix.reshape(-1, *layout.shape)
    out = []
    for i, (axis, k) in enumerate(layout.bits):
        if axis < 0:
            continue
        size = layout.shape[axis]
        if size % (2 << k):
            continue
        split = full.reshape(*full.shape[: axis + 1], size >> (k + 1), 2, 1 << k, *full.shape[axis + 2 :])
        if np.array_equal(np.take(split, 0, axis=axis + 2), np.take(split, 1, axis=axis + 2)):
            out.append(i)
    return tuple(out)


def rotate_sum(b: SlotAlgebra[V], x: V, rotations: Sequence[int]) -> V:
    """x <- x + rotate(x, r), for each rotation in turn."""
    for r in rotations:
        x = b.add(x, b.rotate(x, r))
    return x
