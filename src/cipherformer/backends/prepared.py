"""A placed graph, prepared to run fast: weights encoded once, elementwise chains native, products by BLAS.

Carriers are chosen from the placement's bounds and every run proves them: a chain or a product that does
not fit its carrier takes the next wider one, at last Python's integers (`backends.fixed.Machine`). So the
results are those of `backends.fixed.run`, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.backends import pairs, products
from cipherformer.backends.books import Books
from cipherformer.backends.chain import Chain
from cipherformer.backends.exact import check_input
from cipherformer.backends.fixed import Machine, Result
from cipherformer.backends.integers import Carrier, largest, normal, scaled, shifted, wrapped
from cipherformer.backends.products import Value, known
from cipherformer.backends.units import RENAMES, Unit, units
from cipherformer.graph import Graph, Node
from cipherformer.ops import OPS
from cipherformer.ops.spec import Array, integers
from cipherformer.passes.placement import PRODUCTS, Placement, magnitude

_MOVES = ("reshape", "permute", "expand", "slice", "concat")
_DTYPES = {Carrier.FLOAT64: np.dtype(np.float64), Carrier.INT64: np.dtype(np.int64), Carrier.WIDE: pairs.PAIR}
_LABELS = {Carrier.FLOAT64: "float64", Carrier.INT64: "int64", Carrier.WIDE: "pairs"}
_BITS = {Carrier.FLOAT64: 53, Carrier.INT64: 63, Carrier.WIDE: 127}


@dataclass(slots=True)
class _Constant:
    """An encoded constant, and the largest sum of sizes along what a product adds up."""

    value: Value
    weight: int


class Prepared:
    """A placement that can run many times.

    Args:
        placement: from `passes.truncate.place`.
        keep: secret values to return besides the outputs; True for all.
        carrier: the fastest arithmetic allowed; `INT64` and `WIDE` force slower ones with the same results.
        threads: of the native chains; matrix products take as many as BLAS was given.
    """

    def __init__(
        self,
        placement: Placement,
        *,
        keep: Collection[str] | bool = (),
        carrier: Carrier = Carrier.FLOAT64,
        threads: int = 1,
    ) -> None:
        graph = _with_bias_apart(placement.graph)
        self.placement, self.carrier = placement, carrier
        names = {node.name for node in placement.graph.nodes if node.type.secret}
        self.kept = (names if keep else set()) if isinstance(keep, bool) else names & set(keep)
        self._nodes = graph.by_name()
        self._units = units(graph, self.kept)
        self._last = _last_reads(self._units)
        self._constants: dict[str, _Constant] = {}
        self._carriers: dict[str, Carrier] = {}
        self._chains = self._compiled(graph, threads)
        self.shown = {*self.kept, *placement.graph.outputs}

    def _compiled(self, graph: Graph, threads: int) -> dict[int, Chain]:
        shapes = {node.name: node.type.shape for node in graph.nodes}
        homes = {node.name: unit.index for unit in self._units for node in unit.nodes}
        asked = {*self.kept, *graph.outputs}
        asked |= {
            name
            for unit in self._units
            for node in unit.nodes
            for name in node.inputs
            if homes.get(name) != unit.index
        }
        return {
            unit.index: Chain(unit, self.placement, shapes, asked, threads)
            for unit in self._units
            if unit.shape is not None
        }

    def run(
        self,
        inputs: Mapping[str, NDArray[Any]],
        *,
        seed: int = 0,
        wrap: bool = False,
        on_node: Callable[[Node], None] | None = None,
    ) -> Result:
        """Run on one input; arguments, results and errors are those of `backends.fixed.run`."""
        return _Run(self, seed, wrap, on_node).all(inputs)

    def encode(self) -> None:
        """Encode all weights now, not in the first run."""
        for unit in self._units:
            for node in unit.nodes:
                if node.op in PRODUCTS and node.op != "mul" and self._is_public(node.inputs[1]):
                    self.weight(node)

    def _is_public(self, name: str) -> bool:
        return name in self.placement.graph.constants

    def constant(self, name: str) -> _Constant:
        """Encoded when it is first read."""
        if name not in self._constants:
            array = scaled(self.placement.graph.constants[name], self.placement.frac_bits[name])
            bound = largest(array)
            value = Value(products.carried(array, Carrier.FLOAT64, bound), bound)
            self._constants[name] = _Constant(value, 0)
        return self._constants[name]

    def weight(self, node: Node) -> int:
        """At least the sum of |w| over what one element of a product adds up, for a public right factor."""
        name = node.inputs[1]
        found = self.constant(name)
        if not found.weight:
            axes = {"matmul": (-2,), "linear": (1,)}.get(node.op, (1, 2, 3))
            sums = np.abs(shifted(_plain(found.value.array), 0)).sum(axis=axes)
            found.weight = int(float(sums.max()) * (1.0 + 1e-6)) + 1
        return found.weight

    def expected(self, node: Node) -> Carrier:
        """The carrier of a value: at first from its calibrated bound, later from what a run found."""
        if node.name not in self._carriers:
            bits = self.placement.frac_bits[node.name] + magnitude(node)
            fast = next((c for c in Carrier if bits <= _BITS[c] - 1), Carrier.WIDE)
            self._carriers[node.name] = max(fast, self.carrier)
        return self._carriers[node.name]

    def widen(self, name: str, carrier: Carrier) -> None:
        """Remember that a value needs a carrier."""
        self._carriers[name] = max(carrier, self._carriers[name])


class _Run:
    """One run: the values that are alive, and the books."""

    def __init__(
        self, prepared: Prepared, seed: int, wrap: bool, on_node: Callable[[Node], None] | None
    ) -> None:
        self.of, self.seed, self.on_node = prepared, seed, on_node
        self.books = Books(prepared.placement, wrap)
        self.machine = Machine(prepared.placement, self.books, seed, prepared.carrier)
        self.held: dict[str, Value] = {}
        self.values: dict[str, NDArray[np.float64]] = {}

    def all(self, inputs: Mapping[str, NDArray[Any]]) -> Result:
        of = self.of
        for node in of.placement.graph.nodes:
            if node.op == "input":
                array = scaled(check_input(node, inputs), of.placement.frac_bits[node.name])
                value = self._booked(node, Value(array, largest(array)))
                self.held[node.name] = Value(
                    products.carried(value.array, of.carrier, value.bound), value.bound
                )
                self._shown(node)
        for unit in of._units:
            chain = of._chains.get(unit.index)
            if chain is None:
                self._single(unit.nodes[0])
            elif not self._chain(chain):
                self._slowly(unit)
            for name in of._last.get(unit.index, ()):
                self.held.pop(name, None)
            if self.on_node:
                for node in unit.nodes:
                    if not node.name.endswith(_PRODUCT):
                        self.on_node(node)
        for node in of.placement.graph.nodes:
            if node.op == "constant" and node.name in of.placement.graph.outputs:
                self.values[node.name] = shifted(
                    _plain(self._value(node.name).array), of.placement.frac_bits[node.name]
                )
        return Result(self.values, self.books.headroom, tuple(self.books.overflows), self.books.carriers)

    def _value(self, name: str) -> Value:
        return self.held[name] if name in self.held else self.of.constant(name).value

    def _shown(self, node: Node) -> None:
        if node.name in self.of.shown:
            array = _plain(self.held[node.name].array)
            self.values[node.name] = shifted(array, self.of.placement.frac_bits[node.name])

    def _booked(self, node: Node, value: Value) -> Value:
        """Books a value by its bound; wraps it where it must."""
        if not node.type.secret or self.books.fits(node, value.bound.bit_length()):
            return value
        return self._kept(wrapped(_plain(value.array), self.of.placement.widths[node.name]))

    def _kept(self, array: Array) -> Value:
        bound = largest(array)
        return Value(products.carried(array, self.of.carrier, bound), bound)

    # --- chains ---

    def _chain(self, chain: Chain) -> bool:
        """Run a chain in the fastest carrier that holds it; False: in none, or a value leaves its ring."""
        of = self.of
        operands = [self._value(name) for name, _ in chain.inputs]
        start = max(of.expected(node) for node in chain.nodes)
        for carrier in list(Carrier)[start:]:
            kinds = {name: of.expected(of._nodes[name]) for name in chain.outputs}
            outputs = [np.empty(chain.shape, dtype=_DTYPES[kind]) for kind in kinds.values()]
            done = chain.run(carrier, [v.array for v in operands], outputs, self.seed)
            if done is None:
                for node in chain.nodes:
                    of.widen(node.name, list(Carrier)[min(carrier + 1, 2)])
                continue
            sizes = self._sizes(chain, done[0])
            over = [n for n, kind in kinds.items() if sizes[n] > _BITS[kind]]
            if over:
                for name in over:
                    of.widen(name, next(c for c in Carrier if sizes[name] <= _BITS[c]))
                return self._chain(chain)
            widths = of.placement.widths
            if any(sizes[node.name] >= widths[node.name] for node in chain.nodes):
                return False
            self._book_chain(chain, sizes, carrier)
            for name, array in zip(kinds, outputs, strict=True):
                peak = done[1].get(chain.root(name))
                bound = int(peak) if peak is not None else (1 << sizes[name]) - 1
                self.held[name] = Value(array.reshape(of._nodes[name].type.shape), bound)
                self._shown(of._nodes[name])
            return True
        return False

    def _sizes(self, chain: Chain, lines: Mapping[str, int]) -> dict[str, int]:
        """Bit lengths of all members."""
        sizes = dict(lines)
        for node in chain.nodes:
            if node.op in RENAMES:
                sizes[node.name] = self._size(node.inputs[0], sizes)
            elif node.name not in sizes:  # a look-up of several rows, or one that nothing reads
                rows = [sizes[n.name] for n in chain.nodes if n.op == "slice" and n.inputs[0] == node.name]
                sizes[node.name] = max(rows, default=0)
        return sizes

    def _size(self, name: str, sizes: Mapping[str, int]) -> int:
        return sizes[name] if name in sizes else self._value(name).bound.bit_length()

    def _book_chain(self, chain: Chain, sizes: Mapping[str, int], carrier: Carrier) -> None:
        for node in chain.nodes:
            if node.op in ("extend", "narrow"):
                self.books.readable(node, self._size(node.inputs[0], sizes))
            self.books.fits(node, sizes[node.name])
            if node.op not in RENAMES and node.op not in ("slice", "select"):
                self.books.count(_LABELS[carrier])

    def _slowly(self, unit: Unit) -> None:
        """Node by node, with Python's integers where they are needed; errors and wrapping come from here."""
        inside = {node.name for node in unit.nodes}
        local: dict[str, Array] = {}
        for node in unit.nodes:
            arrays = [local[n] if n in inside else _plain(self._value(n).array) for n in node.inputs]
            local[node.name] = self.machine.checked(node, self.machine.apply(node, arrays))
        for name in self.of._chains[unit.index].outputs:
            self.held[name] = self._kept(local[name])
            self._shown(self.of._nodes[name])

    # --- single nodes ---

    def _single(self, node: Node) -> None:
        operands = [self._value(name) for name in node.inputs]
        value: Value | None = None
        if node.op in _MOVES:
            value = self._moved(node, operands)
        elif node.op in PRODUCTS and len(operands) == 2:
            value = self._product(node, *operands)
        elif node.op == "sum":
            value = products.total(
                operands[0], integers(node.attrs, "dims"), bool(node.attrs["keepdim"]), self.of.carrier
            )
        if value is None:
            arrays = [_plain(v.array) for v in operands]
            value = self._kept(self.machine.apply(node, arrays))
        elif node.op not in _MOVES:
            kind = value.array.dtype
            self.books.count("pairs" if kind == pairs.PAIR else str(kind))
        if node.name in self.of.placement.widths or not node.type.secret:
            value = self._booked(node, value)
        self.held[node.name] = value
        self._shown(node)

    def _moved(self, node: Node, operands: list[Value]) -> Value:
        bound = max(v.bound for v in operands)
        arrays = [v.array for v in operands]
        if len({a.dtype for a in arrays}) > 1:
            carrier = next(c for c in (Carrier.INT64, Carrier.WIDE) if bound.bit_length() <= _BITS[c])
            arrays = [products.carried(a, carrier, bound) for a in arrays]
        moved = np.asarray(OPS[node.op].reference(arrays, node.attrs))
        return known(moved) if node.op == "slice" else Value(moved, bound)

    def _product(self, node: Node, a: Value, b: Value) -> Value | None:
        shape = a.array.shape if node.op != "conv2d" else b.array.shape[1:]
        terms = 1 if node.op == "mul" else int(np.prod(shape)) if node.op == "conv2d" else shape[-1]
        public = node.op != "mul" and self.of._is_public(node.inputs[1])
        weight = self.of.weight(node) if public else terms * b.bound

        def multiply(x: Array, y: Array) -> Array:
            return np.asarray(OPS[node.op].reference([x, y], node.attrs))

        return products.product(multiply, a, b, terms, weight, self.of.carrier)


def _plain(array: Array) -> Array:
    """For `Machine`: pairs as Python's integers."""
    if not pairs.is_pairs(array):
        return array
    objects = pairs.to_objects(array)
    return normal(objects, largest(objects))


_PRODUCT = "#product"


def _with_bias_apart(graph: Graph) -> Graph:
    """Products with a bias as a product and a sum, so that the sum joins the chain behind it."""
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.op == "linear" and len(node.inputs) == 3:
            bare = node.with_(name=node.name + _PRODUCT, inputs=node.inputs[:2])
            nodes += [bare, node.with_(op="add", inputs=(bare.name, node.inputs[2]), attrs={})]
        else:
            nodes.append(node)
    return Graph(tuple(nodes), graph.outputs, graph.constants, graph.name)


def _last_reads(ordered: list[Unit]) -> dict[int, list[str]]:
    """Values that nothing reads after a unit."""
    last: dict[str, int] = {}
    for unit in ordered:
        for node in unit.nodes:
            last.update(dict.fromkeys((node.name, *node.inputs), unit.index))
    found: dict[int, list[str]] = {}
    for name, index in last.items():
        found.setdefault(index, []).append(name)
    return found
