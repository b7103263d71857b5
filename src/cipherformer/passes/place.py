"""Layouts that products of two tensors ask for, and the layouts that an affine region may choose between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cipherformer.errors import LimitError
from cipherformer.kernels.layout import HOLE, REPLICATED, Bit, Layout, axis_bits, row_major
from cipherformer.passes.regions import Region, uniform

MOST_EXAMINED = 1 << 18
"""Of the non-zeros of a large map about so many tell which axes follow which."""
ELEMENTWISE = ("power", "polynomial", "reciprocal")


@dataclass(frozen=True, slots=True)
class Product:
    """Slot bits of one matrix product out[.., m, n] = sum_k a[.., m, k] b[.., k, n], as lists of slot-bit
    positions.

    Args:
        batch, m, n: of the result; of an index that the slots of an operand lack, it is replicated.
        k: of the left operand.
        other: of k in the right operand, where that differs: the product is spread over ciphertexts
            (`kernels.outer`).
    """

    batch: tuple[tuple[int, ...], ...]
    m: tuple[int, ...]
    k: tuple[int, ...]
    n: tuple[int, ...]
    other: tuple[int, ...] = ()

    def operand(
        self, shape: tuple[int, ...], rows: Sequence[int], columns: Sequence[int], slot_bits: int
    ) -> Layout:
        """Layout of a [.., rows, columns] tensor in the product's slots, replicated over the third index."""
        bits: list[Bit] = [REPLICATED] * slot_bits
        for axis, where in enumerate((*self.batch, rows, columns)):
            for k in range(axis_bits(shape[axis])):
                bits[where[k]] = (axis, k)
        return Layout(shape, tuple(bits))


def place_products(graph: Sequence[Region], slot_bits: int) -> dict[str, Product]:
    """Slot bits for every matrix product of two secret tensors.

    A product whose left operand comes elementwise from an earlier product shares that one's slots
    (attention): scores put the contracted feature lowest, then head, query token, key token; the product with
    the values contracts the key token, whose bits stand on top, and puts its features where the scores'
    features were.

    Raises:
        LimitError: if a product does not fit one ciphertext.
    """
    by_name = {r.name: r for r in graph}
    out: dict[str, Product] = {}
    follower = {}
    for r in graph:
        if r.kind == "matmul":
            first = _ancestor(by_name, r.inputs[0])
            if first is not None:
                follower[first] = r.name
    for r in graph:
        if r.kind != "matmul":
            continue
        a, b = (by_name[i].shape for i in r.inputs)
        first = _ancestor(by_name, r.inputs[0])
        if first is not None:
            p = out[first]
            out[r.name] = Product(p.batch, p.m, p.n, p.k) if not p.other else _spread_follower(p, r, b)
            continue
        inner, columns = axis_bits(a[-1]), axis_bits(b[-1])
        if r.name in follower:
            width = by_name[by_name[follower[r.name]].inputs[1]].shape[-1]
            inner = max(inner, axis_bits(width))
        order = [inner, *(axis_bits(s) for s in a[:-2]), axis_bits(a[-2]), columns]
        if r.name not in follower:
            order = [columns, *order[1:-1], inner]
        if sum(order) > slot_bits:
            wide = (
                axis_bits(by_name[by_name[follower[r.name]].inputs[1]].shape[-1]) if r.name in follower else 0
            )
            out[r.name] = _spread_product(r, a, b, wide, slot_bits)
            continue
        ends = np.cumsum([0, *order])
        spans = [tuple(range(int(s), int(e))) for s, e in pairwise(ends)]
        low, *batch, m, high = spans
        out[r.name] = (
            Product(tuple(batch), m, low, high) if r.name in follower else Product(tuple(batch), m, high, low)
        )
    return out


