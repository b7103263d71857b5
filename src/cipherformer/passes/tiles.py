"""Tiles: a value too large for one ciphertext becomes several values, cut along one axis.

A product of matrices whose result is too large is cut along its heads, and with it its operands and what
follows element by element or head by head (scores, weights, row sums, the product with the values). Otherwise
only affine regions make such values from smaller ones (the wide layer of an MLP), cut along the last axis; a
tile is as wide as what it is made from, so that the diagonals of its matrix are as short. Affine regions
make one value of tiles again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cipherformer.errors import LimitError
from cipherformer.kernels.layout import axis_bits
from cipherformer.kernels.linear import Triplets
from cipherformer.passes.carried import left_over, small_matrix
from cipherformer.passes.place import ELEMENTWISE
from cipherformer.passes.regions import Region, Term

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """How a value is cut: along an axis into so many parts of equal size."""

    axis: int
    count: int

    def part(self, shape: Shape, k: int) -> slice:
        """Indices of tile k."""
        width = shape[self.axis] // self.count
        return slice(k * width, (k + 1) * width)

    def tile(self, shape: Shape) -> Shape:
        """The shape of a tile."""
        return tuple(s // self.count if i == self.axis else s for i, s in enumerate(shape))


def cut(graph: Sequence[Region], outputs: Sequence[str], slot_bits: int) -> tuple[Region, ...]:
    """The graph of regions with tiles in place of values that do not fit 2^slot_bits slots.

    Raises:
        LimitError: if such a value is an input, an output, or meets an operation that cannot be cut.
    """
    by_name = {r.name: r for r in graph}
    cuts = _by_heads(graph, by_name, slot_bits)
    out: list[Region] = []
    for r in graph:
        from_tiles = [i for i in r.inputs if i in cuts]
        if r.name not in cuts and _large(r.shape, slot_bits):
            cuts[r.name] = _last_axis(r, by_name, cuts, slot_bits)
        mine = cuts.get(r.name)
        if r.kind == "affine":
            whole = _joined(r, by_name, cuts, mine) if from_tiles else r
            out += [whole] if mine is None else _cut_affine(whole, r, by_name, cuts, mine)
        elif mine is None and not from_tiles:
            out.append(r)
        elif mine is not None and r.kind != "input":
            for k in range(mine.count):
                inputs = tuple(f"{i}.{k}" if i in cuts else i for i in r.inputs)
                out.append(replace(r, name=f"{r.name}.{k}", inputs=inputs, shape=mine.tile(r.shape)))
        else:
            raise _refusal(r, slot_bits)
    for name in outputs:
        if name in cuts:
            raise _refusal(by_name[name], slot_bits)
    return tuple(out)


def _large(shape: Shape, slot_bits: int) -> bool:
    return sum(map(axis_bits, shape)) > slot_bits


def _refusal(r: Region, slot_bits: int) -> LimitError:
    return LimitError(
        f"{r.kind} of a value of shape {r.shape}",
        where=r.origin or r.name,
        why=f"a ciphertext has 2^{slot_bits} slots, and only affine and elementwise operations are cut, and"
        " products along their heads",
        fix="use fewer tokens or features",
    )


def _by_heads(graph: Sequence[Region], by_name: Mapping[str, Region], slot_bits: int) -> dict[str, Cut]:
    """Values that are cut along the heads of a product, until nothing more follows."""
    cuts: dict[str, Cut] = {}
    before = -1
    while before < len(cuts):
        before = len(cuts)
        for r in graph:
            if r.kind == "matmul":
                _mark_product(r, by_name, cuts, slot_bits)
            elif r.kind == "mul" or r.kind in ELEMENTWISE:
                alike = [n for n in (r.name, *r.inputs) if len(by_name[n].shape) == len(r.shape)]
                found = [cuts[n] for n in alike if n in cuts]
                for n in alike if found else ():
                    if by_name[n].shape[found[0].axis] > 1 and by_name[n].kind != "input":
                        cuts.setdefault(n, found[0])
            elif r.kind == "affine" and r.terms and all(t.source in cuts for t in r.terms):
                _mark_followed(r, cuts)
    return cuts


def _mark_product(r: Region, by_name: Mapping[str, Region], cuts: dict[str, Cut], slot_bits: int) -> None:
    """A product whose result is too large, or that reads tiles, is cut along its heads, operands as well."""
    names = (r.name, *r.inputs)
    found = next((cuts[n] for n in names if n in cuts), None)
    heads = len(r.shape) - 3
    excess = sum(map(axis_bits, r.shape)) - slot_bits
    if found is None and excess > 0 and heads >= 0 and r.shape[heads] % (1 << excess) == 0:
        found = Cut(heads, 1 << excess)
    if found is not None and all(by_name[n].shape[found.axis] == r.shape[found.axis] for n in names):
        for n in names:
            cuts.setdefault(n, found)


def _mark_followed(r: Region, cuts: dict[str, Cut]) -> None:
    """An affine region of tiles that carries the axis they are cut along is cut likewise."""
    found = {
        (next((b for a, b in t.carried if a == cuts[t.source].axis), -1), cuts[t.source].count)
        for t in r.terms
    }
    axis, count = next(iter(found))
    if len(found) == 1 and axis >= 0:
        cuts.setdefault(r.name, Cut(axis, count))


def _last_axis(r: Region, by_name: Mapping[str, Region], cuts: Mapping[str, Cut], slot_bits: int) -> Cut:
    """An affine value is cut into tiles as wide as what they are made from, an elementwise one as its
    operands."""
    if r.kind in ELEMENTWISE or r.kind == "mul":
        found = {cuts.get(i) for i in r.inputs}
        one = found.pop()
        if found or one is None:
            raise _refusal(r, slot_bits)
        return one
    if r.kind != "affine":
        raise _refusal(r, slot_bits)
    room = 1 << max(0, slot_bits - sum(map(axis_bits, r.shape[:-1])))
    sources = [left_over(by_name[t.source].shape, [a for a, _ in t.carried]) for t in r.terms if t.carried]
    width = min([room, *(1 << axis_bits(s) for s in sources if s > 1)])
    if r.shape[-1] % width or width == r.shape[-1]:
        raise _refusal(r, slot_bits)
    return Cut(len(r.shape) - 1, r.shape[-1] // width)


def _cut_affine(
    whole: Region, r: Region, by_name: Mapping[str, Region], cuts: Mapping[str, Cut], mine: Cut
) -> list[Region]:
    """An affine region as several. Where it follows its tiles head by head, each is made from its own."""
    assert whole.bias is not None
    bias = whole.bias.reshape(r.shape)
    followed = whole is r and all(t.source in cuts for t in r.terms)
    out = []
    for k in range(mine.count):
        part = mine.part(r.shape, k)
        if followed:
            terms = tuple(replace(t, source=f"{t.source}.{k}") for t in r.terms)
        else:
            terms = tuple(
                _rows(t, _shape_of(t.source, by_name, cuts), r.shape, mine.axis, part) for t in whole.terms
            )
        index = tuple(part if i == mine.axis else slice(None) for i in range(len(r.shape)))
        out.append(
            replace(
                whole,
                name=f"{r.name}.{k}",
                shape=mine.tile(r.shape),
                inputs=tuple(dict.fromkeys(t.source for t in terms)),
                terms=terms,
                bias=np.ascontiguousarray(bias[index]).reshape(-1),
            )
        )
    return out


def _shape_of(name: str, by_name: Mapping[str, Region], cuts: Mapping[str, Cut]) -> Shape:
    """The shape of a value or of a tile."""
    if name in by_name:
        return by_name[name].shape
    whole = name.rpartition(".")[0]
    return cuts[whole].tile(by_name[whole].shape)


def _joined(r: Region, by_name: Mapping[str, Region], cuts: Mapping[str, Cut], mine: Cut | None) -> Region:
    """The region with a term for each tile that it reads; as it is if it follows its tiles."""
    axes = [(cuts[t.source].axis, mine.axis) if mine and t.source in cuts else None for t in r.terms]
    if mine and all(
        a in t.carried and cuts[t.source].count == mine.count for a, t in zip(axes, r.terms, strict=True)
    ):
        return r
    terms: list[Term] = []
    for t in r.terms:
        if t.source not in cuts:
            terms.append(t)
            continue
        shape, how = by_name[t.source].shape, cuts[t.source]
        for k in range(how.count):
            term = _columns(t, shape, r.shape, how.axis, how.part(shape, k))
            terms.append(replace(term, source=f"{t.source}.{k}"))
    return replace(r, terms=tuple(terms), inputs=tuple(dict.fromkeys(t.source for t in terms)))


def _rows(t: Term, source: Shape, result: Shape, axis: int, part: slice) -> Term:
    """A term for a part of an axis of the result."""
    if t.local is not None:
        return replace(t, local=part_of_entries(t.local, (result, source), 0, axis, part))
    t = _not_carried(t, source, result, 1, axis)
    matrix = _parted(t.matrix, result, [b for _, b in t.carried], axis, part)
    return replace(t, matrix=matrix)


def _columns(t: Term, source: Shape, result: Shape, axis: int, part: slice) -> Term:
    """A term for a part of an axis of the source."""
    if t.local is not None:
        return replace(t, local=part_of_entries(t.local, (result, source), 1, axis, part))
    t = _not_carried(t, source, result, 0, axis)
    matrix = _parted(t.matrix.T, source, [a for a, _ in t.carried], axis, part)
    return replace(t, matrix=np.ascontiguousarray(matrix.T))


def part_of_entries(
    entries: Triplets, shapes: tuple[Shape, Shape], side: int, axis: int, part: slice
) -> Triplets:
    """Non-zeros in a part of an axis of the result (side 0) or of the source (side 1), over that part."""
    index = [
        list(np.unravel_index(flat, s)) for flat, s in zip((entries.row, entries.column), shapes, strict=True)
    ]
    inside = (index[side][axis] >= part.start) & (index[side][axis] < part.stop)
    index[side][axis] = index[side][axis] - part.start
    sizes = [list(s) for s in shapes]
    sizes[side][axis] = part.stop - part.start
    row, column = (np.ravel_multi_index([x[inside] for x in i], s) for i, s in zip(index, sizes, strict=True))
    rows, columns = (int(np.prod(s)) for s in sizes)
    return Triplets.from_entries((rows, columns), row, column, entries.weight[inside])


def _parted(rows: np.ndarray, shape: Shape, carried: Sequence[int], axis: int, part: slice) -> np.ndarray:
    """Rows of a matrix, over the axes of a shape that are not carried: those in a part of one of them."""
    rest = [i for i in range(len(shape)) if i not in carried]
    split = rows.reshape(*(shape[i] for i in rest), rows.shape[1])
    index = tuple(part if i == axis else slice(None) for i in rest)
    return np.ascontiguousarray(split[index]).reshape(-1, rows.shape[1])


def _not_carried(t: Term, source: Shape, result: Shape, side: int, axis: int) -> Term:
    """The same term with an axis of the source (side 0) or of the result (side 1) in its matrix."""
    pairs = tuple(p for p in t.carried if p[side] != axis)
    if pairs == t.carried:
        return t
    matrix = small_matrix(lambda x: t.apply(x, result), source, result, pairs)
    return Term(t.source, matrix, pairs)
