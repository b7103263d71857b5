"""Packing: from affine regions and non-linear operations to steps over slots.

Every tensor lies in one ciphertext, in a layout of `kernels.layout`. Products dictate the layouts of their
operands; an affine region takes whatever layout its reader asks for, so repacking is part of a matrix that is
applied anyway. Where nobody asks, the candidates of `passes.place` are tried and the one with the fewest
rotations is taken. The client's input is packed as its first reader likes it (`spread`): replication by the
client is free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from cipherformer.kernels import linear
from cipherformer.kernels.layout import HOLE, REPLICATED, Bit, Layout, axis_bits, row_major, sum_bits
from cipherformer.kernels.step import Step, TermStep
from cipherformer.passes import place
from cipherformer.passes.packing import Packed, Packer, Reduced, Route
from cipherformer.passes.padded import padded
from cipherformer.passes.place import ELEMENTWISE, Product
from cipherformer.passes.regions import Region, Term
from cipherformer.passes.skew import skewed
from cipherformer.passes.spread import spread_operands
from cipherformer.passes.strategies import common_bits, folded, map_term, reduce, scalar_of
from cipherformer.passes.structured import (
    between,
    facing_layout,
    fits,
    lifted,
    near_layout,
    term_routes,
    uniform_factor,
)
from cipherformer.passes.tiles import cut

MAX_DIAGONALS = 128
"""Stepwise packing takes two maps (one level more) in place of one with more diagonals than this."""

MAX_MOVED = 512
"""Most diagonals with which a map of a structured region also moves to another layout."""


def pack(
    graph: Sequence[Region], outputs: Sequence[str], slot_bits: int, *, stepwise: bool = False
) -> Packed:
    """Choose layouts and diagonals for a graph of regions.

    Args:
        graph: in topological order.
        outputs: values that go back to the client.
        slot_bits: log2 of the slots.
        stepwise: prefer two small maps to one large: less memory for diagonals, more levels.

    Raises:
        LimitError: if a tensor or product needs more slots than a ciphertext has.
    """
    graph = cut(padded(graph, outputs), outputs, slot_bits)
    regions = {r.name: r for r in graph}
    products = place.place_products(graph, slot_bits)
    demands = _demands(graph, regions, products, slot_bits)
    p = Packer(slot_bits, regions, products, frozenset(outputs), demands, stepwise)
    for region in graph:
        if region.kind == "affine":
            pack_affine(p, region)
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
            out.setdefault(r.inputs[1], p.operand(b, p.other or p.k, p.n, slot_bits))
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
    row-major, with the axis on top that a reader carries."""
    for i in r.inputs:
        if i in products and regions[i].shape == r.shape:
            p = products[i]
            return p.operand(r.shape, p.m, p.n, slot_bits)
    readers = [t for other in regions.values() for t in other.terms if t.source == r.name and t.structured]
    axis = next((a for t in readers for a, _ in t.carried), None)
    return row_major(r.shape, slot_bits) if axis is None else lifted(r.shape, axis, slot_bits)


def _pack_nonlinear(p: Packer, r: Region) -> None:
    """A product or an elementwise function; its operands are brought into the layouts it needs."""
    if r.kind == "matmul":
        _pack_matmul(p, r)
        return
    inputs = []
    for i in r.inputs:
        inputs.append(_repacked(p, i, p.demands.get(i) if r.kind == "mul" or i in p.wild else None))
    first = p.layouts[inputs[0]]
    if r.kind == "mul":
        layout = (
            _product_layout(r, p.regions, p.products, p.slot_bits)
            if r.name not in p.demands
            else p.demands[r.name]
        )
        for i in inputs:
            layout = Layout(layout.shape, _with_holes(layout.bits, p.layouts[i]), layout.zero_padding)
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