def _spread_product(r: Region, a: tuple[int, ...], b: tuple[int, ...], wide: int, slot_bits: int) -> Product:
    """Slots for (m, n) of the result only.

    Where there is room, n stands below, then the batch, and m on top, where tokens stand anyway. The highest
    bits of n leave the slots of an index of `wide` bits, which follows in its place, and the highest bits of
    k those of n, so that they are summed in slots. Otherwise from below: the bits of n that an index of
    `wide` bits can have; the batch; m; and the other bits of n on top, where sums are free.

    Raises:
        LimitError: if the result does not fit one ciphertext, or k does not fit the slots of n and of m.
    """
    columns, rows, inner = axis_bits(b[-1]), axis_bits(a[-2]), axis_bits(a[-1])
    batches = [axis_bits(s) for s in a[:-2]]
    room = slot_bits - rows - sum(batches)
    roomy = room >= max(columns, wide)
    low = room if roomy else wide or columns
    order = [low, *batches, rows, max(0, columns - low)]
    ends = [int(e) for e in np.cumsum([0, *order])]
    below, *batch, m, _ = [tuple(range(s, e)) for s, e in pairwise(ends)]
    top = tuple(range(ends[-2], slot_bits))
    n = (*below, *top)[:columns]
    left = (*below, *top)
    right = (*m, *(i for i in top if i not in n))
    if roomy:
        kept = min(columns, low - wide) if wide else 0
        n = (*below[: columns - kept], *below[low - kept :])
        stays = tuple(i for i in below if i not in n)[:inner]
        left = (*below[: inner - len(stays)], *stays)
        right = (*m[: inner - len(stays)], *stays)
    if ends[-1] > slot_bits or inner > min(len(left), len(right)):
        raise LimitError(
            f"a product of {a} and {b} with 2^{ends[-1]} results over 2^{inner} contracted indices",
            where=r.origin,
            why=f"a ciphertext has 2^{slot_bits} slots, and the result and each operand must fit one",
            fix="use fewer tokens, heads or features",
        )
    return Product(tuple(batch), m, left[:inner], n, right[:inner])


def _spread_follower(p: Product, r: Region, b: tuple[int, ...]) -> Product:
    """The product with the values, in the slots of the scores: its n from below, k where n was, and in the
    right operand where m is.

    Raises:
        LimitError: if k does not fit there.
    """
    columns, inner = axis_bits(b[-1]), axis_bits(b[-2])
    low = min((i for where in (*p.batch, p.m) for i in where), default=0)
    if columns > low or inner > len(p.m):
        raise LimitError(
            f"a product with {b} in the slots of its scores",
            where=r.origin,
            why=f"2^{low} slots are there for a row of it, and 2^{len(p.m)} for a column",
            fix="use as many queries as keys",
        )
    return Product(p.batch, p.m, p.n, tuple(range(columns)), p.m[:inner])


def _ancestor(by_name: Mapping[str, Region], name: str) -> str | None:
    """The matrix product that a value comes from by elementwise operations only; a large one may be scaled
    and shifted as well."""
    while by_name[name].kind in ELEMENTWISE or _is_multiple(by_name, name):
        name = by_name[name].inputs[0]
    return name if by_name[name].kind == "matmul" else None


def _is_multiple(by_name: Mapping[str, Region], name: str) -> bool:
    r = by_name[name]
    large = r.kind == "affine" and all(t.structured for t in r.terms)
    return large and uniform(r, by_name[r.inputs[0]].shape) is not None


def restrict(layout: Layout, shape: tuple[int, ...]) -> Layout:
    """The layout of a tensor that broadcasts against one in `layout`: its axes of size 1 are replicated."""
    bits = tuple(REPLICATED if a >= 0 and shape[a] == 1 else (a, k) for a, k in layout.bits)
    return Layout(shape, bits)


def aligned(matrix: NDArray[np.float64], source: Layout, shape: tuple[int, ...]) -> list[Layout]:
    """Layouts for `matrix @ x` close to the source's, so that few diagonals arise; none if there is no room.

    An axis of the result that follows an axis of the source (the same index, or an index range around
    stride x index) keeps its slot bits; the others take the bits of axes that are summed away, from below or
    from above, then holes, then replicated bits.
    """
    follows = followed_axes(*np.nonzero(matrix), source.shape, shape)
    taken: dict[int, Bit] = {}
    rest: list[Bit] = []
    for q, size in enumerate(shape):
        p, shift = follows.get(q, (-1, 0))
        where = source.positions(p)[shift:] if p >= 0 else ()
        for k in range(axis_bits(size)):
            if k < len(where):
                taken[where[k]] = (q, k)
            else:
                rest.append((q, k))
    kept = {p for p, _ in follows.values()}
    summed = [i for i, (a, _) in enumerate(source.bits) if a >= 0 and a not in kept]
    holes = [i for i, bit in enumerate(source.bits) if bit == HOLE and i not in taken]
    top = [i for i in range(source.occupied, len(source.bits)) if i not in taken]
    left = [REPLICATED if bit == REPLICATED else HOLE for bit in source.bits]
    out = []
    for first in (summed, summed[::-1]):
        free = [*first, *holes, *top]
        if first is not summed:
            # From above: the chosen bits still carry the index in ascending order.
            free = [*sorted(free[: len(rest)]), *free[len(rest) :]]
        if len(rest) <= len(free):
            mine = taken | dict(zip(free, rest, strict=False))
            layout = Layout(shape, tuple(mine.get(i, left[i]) for i in range(len(left))))
            if layout not in out:
                out.append(layout)
    return out


