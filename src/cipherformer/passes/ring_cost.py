"""What a placed graph costs in a protocol: rounds, bytes and seconds, from its profile alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from cipherformer.approx.fourier import integer_waves
from cipherformer.graph import Graph, Node
from cipherformer.ops import OPS
from cipherformer.ops.spec import integer, numbers
from cipherformer.passes.placement import LOOKED_UP, MOVES, PRODUCTS, Placement, comparisons
from cipherformer.passes.widths import WORD, least_width, needed_widths, without_ring_changes
from cipherformer.targets.protocols import ComputePrices, Network, Price, Protocol
from cipherformer.targets.ring import Truncation

COMPARE_WORK = 10
"""Elementwise operations that one comparison takes, roughly."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one inference costs one party.

    Args:
        rounds: on the longest path; what is independent shares a round.
        online_bytes: sent.
        offline_bytes: correlated randomness received.
        products: multiplications in products, by width.
        elements: elementwise operations, by width.
    """

    rounds: int
    online_bytes: float
    offline_bytes: float
    products: Mapping[int, float]
    elements: Mapping[int, float]

    def seconds(self, network: Network, prices: ComputePrices) -> float:
        """Online: computation, then rounds and bytes on the link."""
        link = network.seconds(self.rounds, 8.0 * self.online_bytes)
        return prices.seconds(self.products, self.elements) + link


def public_numbers(graph: Graph) -> frozenset[str]:
    """Constants that both parties may know: single numbers, also repeated, and masks of 0 and 1.

    Other arrays are weights.
    """
    return frozenset(
        name
        for name, value in graph.constants.items()
        if value.size <= 1 or bool(np.all(value == value.flat[0])) or bool(np.isin(value, (0.0, 1.0)).all())
    )


def interacts(node: Node, public: frozenset[str]) -> bool:
    """Whether an operation is more than local arithmetic on shares."""
    if node.op in PRODUCTS:
        return not any(name in public for name in node.inputs[:2])
    return node.op in (*LOOKED_UP, "trunc", "extend")


def terms(node: Node) -> int:
    """Sines and cosines of a `fourier` node."""
    return sum(c != 0.0 for name in ("cosines", "sines") for c in numbers(node.attrs, name))


def cost(placement: Placement, protocol: Protocol) -> Cost:
    """The predicted cost of a placement in a protocol."""
    book = _Book(placement, protocol)
    for node in book.graph.nodes:
        book.add(node)
    return book.close()


@dataclass(slots=True)
class _Book:
    """Sums along one walk. `depth`: rounds until a value stands; `shared`: it is shares, not a wire.

    On wires in 64 bits, widths are those that readers need, as in `passes.widths`; a value is extended once,
    for the first reader that needs it wider than it is.
    """

    placement: Placement
    protocol: Protocol
    depth: dict[str, int] = field(default_factory=dict)
    shared: dict[str, bool] = field(default_factory=dict)
    online: float = 0.0
    offline: float = 0.0
    products: dict[int, float] = field(default_factory=dict)
    elements: dict[int, float] = field(default_factory=dict)
    public: frozenset[str] = frozenset()
    opened: frozenset[str] = frozenset()
    nodes: Mapping[str, Node] = field(default_factory=dict)
    compared: set[tuple[str, tuple[float, ...]]] = field(default_factory=set)
    graph: Graph = field(init=False)
    widths: dict[str, int] = field(default_factory=dict)
    needed: Mapping[str, int] = field(default_factory=dict)
    extended: dict[str, int] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.graph = graph = self.placement.graph
        self.widths = dict(self.placement.widths)
        if self.protocol.wires and self.placement.target.width == WORD:
            self.graph = graph = without_ring_changes(graph)
            self.needed = needed_widths(graph, self.placement.frac_bits)
        self.nodes = graph.by_name()
        self.public = public_numbers(graph)
        if self.protocol.wires:
            reading = (n for n in graph.nodes if interacts(n, self.public))
            self.opened = frozenset(self._source(name) for n in reading for name in n.inputs)
        if self.protocol.once:
            for node in graph.nodes:
                for name in node.inputs if interacts(node, self.public) else ():
                    self.asked[name] = max(self.asked.get(name, 0), self._read_bits(name, node))

    def _source(self, name: str) -> str:
        """What is opened for a value: what it was moved from, which has no more elements."""
        while self.nodes[name].op in MOVES:
            name = self.nodes[name].inputs[0]
        return name

    def _read_bits(self, name: str, reader: Node) -> int:
        """Of an operand that a reader opens."""
        if reader.op == "select":
            return least_width(self.nodes[name], self.placement.frac_bits)
        if reader.op == "fourier":
            return integer_waves(reader.attrs, self.placement.frac_bits[name]).log_size
        return self.widths[name]

    def _when_open(self, name: str) -> int:
        """Rounds until a value stands open; an input's masked value is."""
        if name not in self.seen:
            self.seen[name] = self.depth[name]
            if self.nodes[name].op != "input":
                self.online += self.nodes[name].type.size * self.asked[name]
                self.seen[name] += 1
        return self.seen[name]

    def _charge(self, price: Price, count: float, width: int) -> int:
        self.online += count * price.online(width)
        self.offline += count * price.offline(width)
        return price.rounds if count else 0

    def add(self, node: Node) -> None:
        """One node."""
        if not node.type.secret:
            return
        secret = [n for n in node.inputs if n in self.depth]
        opens = self.protocol.once and interacts(node, self.public)
        start = max((self._when_open(n) if opens else self._as_wide(n, node) for n in secret), default=0)
        self.depth[node.name] = start + self._operate(node, secret)
        self.shared[node.name] = self._is_shared(node, secret)
        if self.shared[node.name] and node.name in self.opened:
            width = self.widths[node.name]
            self.depth[node.name] += self._charge(self.protocol.price("open"), node.type.size, width)
            self.shared[node.name] = False

    def _as_wide(self, name: str, reader: Node) -> int:
        """Rounds until an operand stands in the width that its reader needs; sets that of the result."""
        if not self.needed:
            return self.depth[name]
        wanted = {"select": least_width(self.nodes[name], self.placement.frac_bits), "trunc": 0}.get(
            reader.op, 0 if reader.op == "fourier" else self.needed[reader.name]
        )
        own, bits = self.widths[name], self.placement.frac_bits
        if own < wanted and name not in self.extended:
            wide = self.needed[name]
            self.offline -= self.nodes[name].type.size * own  # what is dealt for a bit of the narrow ring
            rounds = self._charge(self.protocol.price("extend"), self.nodes[name].type.size, wide)
            self.extended[name] = self.depth[name] + rounds
        width = max(own, wanted)
        match reader.op:
            case "trunc":
                self.widths[reader.name] = own - integer(reader.attrs, "bits")
            case "fourier":
                self.widths[reader.name] = least_width(reader, bits)
            case op if op in LOOKED_UP or interacts(reader, self.public):
                self.widths[reader.name] = self.needed[reader.name]
            case _:
                self.widths[reader.name] = width
        return self.extended[name] if own < wanted else self.depth[name]

    def _is_shared(self, node: Node, secret: list[str]) -> bool:
        if node.op in LOOKED_UP or (node.op in PRODUCTS and interacts(node, self.public)):
            return True
        return any(self.shared[n] for n in secret)

    def _operate(self, node: Node, secret: list[str]) -> int:
        price, size, width = self.protocol.rest, node.type.size, self.widths[node.name]
        match node.op:
            case "input":
                self.widths[node.name] = width = self.needed.get(node.name, width)
                return self._charge(price("input"), size, width)
            case "trunc":
                reduces = node.attrs["mode"] == Truncation.TRUNCATE_REDUCE.value
                return self._charge(price("reduce" if reduces else "trunc"), size, width)
            case "extend":
                return self._charge(price("extend"), size, width)
            case "select":
                read, count = self.widths[node.inputs[0]], comparisons(node)
                thresholds = (node.inputs[0], numbers(node.attrs, "breaks"))
                known = (self.protocol.wires or self.protocol.once) and thresholds in self.compared
                self.compared.add(thresholds)
                if known:  # the bits are there; what makes numbers of them is dealt by the threshold
                    self.offline += count * width
                    return price("compare").rounds
                self._work(self.elements, read, COMPARE_WORK * count)
                return self._charge(price("compare"), count, read)
            case "fourier":
                count = terms(node) * size
                self._work(self.elements, width, count)
                rounds = self._charge(price("waves"), size, self.widths[node.inputs[0]])
                return max(rounds, self._charge(price("wave"), count, width))
            case op if op in PRODUCTS:
                return self._product(node, secret)
            case _:
                self._work(self.elements, width, size)
                return 0

    def _product(self, node: Node, secret: list[str]) -> int:
        width = self.widths[node.name]
        if not interacts(node, self.public):
            self._work(self.elements, width, node.type.size)
            return 0
        shapes = [self.nodes[n].type.shape for n in node.inputs]
        work = OPS[node.op].work(shapes, node.type.shape, node.attrs)
        both = len(secret) == 2
        self._work(self.products, width, work * (self.protocol.products if both else 1))
        operands = sum(self.nodes[n].type.size for n in secret)
        rounds = self._charge(self.protocol.rest("operand"), operands, width)
        return max(rounds, self._charge(self.protocol.price("product"), node.type.size, width))

    @staticmethod
    def _work(table: dict[int, float], width: int, count: float) -> None:
        table[width] = table.get(width, 0.0) + count

    def close(self) -> Cost:
        """The outputs revealed, and the totals."""
        graph, rounds = self.graph, 0
        for name in dict.fromkeys(o for o in graph.outputs if o in self.depth):
            width = self.widths[name]
            last = self._charge(self.protocol.price("output"), self.nodes[name].type.size, width)
            rounds = max(rounds, self.depth[name] + last)
        return Cost(rounds, self.online / 8.0, self.offline / 8.0, self.products, self.elements)
