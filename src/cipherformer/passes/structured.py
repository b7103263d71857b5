"""Terms that carry axes through, as diagonals: slot bits of an axis that stays where it is drop out.

What is left is a small matrix between small layouts, whatever the number of tokens; its diagonals repeat
after few slots where the carried axis stands on top. A carried axis that has to move is written out.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from cipherformer.kernels import linear
from cipherformer.kernels.layout import HOLE, REPLICATED, Bit, Layout, axis_bits
from cipherformer.passes.place import local_layout
from cipherformer.passes.regions import Region, Term, uniform


def term_routes(term: Term, shape: Sequence[int], source: Layout, target: Layout) -> linear.Routes:
    """How a term of a region of this shape gets from one layout to another."""
    if term.local is not None:
        return linear.routes(term.local, source, target)
    staying = [
        (a, b)
        for a, b in term.carried
        if source.positions(a) == target.positions(b) and source.shape[a] == 1 << len(source.positions(a))
    ]
    where = {i for a, _ in staying for i in source.positions(a)}
    places = [i for i in range(len(source.bits)) if i not in where]
    matrix = written_out(term, source.shape, shape, staying)
    near = _without(source, [a for a, _ in staying], places)
    far = _without(target, [b for _, b in staying], places)
    return linear.routes(matrix, near, far, places, source.period)


def _without(layout: Layout, axes: Sequence[int], places: Sequence[int]) -> Layout:
    """The layout of the other axes, on some slot bits."""
    number = {a: i for i, a in enumerate(a for a in range(len(layout.shape)) if a not in axes)}
    shape = tuple(layout.shape[a] for a in number)
    bits = tuple((number[a], k) if a >= 0 else (a, k) for a, k in (layout.bits[i] for i in places))
    return Layout(shape, bits, layout.zero_padding)


def written_out(
    term: Term, source: Sequence[int], result: Sequence[int], staying: Sequence[tuple[int, int]]
) -> linear.Triplets:
    """The matrix over all axes but those that stay."""
    moving = [pair for pair in term.carried if pair not in staying]
    if not moving:
        return linear.Triplets.of(term.matrix)
    row, column = np.nonzero(term.matrix)
    lane = np.indices([source[a] for a, _ in moving]).reshape(len(moving), -1)
    rows, columns = (
        _flat(index, lane, shape, [p[k] for p in term.carried], [p[k] for p in moving])
        for k, index, shape in ((1, row, result), (0, column, source))
    )
    sizes = [
        prod(s for i, s in enumerate(x) if i not in [p[k] for p in staying])
        for k, x in ((1, result), (0, source))
    ]
    weight = np.tile(term.matrix[row, column], lane.shape[1])
    return linear.Triplets.from_entries((sizes[0], sizes[1]), rows, columns, weight)


def _flat(
    rest: NDArray[np.int64],
    lane: NDArray[np.int64],
    shape: Sequence[int],
    carried: Sequence[int],
    moving: Sequence[int],
) -> NDArray[np.int64]:
    """Flat indices over the axes that do not stay, [lanes x entries], from those of the rest and of the
    lanes."""
    rest_axes = [i for i in range(len(shape)) if i not in carried]
    split = np.unravel_index(rest, [shape[i] for i in rest_axes]) if rest_axes else ()
    index = dict(zip(rest_axes, split, strict=True))
    flat = np.zeros((lane.shape[1], len(rest)), dtype=np.int64)
    for axis, size in enumerate(shape):
        if axis in index:
            flat = flat * size + index[axis][None, :]
        elif axis in moving:
            flat = flat * size + lane[moving.index(axis)][:, None]
    return flat.reshape(-1)


def near_layout(term: Term, shape: tuple[int, ...], source: Layout) -> Layout:
    """Carried axes where the source has them, the others row-major on the bits left, from below; a
    term that acts locally goes where `local_layout` says."""
    if term.local is not None:
        return local_layout(term.local.row, term.local.column, shape, source)
    bits: list[Bit] = [REPLICATED] * len(source.bits)
    for a, b in term.carried:
        for k, i in enumerate(source.positions(a)):
            bits[i] = (b, k)
    rest = [axis for axis in reversed(range(len(shape))) if axis not in [b for _, b in term.carried]]
    wanted = [(axis, k) for axis in rest for k in range(axis_bits(shape[axis]))]
    free = [i for i, bit in enumerate(bits) if bit == REPLICATED]
    for i, bit in zip(free, wanted, strict=False):
        bits[i] = bit
    return Layout(shape, tuple(bits))


def facing_layout(term: Term, shape: tuple[int, ...], target: Layout) -> Layout:
    """Where a source of this shape has its carried axes as the target has them, the others row-major on the
    bits left, from below."""
    turned = Term(term.source, term.matrix, tuple((b, a) for a, b in term.carried))
    return near_layout(turned, shape, target)


def between(have: Layout, wanted: Layout) -> Layout | None:
    """A layout half way: some slot bits have moved, the others not yet; None if they move all together.

    Bits that take each other's places move in one step.
    """
    group = list(range(len(have.bits)))

    def find(i: int) -> int:
        while group[i] != i:
            i = group[i]
        return i

    target = {bit: i for i, bit in enumerate(wanted.bits) if bit[0] >= 0}
    for i, bit in enumerate(have.bits):
        if bit in target:
            group[find(i)] = find(target[bit])
    moved = [i for i, bit in enumerate(have.bits) if wanted.bits[i] != bit]
    cycles = list(dict.fromkeys(find(i) for i in moved))
    first = set(cycles[len(cycles) // 2 :])
    if len(cycles) < 2:
        return None
    bits = [wanted.bits[i] if find(i) in first else bit for i, bit in enumerate(have.bits)]
    return Layout(have.shape, tuple(bits), have.zero_padding)


def uniform_factor(r: Region, sources: Sequence[Layout], demand: Layout | None) -> float | None:
    """The factor if a region is a number times one source, in place; None otherwise."""
    factor = uniform(r, sources[0].shape)
    return factor if demand is None or fits(sources[0], demand) else None


def fits(have: Layout, wanted: Layout) -> bool:
    """True if a value stands where it is wanted, or has junk where copies are wanted."""
    pairs = zip(have.bits, wanted.bits, strict=True)
    return all(h == w or (h == HOLE and w == REPLICATED) for h, w in pairs)


def lifted(shape: tuple[int, ...], axis: int, slot_bits: int) -> Layout:
    """Row-major, but an axis on the highest bits, so that wider values find room below it."""
    bits: list[Bit] = [REPLICATED] * slot_bits
    low = [(a, k) for a in reversed(range(len(shape))) if a != axis for k in range(axis_bits(shape[a]))]
    high = [(axis, k) for k in range(axis_bits(shape[axis]))]
    bits[: len(low)] = low
    bits[slot_bits - len(high) :] = high
    return Layout(shape, tuple(bits))
