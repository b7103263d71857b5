"""Cut a placed graph into units: chains of elementwise operations that run as one, and single nodes.

A chain is convex: nothing that it reads depends on what it makes, so that it can run at one moment. Shapes
that differ in axes of size 1 alone count as one.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from cipherformer.graph import Graph, Node

Shape = tuple[int, ...]

ELEMENTWISE = frozenset(["add", "sub", "neg", "mul", "trunc", "lift", "select", "extend", "narrow"])
RENAMES = frozenset(["extend", "narrow", "reshape"])
"""Members that compute nothing: the same integers in another ring or shape."""


@dataclass(slots=True)
class Unit:
    """Nodes that run together, in order.

    Args:
        index: among the units, in order of creation.
        shape: of a chain's index space, without axes of size 1; None for a single node of another kind.
        nodes: members.
        reads: units that must run before.
        first: position of the first member in the graph.
        last: position of the last.
    """

    index: int
    shape: Shape | None
    first: int
    nodes: list[Node] = field(default_factory=list)
    reads: set[int] = field(default_factory=set)
    last: int = 0


def squeezed(shape: Shape) -> Shape:
    """Without axes of size 1."""
    return tuple(s for s in shape if s != 1)


def units(graph: Graph, keep: Collection[str] = ()) -> list[Unit]:
    """The units in an order that can run; constants and inputs belong to none.

    Args:
        graph: placed.
        keep: values that are asked for, besides the outputs.
    """
    cutter = _Cutter(graph, {*keep, *graph.outputs})
    for position, node in enumerate(graph.nodes):
        if node.op not in ("constant", "input"):
            cutter.add(position, node)
    return cutter.ordered()


class _Cutter:
    def __init__(self, graph: Graph, kept: Collection[str]) -> None:
        self.units: list[Unit] = []
        self.home: dict[str, int] = {}
        self.nodes = graph.by_name()
        self.tables = _tables(graph, kept)

    def add(self, position: int, node: Node) -> None:
        """Put a node into a chain that it reads, if that stays convex, else into a unit of its own."""
        shape = self._shape(node)
        sources = {self.home[n] for n in node.inputs if n in self.home}
        chosen = None
        if shape is not None:
            fitting = [i for i in sorted(sources, reverse=True) if self.units[i].shape == shape]
            chosen = next((i for i in fitting if self._convex(i, sources)), None)
        if chosen is None:
            chosen = len(self.units)
            self.units.append(Unit(chosen, shape, position))
        unit = self.units[chosen]
        unit.nodes.append(node)
        unit.last = position
        unit.reads |= sources - {chosen}
        self.home[node.name] = chosen

    def _shape(self, node: Node) -> Shape | None:
        """Index space of a member of a chain, or None."""
        if not node.type.secret:
            return None
        if node.op == "select" and len(node.type.shape) > len(self.nodes[node.inputs[0]].type.shape):
            return squeezed(node.type.shape[1:]) if node.name in self.tables else None
        if node.op == "slice":
            return squeezed(node.type.shape) if node.inputs[0] in self.tables else None
        if node.op == "reshape":
            before = squeezed(self.nodes[node.inputs[0]].type.shape)
            home = self.home.get(node.inputs[0])
            chained = home is not None and self.units[home].shape is not None
            return before if chained and before == squeezed(node.type.shape) else None
        return squeezed(node.type.shape) if node.op in ELEMENTWISE else None

    def _convex(self, target: int, sources: set[int]) -> bool:
        """Whether no unit among the sources, other than the target, depends on the target."""
        first, stack, seen = self.units[target].first, list(sources - {target}), set()
        while stack:
            index = stack.pop()
            if index == target:
                return False
            if index not in seen and self.units[index].last >= first:
                seen.add(index)
                stack += self.units[index].reads
        return True

    def ordered(self) -> list[Unit]:
        """Depth first along what they read."""
        done: dict[int, Unit] = {}
        for start in self.units:
            stack = [start.index]
            while stack:
                missing = [i for i in self.units[stack[-1]].reads if i not in done]
                if missing:
                    stack += missing
                else:
                    unit = self.units[stack.pop()]
                    done.setdefault(unit.index, unit)
        return list(done.values())


def _tables(graph: Graph, kept: Collection[str]) -> set[str]:
    """Look-ups of several rows of which single rows are read, and nothing else."""
    readers, nodes = graph.consumers(), graph.by_name()
    return {
        node.name
        for node in graph.nodes
        if node.op == "select"
        and node.name not in kept
        and len(node.type.shape) > len(nodes[node.inputs[0]].type.shape)
        and all(map(_is_row, readers[node.name]))
    }


def _is_row(node: Node) -> bool:
    start, stop = node.attrs.get("start"), node.attrs.get("stop")
    return node.op == "slice" and node.attrs["dim"] == 0 and isinstance(start, int) and stop == start + 1
