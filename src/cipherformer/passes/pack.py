"""Packing: from affine regions and non-linear operations to steps over slots.

Every tensor lies in one ciphertext, in a layout of `kernels.layout`. Products dictate the layouts of their
operands; an affine region takes whatever layout its reader asks for, so repacking is part of a matrix that is
applied anyway. Where nobody asks, the candidates of `passes.place` are tried and the one with the fewest
rotations is taken. The client's input is packed as its first reader likes it (`spread`): replication by the
client is free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cipherformer.errors import CompileError
from cipherformer.kernels import linear
from cipherformer.kernels.algebra import Transform
from cipherformer.kernels.layout import HOLE, REPLICATED, Bit, Layout, axis_bits, row_major, sum_bits
from cipherformer.kernels.step import Step, TermStep
from cipherformer.passes import place
from cipherformer.passes.place import ELEMENTWISE, Product
from cipherformer.passes.regions import Region, Term

Array = NDArray[np.float64]
MAX_COPIES = 4
"""Most ciphertexts that one input is spread over for one reader."""

DIAGONAL = 0.02
"""Cost of one more diagonal against one rotation, for choosing between layouts only."""


@dataclass(frozen=True, eq=False, slots=True)
class Packed:
    """The result of packing, levels not yet decided.

    Args:
        steps: in execution order; steps of kernel `input` are ciphertexts that the client sends.
        outputs: values that go back to the client.
        transforms, vectors: public arrays by key.
        packings: input step -> (graph input, slot map: element index or -1 for each slot).
    """

    steps: tuple[Step, ...]
    outputs: tuple[str, ...]
    transforms: Mapping[str, Transform]
    vectors: Mapping[str, Array]
    packings: Mapping[str, tuple[str, NDArray[np.int64]]]


@dataclass(slots=True)
class _Packer:
    """Work in progress of one `pack` call."""

    slot_bits: int
    regions: Mapping[str, Region]
    products: Mapping[str, Product]
    outputs: frozenset[str]
    demands: dict[str, Layout]
    steps: list[Step] = field(default_factory=list)
    layouts: dict[str, Layout] = field(default_factory=dict)
    wild: set[str] = field(default_factory=set)
    transforms: dict[str, Transform] = field(default_factory=dict)
    vectors: dict[str, Array] = field(default_factory=dict)
    packings: dict[str, tuple[str, NDArray[np.int64]]] = field(default_factory=dict)

    def emit(self, step: Step) -> None:
        self.steps.append(step)
        self.layouts[step.name] = step.layout


@dataclass(frozen=True, eq=False, slots=True)
class _Map:
    """One term of an affine region, decided: rotations before, diagonals, rotations after, and the cost."""

    source: str
    pre: tuple[int, ...]
    routes: linear.Routes
    post: tuple[int, ...]
    cost: float
    bits: tuple[Bit, ...]
    packing: NDArray[np.int64] | None = None


def pack(graph: Sequence[Region], outputs: Sequence[str], slot_bits: int) -> Packed:
    """Choose layouts and diagonals for a graph of regions.

    Raises:
        LimitError: if a tensor or product needs more slots than a ciphertext has.
    """
    regions = {r.name: r for r in graph}
    products = place.place_products(graph, slot_bits)
    demands = _demands(graph, regions, products, slot_bits)
    p = _Packer(slot_bits, regions, products, frozenset(outputs), demands)
    for region in graph:
        if region.kind == "affine":
            _pack_affine(p, region)
        elif region.kind != "input":
            _pack_nonlinear(p, region)
    return Packed(tuple(p.steps), tuple(outputs), p.transforms, p.vectors, p.packings)


def _demands(
    graph: Sequence[Region], regions: Mapping[str, Region], products: Mapping[str, Product], slot_bits: int
) -> dict[str, Layout]:
    """The layout that a value's readers ask for, from the last region to the first."""
    out: dict[str, Layout] = {}
    for r in reversed(graph):
        if r.kind == "matmul":
            a, b = (regions[i].shape for i in r.inputs)
            p = products[r.name]
            out.setdefault(r.inputs[0], p.operand(a, p.m, p.k, slot_bits))
            out.setdefault(r.inputs[1], p.operand(b, p.k, p.n, slot_bits))
        elif r.kind == "mul":
            wanted = out.get(r.name) or _product_layout(r, regions, products, slot_bits)
            for i in r.inputs:
                out.setdefault(i, place.restrict(wanted, _pad_shape(regions[i].shape, r.shape)))
        elif r.kind in ELEMENTWISE and r.name in out:
            out.setdefault(r.inputs[0], out[r.name])
    return out


def _pad_shape(shape: tuple[int, ...], like: tuple[int, ...]) -> tuple[int, ...]:
    return (1,) * (len(like) - len(shape)) + shape


