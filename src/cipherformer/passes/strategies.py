"""Ways to compute one term of an affine region over slots, and what each costs.

Diagonals work between any two layouts. An input may be spread so that it needs no rotation before the
product. An output index may stand on slot bits that every source has replicated: one product, then sums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cipherformer.errors import CompileError
from cipherformer.kernels import linear
from cipherformer.kernels.layout import HOLE, REPLICATED, Bit, Layout, axis_bits, row_major, sum_bits
from cipherformer.passes.packing import Array, Packer, Reduced, Route
from cipherformer.passes.regions import Region, Term

MAX_COPIES = 4
"""Most ciphertexts that one input is spread over for one reader."""

DIAGONAL = 0.02
"""Cost of one more diagonal against one rotation, for choosing between layouts only."""


def reduce(term: Term, layout: Layout) -> Reduced:
    """Sum first over slot bits that the matrix does not depend on: smaller matrix, its layout, the
    rotations."""
    which = linear.invariant_bits(term.matrix, layout)
    rotations, bits = sum_bits(layout.bits, which)
    matrix, shape = term.matrix, layout.shape
    summed = sorted((layout.bits[i] for i in which), reverse=True)
    for axis, k in summed:
        full = matrix.reshape(-1, *shape)
        split = full.reshape(
            *full.shape[: axis + 1], shape[axis] >> (k + 1), 2, 1 << k, *full.shape[axis + 2 :]
        )
        matrix = np.take(split, 0, axis=axis + 2).reshape(len(matrix), -1)
        shape = (*shape[:axis], shape[axis] // 2, *shape[axis + 1 :])
        bits = tuple((a, b - 1) if a == axis and b > k else (a, b) for a, b in bits)
    return matrix, Layout(shape, bits), rotations


def scalar_of(r: Region, reduced: Mapping[str, Reduced], demand: Layout | None) -> float | None:
    """The factor if the region is a number times one source, in place; None otherwise."""
    if len(r.terms) != 1 or r.terms[0].source not in reduced:
        return None
    matrix, layout, _ = reduced[r.terms[0].source]
    if (
        matrix.shape[0] != matrix.shape[1]
        or int(np.prod(layout.shape)) != matrix.shape[0]
        or layout.has_holes
    ):
        return None
    factor = float(matrix[0, 0])
    if factor == 0 or not np.array_equal(matrix, factor * np.eye(len(matrix))):
        return None
    squeezed = [s for s in layout.shape if s > 1] == [s for s in r.shape if s > 1]
    if not squeezed or len(layout.shape) != len(r.shape) or layout.shape != r.shape:
        return None
    if demand is not None and demand.bits != layout.bits:
        return None
    return factor


def rotation_cost(rotations: Sequence[int], slots: int) -> float:
    """Cost of a linear map with these rotations, in units of one rotation."""
    step = linear.baby_step_for(rotations, slots)
    babies = {r % step for r in rotations} - {0}
    giants = {r - r % step for r in rotations} - {0}
    return linear.HOISTED * len(babies) + len(giants) + DIAGONAL * len(rotations)


def map_term(p: Packer, term: Term, reduced: Reduced | None, target: Layout) -> list[Route]:
    """Diagonals for one term into a given layout. `reduced` is None for a graph input."""
    if reduced is None:
        return spread(p, term, target)
    matrix, layout, pre = reduced
    moved = linear.routes(linear.Triplets.of(matrix), layout, target)
    cost = len(pre) + rotation_cost(moved.rotations(), layout.slots)
    return [Route(term.source, pre, moved, (), cost, target.bits)]


def spread(p: Packer, term: Term, target: Layout) -> list[Route]:
    """An input packed so that products and a rotate-and-sum give M x, without a rotation of the input.

    Slot (u, t) holds the u-th input element that row D(t) of M reads, u standing on slot bits that the target
    does not use: holes, and the replicated run on top. What does not fit goes to further ciphertexts, at most
    `MAX_COPIES`; beyond that the input is packed row-major and mapped by diagonals.
    """
    triplets = linear.Triplets.of(term.matrix)
    unused = [i for i, bit in enumerate(target.bits) if bit == HOLE or i >= target.occupied]
    free = unused[: axis_bits(max(triplets.widest, 1))]
    copies = -(-triplets.widest // (1 << len(free)))
    if copies > MAX_COPIES:
        region = p.regions[term.source]
        source = row_major(region.shape, p.slot_bits)
        moved = linear.routes(triplets, source, target)
        cost = rotation_cost(moved.rotations(), source.slots) + 2
        return [Route(term.source, (), moved, (), cost, target.bits, source.slot_map())]
    opened = [REPLICATED if i in free else bit for i, bit in enumerate(target.bits)]
    row = Layout(target.shape, tuple(opened)).slot_map()
    t = np.nonzero(row >= 0)[0]
    u = sum(((t >> i) & 1) << k for k, i in enumerate(free)) + np.zeros_like(t)
    post, _ = sum_bits(target.bits, free)
    out = []
    for copy in range(copies):
        entry = triplets.start[row[t]] + u + (copy << len(free))
        inside = entry < triplets.start[row[t] + 1]
        packing = np.full(target.slots, -1, dtype=np.int64)
        packing[t[inside]] = triplets.column[entry[inside]]
        still = np.zeros(int(inside.sum()), dtype=np.int64)
        weights = linear.Routes(target.slots, t[inside], still, triplets.weight[entry[inside]])
        cost = DIAGONAL + (len(free) if copy == 0 else 1.0)
        out.append(Route(term.source, (), weights, post, cost, target.bits, packing))
    return out


def folded(p: Packer, r: Region, reduced: Mapping[str, Reduced]) -> list[tuple[Layout, list[Route]]]:
    """Output index on slot bits that every source has replicated: one product, then sums over all other
    bits."""
    need = axis_bits(int(np.prod(r.shape)))
    if not reduced:
        return []
    free = [
        i
        for i in range(p.slot_bits)
        if all(layout.bits[i] == REPLICATED for _, layout, _ in reduced.values())
    ]
    if len(free) < need or sum(s > 1 for s in r.shape) > 1:
        return []
    axis = next((a for a, s in enumerate(r.shape) if s > 1), 0)
    place_of = dict(zip(free, [(axis, k) for k in range(need)], strict=False))
    maps = {}
    for source, (matrix, layout, pre) in reduced.items():
        summed = [i for i, bit in enumerate(layout.bits) if bit[0] >= 0]
        marked = tuple(place_of.get(i, (-3, 0) if i in summed else bit) for i, bit in enumerate(layout.bits))
        post, after = sum_bits(marked, summed)
        maps[source] = Route(
            source, pre, _weights(matrix, layout, place_of), post, len(pre) + len(post), after
        )
    target = Layout(r.shape, common_bits([m.bits for m in maps.values()]))
    rest = [m for t in r.terms if t.source not in reduced for m in spread(p, t, target)]
    return [(target, [*maps.values(), *rest])]


def _weights(matrix: Array, layout: Layout, place_of: Mapping[int, Bit]) -> linear.Routes:
    """The diagonal w[t] = M[row(t), column(t)] where the row stands on formerly replicated bits."""
    column = layout.slot_map()
    slot = np.arange(layout.slots)
    row = sum(((slot >> i) & 1) << k for i, (_, k) in place_of.items()) + np.zeros(
        layout.slots, dtype=np.int64
    )
    t = np.nonzero((column >= 0) & (row < matrix.shape[0]))[0]
    return linear.Routes(layout.slots, t, np.zeros(len(t), dtype=np.int64), matrix[row[t], column[t]])


def common_bits(all_bits: Sequence[tuple[Bit, ...]]) -> tuple[Bit, ...]:
    """Bits of a sum: a hole where any summand has one."""
    out = []
    for column in zip(*all_bits, strict=True):
        axes = {bit for bit in column if bit[0] >= 0}
        if len(axes) > 1 or (axes and len(set(column)) > 1):
            raise CompileError("summands of an affine region stand in different layouts")
        out.append(axes.pop() if axes else HOLE if HOLE in column else REPLICATED)
    return tuple(out)
