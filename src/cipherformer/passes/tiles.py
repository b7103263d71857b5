"""Tiles: a value too large for one ciphertext becomes several values, cut along its last axis.

Only affine regions make such values from smaller ones (the wide layer of an MLP), and only affine regions
make smaller ones of them; what is elementwise in between runs for every tile. A tile is as wide as what
it is made from, so that the diagonals of its matrix are as short.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from cipherformer.errors import LimitError
from cipherformer.kernels.layout import axis_bits
from cipherformer.passes.carried import apply_term, left_over, small_matrix
from cipherformer.passes.place import ELEMENTWISE
from cipherformer.passes.regions import Region, Term

Tiles = tuple[str, ...]


def cut(graph: Sequence[Region], outputs: Sequence[str], slot_bits: int) -> tuple[Region, ...]:
    """The graph of regions with tiles in place of values that do not fit 2^slot_bits slots.

    Raises:
        LimitError: if such a value is an input, an output, or meets an operation that cannot be cut.
    """
    by_name = {r.name: r for r in graph}
    tiles: dict[str, Tiles] = {}
    out: list[Region] = []
    for r in graph:
        large = sum(map(axis_bits, r.shape)) > slot_bits
        from_tiles = [i for i in r.inputs if i in tiles]
        if not large and not from_tiles:
            out.append(r)
        elif r.kind == "affine":
            whole = _joined(r, by_name, tiles) if from_tiles else r
            made = _cut_affine(whole, by_name, slot_bits) if large else (whole,)
            out += made
            if large:
                tiles[r.name] = tuple(m.name for m in made)
        elif from_tiles and _alike(r, tiles):
            count = len(tiles[from_tiles[0]])
            shape = (*r.shape[:-1], r.shape[-1] // count)
            for k in range(count):
                inputs = tuple(tiles[i][k] if i in tiles else i for i in r.inputs)
                out.append(replace(r, name=f"{r.name}.{k}", inputs=inputs, shape=shape))
            tiles[r.name] = tuple(f"{r.name}.{k}" for k in range(count))
        else:
            raise _refusal(r, slot_bits)
    for name in outputs:
        if name in tiles:
            raise _refusal(by_name[name], slot_bits)
    return tuple(out)


def _alike(r: Region, tiles: Mapping[str, Tiles]) -> bool:
    """True if the tiles of an operation come from the tiles of its operands, one from one."""
    if r.kind == "mul":
        return len({len(tiles.get(i, ())) for i in r.inputs}) == 1
    return r.kind in ELEMENTWISE


def _refusal(r: Region, slot_bits: int) -> LimitError:
    return LimitError(
        f"{r.kind} of a value of shape {r.shape}",
        where=r.origin or r.name,
        why=f"a ciphertext has 2^{slot_bits} slots, and only affine and elementwise operations are cut",
        fix="use fewer tokens or features",
    )


def _cut_affine(r: Region, by_name: Mapping[str, Region], slot_bits: int) -> tuple[Region, ...]:
    """An affine region as several, each a part of the last axis."""
    size = r.shape[-1]
    room = 1 << (slot_bits - sum(map(axis_bits, r.shape[:-1])))
    sources = [left_over(by_name[t.source].shape, [a for a, _ in t.carried]) for t in r.terms if t.carried]
    width = min([room, *(1 << axis_bits(s) for s in sources if s > 1)])
    if width < 1 or size % width:
        raise _refusal(r, slot_bits)
    assert r.bias is not None
    bias = r.bias.reshape(r.shape)
    out = []
    for k in range(size // width):
        part = slice(k * width, (k + 1) * width)
        terms = tuple(_rows(t, by_name[t.source].shape, r.shape, part) for t in r.terms)
        shape = (*r.shape[:-1], width)
        flat = np.ascontiguousarray(bias[..., part]).reshape(-1)
        out.append(replace(r, name=f"{r.name}.{k}", shape=shape, terms=terms, bias=flat))
    return tuple(out)


def _joined(r: Region, by_name: Mapping[str, Region], tiles: Mapping[str, Tiles]) -> Region:
    """The region with a term for each tile that it reads."""
    terms: list[Term] = []
    for t in r.terms:
        names = tiles.get(t.source)
        if names is None:
            terms.append(t)
            continue
        shape = by_name[t.source].shape
        width = shape[-1] // len(names)
        for k, name in enumerate(names):
            part = slice(k * width, (k + 1) * width)
            terms.append(replace(_columns(t, shape, r.shape, part), source=name))
    return replace(r, terms=tuple(terms), inputs=tuple(dict.fromkeys(t.source for t in terms)))


def _rows(t: Term, source: tuple[int, ...], result: tuple[int, ...], part: slice) -> Term:
    """A term for a part of the result's last axis."""
    t = _not_carried(t, source, result, 1)
    rows = t.matrix.reshape(-1, result[-1], t.matrix.shape[1])[:, part]
    return replace(t, matrix=np.ascontiguousarray(rows).reshape(-1, t.matrix.shape[1]))


def _columns(t: Term, source: tuple[int, ...], result: tuple[int, ...], part: slice) -> Term:
    """A term for a part of the source's last axis."""
    t = _not_carried(t, source, result, 0)
    columns = t.matrix.reshape(t.matrix.shape[0], -1, source[-1])[..., part]
    return replace(t, matrix=np.ascontiguousarray(columns).reshape(t.matrix.shape[0], -1))


def _not_carried(t: Term, source: tuple[int, ...], result: tuple[int, ...], side: int) -> Term:
    """The same term with the last axis of the source (side 0) or of the result (side 1) in its matrix."""
    last = len((source, result)[side]) - 1
    pairs = tuple(p for p in t.carried if p[side] != last)
    if pairs == t.carried:
        return t
    matrix = small_matrix(lambda x: apply_term(t.matrix, t.carried, x, result), source, result, pairs)
    return Term(t.source, matrix, pairs)