def _product_layout(
    r: Region, regions: Mapping[str, Region], products: Mapping[str, Product], slot_bits: int
) -> Layout:
    """Layout for a product of two tensors elementwise: that of a matrix product among its operands, else
    row-major."""
    for i in r.inputs:
        if i in products and regions[i].shape == r.shape:
            p = products[i]
            return p.operand(r.shape, p.m, p.n, slot_bits)
    return row_major(r.shape, slot_bits)


def _pack_nonlinear(p: _Packer, r: Region) -> None:
    """A product or an elementwise function; its operands are brought into the layouts it needs."""
    if r.kind == "matmul":
        _pack_matmul(p, r)
        return
    inputs = []
    for i in r.inputs:
        inputs.append(_repacked(p, i, p.demands.get(i) if r.kind == "mul" or i in p.wild else None))
    first = p.layouts[inputs[0]]
    if r.kind == "mul":
        full = [p.layouts[i] for i in inputs if p.regions_shape(i) == r.shape] if False else None
        layout = (
            _product_layout(r, p.regions, p.products, p.slot_bits)
            if r.name not in p.demands
            else p.demands[r.name]
        )
        del full
        p.emit(Step(r.name, "mul", tuple(inputs), layout, r.origin))
        return
    zero = first.zero_padding and r.kind == "power"
    layout = Layout(first.shape, first.bits, zero)
    common = {"name": r.name, "kernel": r.kind, "inputs": tuple(inputs), "layout": layout, "origin": r.origin}
    if r.kind == "power":
        p.emit(Step(**common, exponent=int(r.attrs["exponent"])))
    elif r.kind == "polynomial":
        interval = (float(r.attrs["low"]), float(r.attrs["high"]))
        p.emit(Step(**common, coefficients=tuple(r.attrs["coefficients"]), interval=interval))
    else:
        relaxations = tuple(r.attrs["relaxations"])
        p.emit(
            Step(**common, interval=(float(r.attrs["low"]), float(r.attrs["high"])), relaxations=relaxations)
        )


def _pack_matmul(p: _Packer, r: Region) -> None:
    a, b = r.inputs
    product = p.products[r.name]
    left, right = p.regions[a].shape, p.regions[b].shape
    inputs = (
        _repacked(p, a, product.operand(left, product.m, product.k, p.slot_bits)),
        _repacked(p, b, product.operand(right, product.k, product.n, p.slot_bits)),
    )
    full = product.operand(r.shape, product.m, product.n, p.slot_bits)
    contracted = product.k[: axis_bits(left[-1])]
    bits = list(full.bits)
    marked = tuple((-3, 0) if i in contracted else bit for i, bit in enumerate(bits))
    sums, after = sum_bits(marked, contracted)
    layout = Layout(r.shape, after)
    if layout.has_holes:
        p.wild.add(r.name)
    p.emit(Step(r.name, "contract", inputs, layout, r.origin, sums=sums))


def _repacked(p: _Packer, name: str, wanted: Layout | None) -> str:
    """The value in the layout that a reader needs: itself, or an identity map's result (one level)."""
    have = p.layouts[name]
    if wanted is None or have.bits == wanted.bits:
        if name not in p.wild:
            return name
        wanted = Layout(have.shape, tuple(REPLICATED if b == HOLE else b for b in have.bits))
    label = f"{name}.repack"
    if label in p.layouts and p.layouts[label].bits == wanted.bits:
        return label
    moved = linear.routes(linear.Triplets.of(np.eye(int(np.prod(have.shape)))), have, wanted)
    transform = linear.make_transform(label, moved.diagonals(), have.slots)
    p.transforms[label] = transform
    term = TermStep(0, (), label, ())
    p.emit(Step(label, "affine", (name,), wanted, p.regions[name].origin, terms=(term,)))
    return label