def _pack_matmul(p: Packer, r: Region) -> None:
    a, b = r.inputs
    product = p.products[r.name]
    left, right = p.regions[a].shape, p.regions[b].shape
    inputs = (
        _repacked(p, a, product.operand(left, product.m, product.k, p.slot_bits)),
        _repacked(p, b, product.operand(right, product.other or product.k, product.n, p.slot_bits)),
    )
    length = left[-1]
    if length & (length - 1) and not any(p.layouts[i].zero_padding for i in inputs):
        # The sum runs over the padding too: one operand must hold zeros there.
        inputs = (_zeroed(p, inputs[0]), inputs[1])
    full = product.operand(r.shape, product.m, product.n, p.slot_bits)
    contracted = product.k[: axis_bits(left[-1])]
    stages: dict[str, tuple[tuple[str, ...], ...]] = {}
    if product.other:
        inputs_layouts = p.layouts[inputs[0]], p.layouts[inputs[1]]
        stages = spread_operands(p, product, len(contracted), *inputs_layouts)
        contracted = tuple(i for i in contracted if i not in product.n)
    bits = list(full.bits)
    marked = tuple((-3, 0) if i in contracted else bit for i, bit in enumerate(bits))
    sums, after = sum_bits(marked, contracted)
    layout = Layout(r.shape, after)
    if layout.has_holes and not product.other:
        p.wild.add(r.name)
    kernel = "outer" if product.other else "contract"
    p.emit(Step(r.name, kernel, inputs, layout, r.origin, sums=sums, **stages))


def _repacked(p: Packer, name: str, wanted: Layout | None) -> str:
    """The value in the layout that a reader needs: itself, or an identity map's result (one level)."""
    have = p.layouts[name]
    if wanted is not None and name not in p.wild and fits(have, wanted):
        return name
    if wanted is None or have.bits == wanted.bits:
        if name not in p.wild:
            return name
        wanted = Layout(have.shape, tuple(REPLICATED if b == HOLE else b for b in have.bits))
    label = f"{name}.repack"
    if label in p.layouts and p.layouts[label].bits == wanted.bits:
        return label
    return _moved(p, name, wanted, label)


def _with_holes(bits: tuple[Bit, ...], of: Layout) -> tuple[Bit, ...]:
    """Junk of an operand is junk in the result."""
    return tuple(HOLE if b == REPLICATED and o == HOLE else b for b, o in zip(bits, of.bits, strict=True))


def _zeroed(p: Packer, name: str) -> str:
    """The value with zeros where the padding of its axes holds junk (one level)."""
    have = p.layouts[name]
    return _moved(p, name, Layout(have.shape, have.bits), f"{name}.zeroed")


def _moved(p: Packer, name: str, wanted: Layout, label: str, *, halves: bool = False) -> str:
    """An identity map into another layout; with `halves` two of them if one has more than `MAX_DIAGONALS`
    diagonals."""
    have = p.layouts[name]
    if (have, wanted) not in p.moves:
        moved = linear.routes(linear.Triplets.identity(int(np.prod(have.shape))), have, wanted)
        middle = between(have, wanted) if halves and len(moved.rotations()) > MAX_DIAGONALS else None
        if middle is not None:
            return _moved(p, _moved(p, name, middle, f"{label}.half"), wanted, label)
        p.transforms[label] = linear.make_transform(label, moved.diagonals(), have.slots)
        p.moves[have, wanted] = label
    term = TermStep(0, (), p.moves[have, wanted], ())
    region = p.regions.get(name)
    p.emit(Step(label, "affine", (name,), wanted, region.origin if region else "", terms=(term,)))
    return label


