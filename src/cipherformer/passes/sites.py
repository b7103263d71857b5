"""A calibrated ring graph as what the policy `optimal` decides about: values, who reads them, and prices.

A site is a value with up to two versions: raw, and truncated or re-extended. Moves are no sites: what they
move is truncated before them, which costs no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from cipherformer.approx.fourier import RESULT_BITS
from cipherformer.graph import Graph, Node
from cipherformer.ops import OPS
from cipherformer.passes.placement import LOOKED_UP, MOVES, PRODUCTS, Placement, comparisons, magnitude
from cipherformer.passes.precision import kept_bits
from cipherformer.passes.ring_cost import COMPARE_WORK, cost, interacts, public_numbers, terms
from cipherformer.passes.versions import Encodings
from cipherformer.targets.protocols import NETWORKS, ComputePrices, Network, Price, Protocol
from cipherformer.targets.ring import RingTarget, Truncation


@dataclass(frozen=True, slots=True)
class Objective:
    """What `optimal` makes small: seconds in a protocol, or without one the number of truncated elements.

    Args:
        protocol: cost profile.
        network: link between the parties.
        prices: of local arithmetic.
        offline: share at which the offline phase's bytes count.
    """

    protocol: Protocol | None = None
    network: Network = NETWORKS["lan"]
    prices: ComputePrices = field(default_factory=ComputePrices.default)
    offline: float = 0.1

    def of(self, placement: Placement) -> float:
        """Of a finished placement."""
        if self.protocol is None:
            return float(placement.truncated_elements)
        found = cost(placement, self.protocol)
        later = self.offline * self.network.seconds(0, 8.0 * found.offline_bytes)
        return found.seconds(self.network, self.prices) + later

    def bits(self, price: Price, count: float, width: int) -> float:
        """Seconds on the link for the bits of some elements, without rounds."""
        sent = price.online(width) + self.offline * price.offline(width)
        return self.network.seconds(0, count * sent)


@dataclass(frozen=True, slots=True)
class Site:
    """A value, and what making it asks for.

    Args:
        name: of the node.
        kind: `given` (from outside), `product` (scales add up), `sum` (scales are equal) or `select`.
        size: elements.
        magnitude: |x| <= 2^magnitude.
        fit: largest magnitude of the value and of what is added up to it.
        base: fraction bits of public factors; of the value itself if it is given, an input or a table's row.
        floor: fewest fraction bits that a truncation leaves.
        reads: sites of its operands, one for each operand.
        rounds: of the operation.
        charges: objective by width, apart from rounds.
        read: whether an operation that is not local reads it.
        shares: whether it is made as shares, where values can be wires.
        limit: most fraction bits of the raw version, which then stands in the widest ring; or None.
        takes: most fraction bits of its operand, or None.
    """

    name: str
    kind: str
    size: int
    magnitude: int
    fit: int
    base: int
    floor: int
    reads: tuple[int, ...]
    rounds: int = 0
    charges: tuple[float, ...] = ()
    read: bool = False
    shares: bool = False
    limit: int | None = None
    takes: int | None = None

    @property
    def shape(self) -> tuple[object, ...]:
        """What two blocks must have in common, site by site, to be solved as one."""
        return (
            self.kind,
            self.size,
            self.reads,
            self.rounds,
            self.read,
            self.shares,
            self.limit is None,
            self.takes,
        )

    def joined(self, other: Site) -> Site:
        """Needs of both, and charges of both together: what is right for it is right for each."""
        return replace(
            self,
            magnitude=max(self.magnitude, other.magnitude),
            fit=max(self.fit, other.fit),
            base=max(self.base, other.base),
            floor=max(self.floor, other.floor),
            charges=tuple(a + b for a, b in zip(self.charges, other.charges, strict=True)),
            limit=None if self.limit is None or other.limit is None else min(self.limit, other.limit),
        )


@dataclass(frozen=True, slots=True)
class Sites:
    """All sites of a graph.

    Args:
        sites: in topological order.
        roots: value of the graph -> its site, for everything secret.
    """

    sites: tuple[Site, ...]
    roots: Mapping[str, int]


def sites_of(graph: Graph, target: RingTarget, objective: Objective) -> Sites:
    """Reads a calibrated graph of the ring dialect."""
    return _Reader(graph, target, objective).run()


class _Reader:
    def __init__(self, graph: Graph, target: RingTarget, objective: Objective) -> None:
        self.graph, self.target, self.objective = graph, target, objective
        self.nodes = graph.by_name()
        self.public = public_numbers(graph)
        self.encodings = Encodings(graph, target)
        self.roots: dict[str, int] = {}
        self.sites: list[Site] = []

    def run(self) -> Sites:
        floors = kept_bits(self.graph)
        for node in self.graph.nodes:
            if node.op == "constant":
                continue
            if node.op == "keep" or node.op in MOVES:
                self.roots[node.name] = self.roots[node.inputs[0]]
            else:
                self.roots[node.name] = len(self.sites)
                self.sites.append(self._site(node))
            at = self.roots[node.name]
            floor = max(self.sites[at].floor, floors.get(node.name, 0))
            self.sites[at] = replace(self.sites[at], floor=floor)
        return Sites(tuple(self.sites), self.roots)

    def _site(self, node: Node) -> Site:
        secret = [n for n in node.inputs if n in self.roots]
        reads = tuple(self.roots[n] for n in secret)
        own = magnitude(node)
        fit = max([own, *(self.sites[r].magnitude for r in reads)])
        kind, base = self._scale(node, secret)
        inner = interacts(node, self.public)
        if inner:
            for at in reads:
                self.sites[at] = replace(self.sites[at], read=True)
        return Site(
            node.name,
            kind,
            node.type.size,
            own,
            own if kind == "product" else fit,
            base,
            self.target.frac_bits,
            reads,
            rounds=self._rounds(node, inner),
            charges=tuple(self._charge(node, secret, inner, w) for w in self.target.widths),
            shares=node.op in LOOKED_UP or (node.op in PRODUCTS and inner),
            takes=self.target.frac_bits if node.op == "fourier" else None,
        )

    def _scale(self, node: Node, secret: Sequence[str]) -> tuple[str, int]:
        if node.op == "input":
            return "product", self.target.frac_bits
        if node.op == "select":
            return "select", self.encodings.table(node)
        if node.op == "fourier":
            return "select", RESULT_BITS
        if node.op in PRODUCTS:
            public = [n for n in node.inputs[:2] if n not in secret]
            return "product", sum(self.encodings.constant(n) for n in public)
        return "sum", 0

    def _rounds(self, node: Node, inner: bool) -> int:
        protocol = self.objective.protocol
        if protocol is None:
            return 0
        if node.op == "input":
            return protocol.price("input").rounds
        if not inner:
            return 0
        if node.op == "select":
            return protocol.price("compare").rounds
        if node.op == "fourier":
            return protocol.price("waves").rounds
        return max(protocol.price("operand").rounds, protocol.price("product").rounds)

    def _charge(self, node: Node, secret: Sequence[str], inner: bool, width: int) -> float:
        """What the node itself costs in a ring of this width; openings, truncations and rounds apart."""
        o = self.objective
        if o.protocol is None:
            return 0.0
        if node.op == "input":
            return o.bits(o.protocol.price("input"), node.type.size, width)
        if node.op == "select":
            count = comparisons(node)
            work = o.prices.seconds({}, {width: COMPARE_WORK * count})
            return o.bits(o.protocol.price("compare"), count, width) + work
        if node.op == "fourier":
            count = terms(node) * node.type.size
            dealt = o.bits(o.protocol.price("wave"), count, width) + o.prices.seconds({}, {width: count})
            return dealt + o.bits(o.protocol.price("waves"), node.type.size, width)
        if not inner:
            return o.prices.seconds({}, {width: node.type.size}) if node.op not in MOVES else 0.0
        shapes = [self.nodes[n].type.shape for n in node.inputs]
        work = OPS[node.op].work(shapes, node.type.shape, node.attrs)
        done = o.prices.seconds({width: work * (o.protocol.products if len(secret) == 2 else 1)}, {})
        opened = o.bits(o.protocol.price("operand"), sum(self.nodes[n].type.size for n in secret), width)
        return done + opened + o.bits(o.protocol.price("product"), node.type.size, width)


@dataclass(frozen=True, slots=True)
class Steps:
    """What the steps between versions cost: rounds, and the objective of one element by width."""

    trunc: tuple[int, tuple[float, ...]]
    extend: tuple[int, tuple[float, ...]]
    opening: tuple[int, tuple[float, ...]]
    round: float
    reduces: bool


def steps(target: RingTarget, objective: Objective) -> Steps:
    """Of a target and an objective."""
    widths = target.widths
    reduces = target.truncation is Truncation.TRUNCATE_REDUCE
    none = (0, tuple(0.0 for _ in widths))
    if objective.protocol is None:
        return Steps((0, tuple(1.0 for _ in widths)), none, none, 0.0, reduces)

    def of(kind: str) -> tuple[int, tuple[float, ...]]:
        assert objective.protocol is not None
        price = objective.protocol.price(kind)
        return price.rounds, tuple(objective.bits(price, 1, w) for w in widths)

    opening = of("open") if objective.protocol.wires else none
    trunc = of("reduce" if reduces else "trunc")
    return Steps(trunc, of("extend"), opening, objective.network.delay, reduces)