def _pack_affine(p: _Packer, r: Region) -> None:
    """Choose the target layout with the least cost, then write the step."""
    reduced = {t.source: _reduce(t, p.layouts[t.source]) for t in r.terms if t.source in p.layouts}
    known = [(matrix, layout) for matrix, layout, _ in reduced.values()]
    demand = p.demands.get(r.name)
    scalar = _scalar_of(r, reduced, demand)
    if scalar is not None:
        _, layout, pre = next(iter(reduced.values()))
        bias = _bias(p, r, layout)
        term = TermStep(0, pre, "", ())
        layout = Layout(r.shape, layout.bits, layout.zero_padding and not bias)
        p.emit(Step(r.name, "scalar", r.inputs, layout, r.origin, (term,), bias, scalar))
        return
    targets = [demand] if demand is not None else place.candidates(r, known, p.slot_bits)
    plans = [
        (layout, [m for t in r.terms for m in _map_term(p, t, reduced.get(t.source), layout)])
        for layout in targets
    ]
    if demand is None and r.name in p.outputs:
        plans += _folded(p, r, reduced)
    layout, maps = min(plans, key=lambda plan: sum(m.cost for m in plan[1]))
    layout = Layout(r.shape, _common_bits([m.bits for m in maps]))
    terms = []
    inputs = []
    for i, m in enumerate(maps):
        key = f"{r.name}.{i}"
        source = m.source if m.packing is None else _input_step(p, m, key)
        p.transforms[key] = linear.make_transform(key, m.routes.diagonals(), layout.slots)
        terms.append(TermStep(len(inputs), m.pre, key, m.post))
        inputs.append(source)
    if any(m.post for m in maps) and layout.has_holes:
        p.wild.add(r.name)
    p.emit(Step(r.name, "affine", tuple(inputs), layout, r.origin, tuple(terms), _bias(p, r, layout)))


def _input_step(p: _Packer, m: _Map, key: str) -> str:
    """The ciphertext of a packed input; equal packings of one input share one."""
    assert m.packing is not None
    for name, (source, packing) in p.packings.items():
        if source == m.source and np.array_equal(packing, m.packing):
            return name
    name = f"{m.source}.{len(p.packings)}"
    p.packings[name] = (m.source, m.packing)
    region = p.regions[m.source]
    p.emit(Step(name, "input", (), row_major(region.shape, p.slot_bits), region.origin))
    return name


def _bias(p: _Packer, r: Region, layout: Layout) -> str:
    assert r.bias is not None
    if not r.bias.any():
        return ""
    where = layout.slot_map()
    vector = np.where(where >= 0, r.bias[where], 0.0)[None]
    p.vectors[r.name] = np.ascontiguousarray(vector[0, : linear.smallest_period(vector)])
    return r.name


def _common_bits(all_bits: Sequence[tuple[Bit, ...]]) -> tuple[Bit, ...]:
    """Bits of a sum: a hole where any summand has one."""
    out = []
    for column in zip(*all_bits, strict=True):
        axes = {bit for bit in column if bit[0] >= 0}
        if len(axes) > 1 or (axes and len(set(column)) > 1):
            raise CompileError("summands of an affine region stand in different layouts")
        out.append(axes.pop() if axes else HOLE if HOLE in column else REPLICATED)
    return tuple(out)


def _reduce(term: Term, layout: Layout) -> tuple[Array, Layout, tuple[int, ...]]:
    """Sum first over slot bits that the matrix does not depend on: smaller matrix, its layout, the
    rotations."""
    if not layout.zero_padding and any(s & (s - 1) for s in layout.shape):
        return term.matrix, layout, ()
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


def _scalar_of(
    r: Region, reduced: Mapping[str, tuple[Array, Layout, tuple[int, ...]]], demand: Layout | None
) -> float | None:
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


def _rotation_cost(rotations: Sequence[int], slots: int) -> float:
    step = linear.baby_step_for(rotations, slots)
    babies = {r % step for r in rotations} - {0}
    giants = {r - r % step for r in rotations} - {0}
    return linear.HOISTED * len(babies) + len(giants) + DIAGONAL * len(rotations)


def _map_term(
    p: _Packer, term: Term, reduced: tuple[Array, Layout, tuple[int, ...]] | None, target: Layout
) -> list[_Map]:
    """Diagonals for one term into a given layout. `reduced` is None for a graph input."""
    if reduced is None:
        return _spread(p, term, target)
    matrix, layout, pre = reduced
    moved = linear.routes(linear.Triplets.of(matrix), layout, target)
    cost = len(pre) + _rotation_cost(moved.rotations(), layout.slots)
    return [_Map(term.source, pre, moved, (), cost, target.bits)]


def _spread(p: _Packer, term: Term, target: Layout) -> list[_Map]:
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
        cost = _rotation_cost(moved.rotations(), source.slots) + 2
        return [_Map(term.source, (), moved, (), cost, target.bits, source.slot_map())]
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
        out.append(_Map(term.source, (), weights, post, cost, target.bits, packing))
    return out


def _folded(
    p: _Packer, r: Region, reduced: Mapping[str, tuple[Array, Layout, tuple[int, ...]]]
) -> list[tuple[Layout, list[_Map]]]:
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
        maps[source] = _Map(
            source, pre, _weights(matrix, layout, place_of), post, len(pre) + len(post), after
        )
    target = Layout(r.shape, _common_bits([m.bits for m in maps.values()]))
    rest = [m for t in r.terms if t.source not in reduced for m in _spread(p, t, target)]
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