def pack_affine(p: Packer, r: Region) -> None:
    """Choose the target layout with the least cost, then write the step."""
    if any(t.structured for t in r.terms):
        _pack_structured(p, r)
        return
    reduced = {t.source: reduce(t, p.layouts[t.source]) for t in r.terms if t.source in p.layouts}
    known = [(matrix, layout) for matrix, layout, _ in reduced.values()]
    demand = p.demands.get(r.name)
    scalar = scalar_of(r, reduced, demand)
    if scalar is not None:
        _, layout, pre = next(iter(reduced.values()))
        bias = _bias(p, r, layout)
        term = TermStep(0, pre, "", ())
        layout = Layout(r.shape, layout.bits, layout.zero_padding and not bias)
        p.emit(Step(r.name, "scalar", r.inputs, layout, r.origin, (term,), bias, scalar))
        return
    if p.stepwise and demand is not None and known and _is_wide(p, r, reduced, demand):
        near = replace(r, name=f"{r.name}.near")
        pack_affine(p, near)
        _moved(p, near.name, demand, r.name)
        return
    targets = [demand] if demand is not None else place.candidates(r, known, p.slot_bits)
    plans = [
        (layout, [m for t in r.terms for m in map_term(p, t, reduced.get(t.source), layout)])
        for layout in targets
    ]
    if demand is None and r.name in p.outputs:
        plans += folded(p, r, reduced)
    layout, maps = min(plans, key=lambda plan: sum(m.cost for m in plan[1]))
    layout = Layout(r.shape, common_bits([m.bits for m in maps]))
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


def _pack_structured(p: Packer, r: Region) -> None:
    """A region with terms that carry axes: into the layout that is asked for, or one in which the carried
    axes of its first such term stay. Where that takes many diagonals, the move is a step of its own."""
    demand = p.demands.get(r.name)
    sources = [_source_layout(p, r, t) for t in r.terms]
    scalar = uniform_factor(r, sources, demand)
    if scalar is not None and r.inputs[0] in p.layouts:
        bias = _bias(p, r, sources[0])
        layout = Layout(r.shape, sources[0].bits, sources[0].zero_padding and not bias)
        p.emit(Step(r.name, "scalar", r.inputs, layout, r.origin, (TermStep(0, (), "", ()),), bias, scalar))
        return
    main = _main_term(p, r)
    near = near_layout(r.terms[main], r.shape, sources[main])
    if r.name in p.outputs and demand is None:
        near = _once(near, sources[main])
    layout = demand or near
    found = [term_routes(t, r.shape, s, layout) for t, s in zip(r.terms, sources, strict=True)]
    wide = [len(f.rotations()) > MAX_MOVED for f in found]
    if layout.bits != near.bits and wide[main]:
        pack_affine(p, replace(r, name=f"{r.name}.near"))
        _moved(p, f"{r.name}.near", layout, r.name, halves=True)
        return
    _pack_structured_as(p, _with_sources_moved(p, r, layout, wide), layout)


def _once(layout: Layout, source: Layout) -> Layout:
    """The layout of an answer, which nobody reads in copies: junk where the source has an axis."""
    bits = zip(layout.bits, source.bits, strict=True)
    return Layout(layout.shape, tuple(HOLE if b == REPLICATED and s[0] >= 0 else b for b, s in bits))


def _with_sources_moved(p: Packer, r: Region, layout: Layout, wide: Sequence[bool]) -> Region:
    """The region reading copies of some sources that have their carried axes where the result has them."""
    terms = list(r.terms)
    for i, t in enumerate(r.terms):
        if wide[i] and t.carried and t.source in p.layouts:
            wanted = facing_layout(t, p.regions[t.source].shape, layout)
            label = f"{t.source}.facing"
            if label in p.layouts and p.layouts[label].bits != wanted.bits:
                label = f"{r.name}.{i}.facing"
            if label not in p.layouts:
                _moved(p, t.source, wanted, label, halves=True)
            terms[i] = replace(t, source=label)
    return replace(r, terms=tuple(terms))


def _main_term(p: Packer, r: Region) -> int:
    """The term whose layout a structured region follows: the local one with the most non-zeros (a convolution
    rather than a shortcut), or the first that carries axes."""
    entries = {i: len(t.local.column) for i, t in enumerate(r.terms) if t.local is not None}
    if entries:
        return max(entries, key=lambda i: entries[i])
    carrying = [i for i, t in enumerate(r.terms) if t.carried]
    return next((i for i in carrying if r.terms[i].source in p.layouts), carrying[0])