def local_layout(
    row: NDArray[np.int64], column: NDArray[np.int64], shape: tuple[int, ...], source: Layout
) -> Layout:
    """Multiplexed packing: axes that are followed stay on their slot bits; bits that a stride sets free, then
    those of axes that are mixed, then holes and the replicated top take the other axes.

    Args:
        row, column: non-zeros of a matrix from `source.shape` to `shape`.
        shape: of the result.
        source: layout that it reads.
    """
    some = slice(None, None, 1 | len(row) // MOST_EXAMINED)
    follows = followed_axes(row[some], column[some], source.shape, shape)
    taken: dict[int, Bit] = {}
    rest: list[Bit] = []
    freed: list[int] = []
    for axis in reversed(range(len(shape))):
        p, shift = follows.get(axis, (-1, 0))
        where = source.positions(p) if p >= 0 else ()
        freed += where[:shift]
        bits = [(axis, k) for k in range(axis_bits(shape[axis]))]
        taken |= dict(zip(where[shift:], bits, strict=False))
        rest += bits[max(0, len(where) - shift) :]
    kept = {p for p, _ in follows.values()}
    mixed = [i for i, (a, _) in enumerate(source.bits) if a >= 0 and a not in kept]
    holes = [i for i, bit in enumerate(source.bits) if bit == HOLE]
    copies = [i for i, bit in enumerate(source.bits) if bit == REPLICATED]
    free = [i for i in dict.fromkeys((*freed, *mixed, *holes, *copies)) if i not in taken][: len(rest)]
    taken |= dict(zip(sorted(free), rest, strict=False))
    used = max(taken, default=-1)
    rest_bits = [HOLE if i < used and bit != REPLICATED else REPLICATED for i, bit in enumerate(source.bits)]
    return Layout(shape, tuple(taken.get(i, bit) for i, bit in enumerate(rest_bits)))


def followed_axes(
    row: NDArray[np.int64], column: NDArray[np.int64], source: tuple[int, ...], target: tuple[int, ...]
) -> dict[int, tuple[int, int]]:
    """Target axis -> (source axis, log2 stride) where the non-zeros of a matrix, at (row, column), stay near
    stride x index."""
    out_index, in_index = np.unravel_index(row, target), np.unravel_index(column, source)
    found: list[tuple[float, int, int, int]] = []
    for q, size in enumerate(target):
        for p, extent in enumerate(source):
            if size == 1 or extent == 1:
                continue
            for shift in range(3):
                offset = in_index[p] - (out_index[q] << shift)
                spread = int(np.count_nonzero(np.bincount(offset + (size << shift))))
                if spread <= max(1, extent // 2) and (size - 1) << shift < 1 << axis_bits(extent):
                    found.append((spread, shift, q, p))
    out: dict[int, tuple[int, int]] = {}
    for _, shift, q, p in sorted(found):
        if q not in out and all(p != taken for taken, _ in out.values()):
            out[q] = (p, shift)
    return out


def candidates(
    region: Region, sources: Sequence[tuple[NDArray[np.float64], Layout]], slot_bits: int
) -> list[Layout]:
    """Layouts to try for an affine region that nobody makes demands on: near its sources, or row-major."""
    out: list[Layout] = []
    for matrix, layout in sources:
        out += [near for near in aligned(matrix, layout, region.shape) if near not in out]
    return out or [row_major(region.shape, slot_bits)]
