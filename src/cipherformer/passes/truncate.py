"""Decide where truncations stand: statically, from fraction bits and magnitudes alone.

A value with s fraction bits and |x| < 2^m keeps the invariant s + m + 1 + guard <= width. Sums need equal s;
products add s; a truncation lowers s and is what a protocol pays for, by the element. Policies:

- `every`: after each product that leaves more fraction bits than the target's, as most protocols do.
- `lazy`: in topological order, only where the next operation would break the invariant; of its operands
  the choice with the fewest elements is truncated, once for all readers.
- `hoisted`: as lazy, but the truncation stands at the smallest tensor from which the operand was moved or
  expanded, and is shared by everything that was.

`lazy` keeps the better of itself and `every`, `hoisted` the better of itself and `lazy`: greedy choices
carry no guarantee of their own. Free: products with integers and with powers of two (a shift of the binary
point), sums that are truncated once after an accumulation, lifts (local products with 2^k).

Source: Yubeaton et al., arXiv 2412.01042 (the idea; the policies are described there in words).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, floor, log2

import numpy as np
from numpy.typing import NDArray

from cipherformer.errors import CompileError, LimitError
from cipherformer.graph import Graph, Node
from cipherformer.graph.rewrite import GraphBuilder, rebuilt
from cipherformer.ops.spec import integer, numbers
from cipherformer.passes.precision import exact_bits, kept_bits
from cipherformer.targets.ring import RingTarget
from cipherformer.types import Type

POLICIES = ("every", "lazy", "hoisted")
PRODUCTS = ("mul", "matmul", "linear", "conv2d")
MOVES = ("reshape", "permute", "expand", "neg")


@dataclass(frozen=True, slots=True)
class Placement:
    """A graph with its truncations, and the fraction bits of every value.

    Args:
        graph: with `trunc` and `lift` nodes; a constant stands once for each encoding.
        frac_bits: of every value.
        names: value of the graph before -> value that stands for it.
        target: the ring.
        policy: that made it.
    """

    graph: Graph
    frac_bits: Mapping[str, int]
    names: Mapping[str, str]
    target: RingTarget
    policy: str

    @property
    def truncations(self) -> int:
        """Number of truncations, each of a whole tensor."""
        return sum(node.op == "trunc" for node in self.graph.nodes)

    @property
    def truncated_elements(self) -> int:
        """Elements truncated: what a protocol pays for."""
        return sum(node.type.size for node in self.graph.nodes if node.op == "trunc")

    @property
    def compared_elements(self) -> int:
        """Comparisons with a public threshold, by the element."""
        return sum(
            node.type.size // _rows(node) * len(numbers(node.attrs, "breaks"))
            for node in self.graph.nodes
            if node.op == "select"
        )


def _rows(node: Node) -> int:
    return len(numbers(node.attrs, "table")) // (len(numbers(node.attrs, "breaks")) + 1)


_LEAST_MAGNITUDE = -10
"""Of smaller values rounding errors may be the larger part."""


def magnitude(node: Node) -> int:
    """The smallest m with |x| <= 2^m on the calibrated range, but at least `_LEAST_MAGNITUDE`."""
    bound = node.type.bound
    if bound is None:
        raise CompileError(f"{node.name} has no calibrated range", where=node.origin)
    return max(ceil(log2(bound)), _LEAST_MAGNITUDE) if bound > 0.0 else _LEAST_MAGNITUDE


def place(graph: Graph, target: RingTarget, policy: str = "hoisted") -> Placement:
    """Place truncations in a calibrated graph of the ring dialect.

    Raises:
        LimitError: a value cannot fit the ring; names its origin, its bound and the smallest ring that would
            do.
    """
    if policy not in POLICIES:
        raise LimitError(f"no policy is called {policy}", fix=f"take one of {', '.join(POLICIES)}")
    found = [_Placer(graph, target, name).run() for name in POLICIES[: POLICIES.index(policy) + 1]]
    best = min(reversed(found), key=lambda p: p.truncated_elements)
    return Placement(best.graph, best.frac_bits, best.names, target, policy)


class _Placer:
    """One walk over the graph."""

    def __init__(self, graph: Graph, target: RingTarget, policy: str) -> None:
        self.graph, self.target, self.policy = graph, target, policy
        self.build = GraphBuilder(graph.name)
        self.bits: dict[str, int] = {}
        self._wanted = kept_bits(graph)
        self._floor: dict[str, int] = {}
        self._lowered: dict[tuple[str, int], str] = {}
        self._encoded: dict[tuple[str, int], str] = {}
        self._exact: dict[str, int | None] = {}

    def run(self) -> Placement:
        names: dict[str, str] = {}
        for node in self.graph.nodes:
            self.build.origin = node.origin
            if node.op == "constant":
                names[node.name] = node.name  # encoded where it is used
                continue
            name = self._placed(node, [names[i] for i in node.inputs])
            names[node.name] = name
            wanted = max(self.target.frac_bits, self._wanted.get(node.name, 0))
            self._floor[name] = max(wanted, self._floor.get(name, 0))
            if self.policy == "every" and node.op in PRODUCTS:
                names[node.name] = self._truncated(name, self._floor[name])
        graph = rebuilt(self.graph, self.build, {o: self._output(names[o]) for o in self.graph.outputs})
        live = {n.name for n in graph.nodes}
        kept = {old: new for old, new in names.items() if new in live}
        return Placement(graph, {n: self.bits[n] for n in live}, kept, self.target, self.policy)

    def _output(self, name: str) -> str:
        return self._encode(name, self._constant_bits(name)) if name in self.graph.constants else name

    def _placed(self, node: Node, inputs: list[str]) -> str:
        if node.op == "keep":
            return inputs[0]
        if node.op == "input":
            return self._append(node, [], self.target.frac_bits)
        if node.op == "select":
            return self._append(node, inputs, self._table_bits(node))
        if node.op in PRODUCTS:
            return self._product(node, inputs)
        return self._sum(node, inputs)

    def _append(self, node: Node, inputs: list[str], bits: int) -> str:
        if not self.target.fits(bits, magnitude(node)):
            raise self._too_large(node, bits)
        name = self.build.copy(self.graph, node, inputs)
        self.bits[name] = bits
        return name

    def _too_large(self, node: Node, bits: int) -> LimitError:
        needed = bits + magnitude(node) + self.target.width - self.target.room
        bound = node.type.bound
        return LimitError(
            f"values up to {bound:.4g} with {bits} fraction bits do not fit {self.target.width} bits",
            where=node.origin or node.name,
            why=f"{node.op} {node.name} needs {needed} bits",
            fix=f"the smallest ring that would do here has {needed} bits; fewer fraction bits help too",
        )

    # --- constants ---

    def _encode(self, name: str, bits: int) -> str:
        """The constant with so many fraction bits."""
        if (name, bits) not in self._encoded:
            new = self.build.copy(self.graph, self._constants_node(name), [])
            self.bits[new] = bits
            self._encoded[name, bits] = new
        return self._encoded[name, bits]

    def _constants_node(self, name: str) -> Node:
        return Node(name, "constant", (), Type(self.graph.constants[name].shape, secret=False))

    def _constant_bits(self, name: str) -> int:
        """Fraction bits of a factor: as few as represent it exactly, else as many significant ones as a value
        near 1 has.
        """
        value = self.graph.constants[name]
        if name not in self._exact:
            self._exact[name] = exact_bits(value, self.target.frac_bits)
        exact = self._exact[name]
        return self._relative_bits(value) if exact is None else exact

    def _relative_bits(self, value: NDArray[np.float64]) -> int:
        return self.target.frac_bits + max(0, -1 - floor(log2(np.max(np.abs(value)))))

    def _table_bits(self, node: Node) -> int:
        table = np.array(numbers(node.attrs, "table"))
        wanted = integer(node.attrs, "frac_bits") if "frac_bits" in node.attrs else 0
        bits = max(self.target.frac_bits, wanted)
        exact = exact_bits(table, bits)
        return bits if exact is None else exact

    # --- truncation ---

    def _truncated(self, name: str, bits: int) -> str:
        """A version with at most so many fraction bits, shared by all who ask."""
        if self.bits[name] <= bits:
            return name
        if (name, bits) not in self._lowered:
            self._lowered[name, bits] = self._make_truncated(name, bits)
        return self._lowered[name, bits]

    def _make_truncated(self, name: str, bits: int) -> str:
        node = self.build.node(name)
        source = self._source(name)
        if source != name:
            below = self._truncated(node.inputs[0], bits)
            copy = self.build.append(node.with_(name=self.build.unique(name), inputs=(below,)))
            self.bits[copy] = self.bits[below]
            return copy
        made = node.with_(
            name=self.build.unique(f"trunc_{name}"),
            op="trunc",
            inputs=(name,),
            attrs={"bits": self.bits[name] - bits},
        )
        self.bits[self.build.append(made)] = bits
        return made.name

    def _source(self, name: str) -> str:
        """Where a truncation of this value is best placed: itself, or what it was moved from."""
        if self.policy != "hoisted":
            return name
        here = name
        while (node := self.build.node(here)).op in MOVES:
            here = node.inputs[0]
        return here if self.build.node(here).type.size <= self.build.node(name).type.size else name

    def _price(self, name: str, bits: int) -> int:
        """Elements that a truncation would cost now."""
        if self.bits[name] <= bits or (name, bits) in self._lowered:
            return 0
        source = self._source(name)
        return 0 if (source, bits) in self._lowered else self.build.node(source).type.size

    # --- operations ---

    def _product(self, node: Node, inputs: list[str]) -> str:
        """Truncate the cheapest operands that make it fit: to the bits asked for, else to the least."""
        public = [name in self.graph.constants for name in inputs[:2]]
        fixed = sum(self._constant_bits(n) for n, p in zip(inputs, public, strict=False) if p)
        secret = list(dict.fromkeys(n for n, p in zip(inputs[:2], public, strict=True) if not p))
        least = self.target.frac_bits
        room = self.target.room - magnitude(node) - fixed
        for floors in ({n: self._floor.get(n, least) for n in secret}, dict.fromkeys(secret, least)):
            options = [[], *([n] for n in secret), secret]
            good = []
            for option in options:
                bits = {n: min(self.bits[n], floors[n]) if n in option else self.bits[n] for n in secret}
                if sum(bits[n] for n in inputs[:2] if n in bits) <= room:
                    good.append((sum(self._price(n, floors[n]) for n in option), len(good), option))
            if good:
                option = min(good)[2]
                chosen = {n: self._truncated(n, floors[n]) if n in option else n for n in secret}
                return self._finish_product(node, inputs, chosen)
        raise self._too_large(node, fixed + sum(min(self.bits[n], least) for n in inputs[:2] if n in secret))

    def _finish_product(self, node: Node, inputs: list[str], chosen: Mapping[str, str]) -> str:
        operands = [chosen.get(n) or self._encode(n, self._constant_bits(n)) for n in inputs[:2]]
        bits = sum(self.bits[n] for n in operands)
        if len(inputs) == 3:
            operands.append(self._encode(inputs[2], bits))
        return self._append(node, operands, bits)

    def _sum(self, node: Node, inputs: list[str]) -> str:
        """Sums and moves: all operands with equal fraction bits, as many as fit."""
        secret = [n for n in inputs if n not in self.graph.constants]
        m = max([magnitude(node), *(magnitude(self.build.node(n)) for n in secret)])
        most = self.target.room - m
        bits = min(max(self.bits[n] for n in secret), most)
        if any(self.bits[n] > bits for n in secret):  # something must be truncated: then as far as allowed
            bits = min(bits, max(self._floor.get(n, self.target.frac_bits) for n in secret))
        if bits < min(self.target.frac_bits, *(self.bits[n] for n in secret)):
            raise self._too_large(node, min(self.target.frac_bits, *(self.bits[n] for n in secret)))
        operands = [
            self._encode(n, bits) if n in self.graph.constants else self._aligned(n, bits) for n in inputs
        ]
        return self._append(node, operands, bits)

    def _aligned(self, name: str, bits: int) -> str:
        if self.bits[name] >= bits:
            return self._truncated(name, bits)
        key = (name, bits)
        if key not in self._lowered:
            node = self.build.node(name)
            lifted = node.with_(
                name=self.build.unique(f"lift_{name}"),
                op="lift",
                inputs=(name,),
                attrs={"bits": bits - self.bits[name]},
            )
            self.bits[self.build.append(lifted)] = bits
            self._lowered[key] = lifted.name
        return self._lowered[key]
