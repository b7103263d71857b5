"""What writes a placed graph: appends nodes, and makes each value's versions in other scales and rings once.

A version is known by (value, fraction bits, ring); whoever asks for it again gets the same node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor, log2

import numpy as np

from cipherformer.errors import LimitError
from cipherformer.graph import Graph, Node
from cipherformer.graph.rewrite import GraphBuilder, rebuilt
from cipherformer.ops.spec import integer, numbers
from cipherformer.passes.placement import Placement, magnitude
from cipherformer.passes.precision import exact_bits
from cipherformer.targets.ring import RingTarget, Truncation
from cipherformer.types import Attr, Type


class Encodings:
    """Fraction bits of what is public: constants and tables.

    As few as represent it exactly, else as many significant ones as a value near 1 has.
    """

    def __init__(self, graph: Graph, target: RingTarget) -> None:
        self._graph, self._target = graph, target
        self._known: dict[str, int] = {}

    def constant(self, name: str) -> int:
        """Of a factor."""
        if name not in self._known:
            value = self._graph.constants[name]
            exact = exact_bits(value, self._target.frac_bits)
            self._known[name] = self._significant(value) if exact is None else exact
        return self._known[name]

    def _significant(self, value: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> int:
        return self._target.frac_bits + max(0, -1 - floor(log2(np.max(np.abs(value)))))

    def table(self, node: Node) -> int:
        """Of the results of a `select`."""
        wanted = integer(node.attrs, "frac_bits") if "frac_bits" in node.attrs else 0
        bits = max(self._target.frac_bits, wanted)
        exact = exact_bits(np.array(numbers(node.attrs, "table")), bits)
        return bits if exact is None else exact


class TooLargeError(LimitError):
    """A value that cannot fit its ring.

    Args:
        node: that makes it.
        bits: fewest fraction bits that it could have.
        target: the rings.
    """

    def __init__(self, node: Node, bits: int, target: RingTarget) -> None:
        self.needed = bits + magnitude(node) + target.width - target.room
        super().__init__(
            f"values up to {node.type.bound:.4g} with {bits} fraction bits do not fit {target.width} bits",
            where=node.origin or node.name,
            why=f"{node.op} {node.name} needs {self.needed} bits",
            fix=f"the smallest ring that would do here has {self.needed} bits; fewer fraction bits help too",
        )


class Versions:
    """A graph under construction, with the fraction bits and the ring of every value."""

    def __init__(self, graph: Graph, target: RingTarget) -> None:
        self.graph, self.target = graph, target
        self.build = GraphBuilder(graph.name)
        self.bits: dict[str, int] = {}
        self.widths: dict[str, int] = {}
        self._made: dict[tuple[str, str, int, int], str] = {}

    def append(self, node: Node, inputs: Sequence[str], bits: int, width: int) -> str:
        """A node of the old graph with its operands.

        Raises:
            LimitError: the value does not fit.
        """
        if not self.target.fits(bits, magnitude(node), width):
            raise TooLargeError(node, bits, self.target)
        return self._booked(self.build.copy(self.graph, node, inputs), bits, width)

    def _booked(self, name: str, bits: int, width: int) -> str:
        self.bits[name], self.widths[name] = bits, width
        return name

    def encoded(self, name: str, bits: int, width: int) -> str:
        """A constant with so many fraction bits."""
        key = ("constant", name, bits, width)
        if key not in self._made:
            kind = Type(self.graph.constants[name].shape, secret=False)
            new = self.build.copy(self.graph, Node(name, "constant", (), kind), [])
            self._made[key] = self._booked(new, bits, width)
        return self._made[key]

    def has(self, op: str, name: str, bits: int, width: int) -> bool:
        """Whether this version was made before."""
        return (op, name, bits, width) in self._made

    def _version(self, op: str, name: str, bits: int, width: int, attrs: Mapping[str, Attr]) -> str:
        key = (op, name, bits, width)
        if key not in self._made:
            node = self.build.node(name)
            made = node.with_(name=self.build.unique(f"{op}_{name}"), op=op, inputs=(name,), attrs=attrs)
            self._made[key] = self._booked(self.build.append(made), bits, width)
        return self._made[key]

    def truncated(self, name: str, bits: int) -> str:
        """With at most so many fraction bits: in its ring, or after truncate-reduce in a narrower one."""
        dropped = self.bits[name] - bits
        if dropped <= 0:
            return name
        mode = self.target.truncation
        width = self.widths[name]
        if mode is Truncation.TRUNCATE_REDUCE:
            width = max(width - dropped, 2)
        return self._version("trunc", name, bits, width, {"bits": dropped, "mode": mode.value})

    def in_ring(self, name: str, width: int) -> str:
        """In this ring."""
        here = self.widths[name]
        if here == width:
            return name
        op = "extend" if here < width else "narrow"
        return self._version(op, name, self.bits[name], width, {"width": width})

    def lifted(self, name: str, bits: int) -> str:
        """With so many fraction bits, which are more."""
        more = bits - self.bits[name]
        return self._version("lift", name, bits, self.widths[name], {"bits": more}) if more else name

    def moved(self, name: str, source: str) -> str:
        """The move that made `name`, of another version of what it moved."""
        bits, width = self.bits[source], self.widths[source]
        key = ("move", name, bits, width)
        if key not in self._made:
            node = self.build.node(name)
            copy = node.with_(name=self.build.unique(f"moved_{name}"), inputs=(source,))
            self._made[key] = self._booked(self.build.append(copy), bits, width)
        return self._made[key]

    def finish(self, names: Mapping[str, str], outputs: Mapping[str, str], policy: str) -> Placement:
        """The placement.

        Args:
            names: value of the old graph -> value that stands for it.
            outputs: likewise, of the outputs.
            policy: that made it.
        """
        graph = rebuilt(self.graph, self.build, outputs)
        live = {n.name for n in graph.nodes}
        return Placement(
            graph,
            {n: self.bits[n] for n in live},
            {n: self.widths[n] for n in live},
            {old: new for old, new in names.items() if new in live},
            self.target,
            policy,
        )