def _pack_structured_as(p: Packer, r: Region, layout: Layout) -> None:
    terms = []
    inputs = []
    for i, t in enumerate(r.terms):
        key, source = f"{r.name}.{i}", _source_layout(p, r, t)
        found = term_routes(t, r.shape, source, layout)
        packed = t.source in p.layouts
        if p.stepwise and packed and t.local is not None and len(found.rotations()) > MAX_DIAGONALS:
            name, post = _skewed(p, t.source, key, found, layout)
            terms.append(TermStep(i, (), key, post))
            inputs.append(name)
            continue
        p.transforms[key] = linear.make_transform(key, found.diagonals(), layout.slots)
        terms.append(TermStep(i, (), key, ()))
        route = Route(t.source, (), found, (), 0.0, layout.bits, source.slot_map())
        inputs.append(t.source if packed else _input_step(p, route, key))
    p.emit(Step(r.name, "affine", tuple(inputs), layout, r.origin, tuple(terms), _bias(p, r, layout)))


def _skewed(
    p: Packer, name: str, key: str, found: linear.Routes, layout: Layout
) -> tuple[str, tuple[int, ...]]:
    """A term whose products are shared between the copies of its source, or as it is where that does not
    help: the value that it reads, and the rotations of its sum."""
    source, diagonals = p.layouts[name], found.diagonals()
    shared = skewed(diagonals, max(source.period, layout.period), source.slots)
    if shared is None or name in p.wild:
        p.transforms[key] = linear.make_transform(key, diagonals, source.slots)
        return name, ()
    label = f"{name}.{len(shared.skew)}.skew"
    if label not in p.layouts:
        move = p.moves.setdefault((source, len(shared.skew)), label)
        if move == label:
            p.transforms[label] = linear.make_transform(label, shared.skew, source.slots)
        p.emit(Step(label, "affine", (name,), source, p.regions[name].origin, (TermStep(0, (), move, ()),)))
    p.transforms[key] = linear.make_transform(key, shared.diagonals, source.slots)
    return label, shared.sums


def _source_layout(p: Packer, r: Region, t: Term) -> Layout:
    """Where a source stands; an input that the client packs row-major, with the axis on top that this term or
    the readers of its result carry."""
    if t.source in p.layouts:
        return p.layouts[t.source]
    shape = p.regions[t.source].shape
    axis = t.carried[0][0] if t.carried else None
    if t.local is not None:
        readers = (s for other in p.regions.values() for s in other.terms if s.source == r.name)
        carried = {a for s in readers for a, _ in s.carried}
        follows = place.followed_axes(t.local.row, t.local.column, shape, r.shape)
        axis = next((p for q, (p, stride) in follows.items() if q in carried and not stride), None)
    return row_major(shape, p.slot_bits) if axis is None else lifted(shape, axis, p.slot_bits)


def _is_wide(p: Packer, r: Region, reduced: Mapping[str, Reduced], demand: Layout) -> bool:
    """True if mapping and moving at once takes more than `MAX_DIAGONALS` diagonals for some term."""
    return any(
        len(m.routes.rotations()) > MAX_DIAGONALS
        for t in r.terms
        if t.source in reduced
        for m in map_term(p, t, reduced[t.source], demand)
    )


def _input_step(p: Packer, m: Route, key: str) -> str:
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


def _bias(p: Packer, r: Region, layout: Layout) -> str:
    assert r.bias is not None
    if not r.bias.any():
        return ""
    where = layout.slot_map()
    vector = np.where(where >= 0, r.bias[where], 0.0)[None]
    p.vectors[r.name] = np.ascontiguousarray(vector[0, : linear.smallest_period(vector)])
    return r.name
