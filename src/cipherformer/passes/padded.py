"""Tokens that are no power of two: regions over as many as slots hold, the further ones copies of the first.

An axis that terms carry through keeps its slot bits only if it fills them (`passes.structured`). So it is
made to: what stands at an index beyond the model's is what stands at index 0, wherever the axis goes, so that
every value stays in its calibrated range. Where the axis is summed away, the further indices count as zero:
columns of a matrix for free, the right operand of a product by a map of one diagonal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cipherformer.kernels.layout import axis_bits
from cipherformer.kernels.linear import Triplets
from cipherformer.passes.regions import Region, Term
from cipherformer.passes.structured import written_out

Axis = tuple[str, int]
"""(value, one of its axes)."""
Shape = tuple[int, ...]


def padded(graph: Sequence[Region], outputs: Sequence[str]) -> tuple[Region, ...]:
    """The graph of regions with carried axes of a power of two each; inputs and outputs keep their shapes."""
    old = {r.name: r.shape for r in graph}
    wide = _wide(graph, outputs)
    if not wide:
        return tuple(graph)
    new = {
        name: tuple(1 << axis_bits(s) if (name, i) in wide else s for i, s in enumerate(shape))
        for name, shape in old.items()
    }
    out: list[Region] = []
    for r in graph:
        if r.kind == "affine":
            terms = tuple(_term(t, (old[t.source], new[t.source]), (r.shape, new[r.name])) for t in r.terms)
            assert r.bias is not None
            bias = r.bias[_origin(r.shape, new[r.name])]
            out.append(replace(r, shape=new[r.name], terms=terms, bias=bias))
            continue
        inputs = r.inputs
        if r.kind == "matmul" and new[r.inputs[0]][-1] != old[r.inputs[0]][-1]:
            name = f"{r.inputs[1]}.kept"
            source = next(x for x in graph if x.name == r.inputs[1])
            if all(x.name != name for x in out):
                out.append(_kept(source, name, new[source.name]))
            inputs = (r.inputs[0], name)
        out.append(replace(r, shape=new[r.name], inputs=inputs))
    return tuple(out)


def _wide(graph: Sequence[Region], outputs: Sequence[str]) -> set[Axis]:
    """The axes to fill up: those that follow, or are followed by, one that a term carries."""
    shapes = {r.name: r.shape for r in graph}
    kinds = {r.name: r.kind for r in graph}
    group: dict[Axis, Axis] = {}

    def find(x: Axis) -> Axis:
        while group.setdefault(x, x) != x:
            x = group[x]
        return x

    carried: list[Axis] = []
    for r in graph:
        for x, y in _links(r, shapes):
            ends = [name for name, _ in (x, y)]
            size = shapes[x[0]][x[1]]
            if any(kinds[n] == "input" for n in ends) or not size & (size - 1):
                continue
            if r.kind == "affine" and r.name in outputs:
                continue
            group[find(x)] = find(y)
            carried += [x] if r.kind == "affine" else []
    fixed = {find((name, i)) for name in outputs for i in range(len(shapes[name]))}
    found = {find(x) for x in carried} - fixed
    return {x for x in list(group) if find(x) in found}


def _links(r: Region, shapes: dict[str, Shape]) -> list[tuple[Axis, Axis]]:
    """Axes of a region and of what it reads that have the same index."""
    if r.kind == "affine":
        return [((t.source, a), (r.name, b)) for t in r.terms for a, b in t.carried]
    out: list[tuple[Axis, Axis]] = []
    last = len(r.shape) - 1
    if r.kind == "matmul":
        left, right = r.inputs
        out += [((left, last - 1), (r.name, last - 1)), ((right, last), (r.name, last))]
        out += [((left, last), (right, last - 1))]
        out += [((i, axis), (r.name, axis)) for i in r.inputs for axis in range(last - 1)]
    else:
        for i in r.inputs:
            behind = len(r.shape) - len(shapes[i])
            out += [((i, axis), (r.name, axis + behind)) for axis in range(len(shapes[i]))]
    return [(x, y) for x, y in out if shapes[x[0]][x[1]] == shapes[y[0]][y[1]]]


def _origin(old: Shape, new: Shape) -> NDArray[np.int64]:
    """For each flat index of the new shape the one of the old that stands there."""
    index = [np.where(np.arange(n) < s, np.arange(n), 0) for s, n in zip(old, new, strict=True)]
    grid = np.meshgrid(*index, indexing="ij")
    return np.ravel_multi_index(grid, old).reshape(-1).astype(np.int64)


def _term(t: Term, source: tuple[Shape, Shape], result: tuple[Shape, Shape]) -> Term:
    """A term between the new shapes; each argument (old, new)."""
    if source[0] == source[1] and result[0] == result[1]:
        return t
    sizes = [(source[1][a], result[1][b]) for a, b in t.carried]
    if t.local is None and all(x == y for x, y in sizes):
        return replace(t, matrix=_matrix(t, source, result))
    entries = t.local or written_out(t, source[0], result[0], ())
    return Term(t.source, np.zeros((0, 0)), local=_entries(entries, source, result))


def _matrix(t: Term, source: tuple[Shape, Shape], result: tuple[Shape, Shape]) -> NDArray[np.float64]:
    """Further columns are zero, further rows those of index 0."""
    rest = [a for a in range(len(source[0])) if a not in [p[0] for p in t.carried]]
    rows = [b for b in range(len(result[0])) if b not in [p[1] for p in t.carried]]
    full = t.matrix.reshape(-1, *(source[0][a] for a in rest))
    full = np.pad(full, [(0, 0), *((0, source[1][a] - source[0][a]) for a in rest)])
    where = _origin(tuple(result[0][b] for b in rows), tuple(result[1][b] for b in rows)) if rows else [0]
    return np.ascontiguousarray(full.reshape(len(t.matrix), -1)[where])


def _entries(entries: Triplets, source: tuple[Shape, Shape], result: tuple[Shape, Shape]) -> Triplets:
    """The same of non-zeros."""
    size = int(np.prod(source[1]))
    column = np.ravel_multi_index(np.unravel_index(entries.column, source[0]), source[1]).astype(np.int64)
    row = _origin(*result)
    count = entries.start[row + 1] - entries.start[row]
    start = np.concatenate([[0], np.cumsum(count)])
    pick = np.arange(start[-1]) + np.repeat(entries.start[row] - start[:-1], count)
    return Triplets(len(row), size, start, column[pick], entries.weight[pick])


def _kept(r: Region, name: str, new: Shape) -> Region:
    """A value with zeros at the further indices of the axis that a product sums over."""
    index = np.arange(int(np.prod(new)))
    row = index[np.unravel_index(index, new)[-2] < r.shape[-2]]
    identity = Triplets.from_entries((len(index), len(index)), row, row, np.ones(len(row)))
    term = Term(r.name, np.zeros((0, 0)), local=identity)
    return Region(name, "affine", (r.name,), new, r.low, r.high, r.origin, {}, (term,), np.zeros(len(index)))
