"""Build graphs, and rebuild them: the tools of importers, passes and tests.

A pass never edits a graph. It walks the nodes of the old one and appends to a `GraphBuilder`, which infers
types from the op table, evaluates what is public, and drops what nothing needs when it is finished.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.errors import CompileError
from cipherformer.graph.ir import Graph, Node
from cipherformer.ops import OPS
from cipherformer.types import Attr, Type


class GraphBuilder:
    """Appends nodes in topological order.

    >>> build = GraphBuilder("affine")
    >>> x = build.input("x", (1, 2))
    >>> build.finish(build.emit("add", x, build.constant(1.0))).nodes[-1].type.shape
    (1, 2)
    """

    def __init__(self, name: str = "model") -> None:
        self._name = name
        self._nodes: dict[str, Node] = {}
        self._constants: dict[str, NDArray[Any]] = {}
        self._counts: dict[str, int] = {}
        self._scalars: dict[float, str] = {}
        self.origin = ""

    def unique(self, hint: str) -> str:
        """`hint`, or if it is taken its stem with the next free number: `add_1`, `add_2` ..."""
        if hint not in self._nodes:
            return hint
        stem = hint.rstrip("0123456789").removesuffix("_") or "value"
        while True:
            self._counts[stem] = self._counts.get(stem, 0) + 1
            candidate = f"{stem}_{self._counts[stem]}"
            if candidate not in self._nodes:
                return candidate

    def append(self, node: Node) -> str:
        """Append a finished node under its own name."""
        if node.name in self._nodes:
            raise CompileError(f"two nodes are named {node.name}", where=node.origin)
        self._nodes[node.name] = node
        return node.name

    def input(self, name: str, shape: Sequence[int]) -> str:
        """A secret input."""
        return self.append(Node(self.unique(name), "input", (), Type(tuple(shape)), {}, self.origin))

    def constant(self, value: NDArray[Any] | float, name: str = "") -> str:
        """A public array; equal unnamed scalars share one node."""
        array = np.array(value, dtype=np.float64)
        if not name and array.ndim == 0:
            if float(array) not in self._scalars:
                self._scalars[float(array)] = self._constant(array, "constant")
            return self._scalars[float(array)]
        return self._constant(array, name or "constant")

    def _constant(self, array: NDArray[Any], hint: str) -> str:
        name = self.unique(hint)
        self._constants[name] = array
        return self.append(Node(name, "constant", (), Type(array.shape, secret=False), {}, self.origin))

    def emit(self, op: str, *inputs: str, **attrs: Attr) -> str:
        """Append an op under a name made from it; the type is inferred."""
        return self.emit_named(op, op, inputs, attrs)

    def emit_named(self, name: str, op: str, inputs: Sequence[str], attrs: Mapping[str, Attr]) -> str:
        """Append an op under `name` (made unique). An op on constants only becomes a constant."""
        types = [self.type_of(i) for i in inputs]
        if inputs and not any(t.secret for t in types):
            arrays = [self._constants[i] for i in inputs]
            return self._constant(np.asarray(OPS[op].reference(arrays, attrs), dtype=np.float64), name)
        try:
            shape = OPS[op].shape([t.shape for t in types], attrs)
        except (ValueError, KeyError, IndexError) as error:
            raise CompileError(
                f"{op} does not fit its operands", where=self.origin, why=str(error)
            ) from error
        kind = Type(tuple(int(s) for s in shape), any(t.secret for t in types))
        return self.append(Node(self.unique(name), op, tuple(inputs), kind, dict(attrs), self.origin))

    def copy(self, graph: Graph, node: Node, inputs: Sequence[str]) -> str:
        """Append a node of another graph with new inputs, keeping its name, attributes, origin and range."""
        if node.op == "constant":
            self.origin = node.origin
            return self._constant(graph.constants[node.name], node.name)
        name = self.unique(node.name)
        return self.append(node.with_(name=name, inputs=tuple(inputs)))

    def node(self, name: str) -> Node:
        """A node already appended."""
        return self._nodes[name]

    def type_of(self, name: str) -> Type:
        """Type of a value already appended."""
        if name not in self._nodes:
            raise CompileError(f"{name} is used before it is defined", where=self.origin)
        return self._nodes[name].type

    def set_range(self, name: str, low: float, high: float) -> None:
        """Give a value already appended a calibrated range."""
        node = self._nodes[name]
        self._nodes[name] = node.with_(type=node.type.with_range(low, high))

    def is_constant(self, name: str) -> bool:
        """True for a public value."""
        return name in self._constants

    def value(self, name: str) -> NDArray[Any]:
        """Array of a constant already appended."""
        if name not in self._constants:
            raise CompileError(f"{name} is not a constant", where=self._nodes[name].origin)
        return self._constants[name]

    def finish(self, *outputs: str) -> Graph:
        """The graph, without what the outputs do not need; inputs stay."""
        return without_dead_nodes(
            Graph(tuple(self._nodes.values()), tuple(outputs), self._constants, self._name)
        )


def without_dead_nodes(graph: Graph) -> Graph:
    """The graph without nodes that no output needs. Inputs stay: they are part of the signature."""
    live = set(graph.outputs)
    for node in reversed(graph.nodes):
        if node.name in live:
            live.update(node.inputs)
    nodes = tuple(n for n in graph.nodes if n.name in live or n.op == "input")
    constants = {name: array for name, array in graph.constants.items() if name in live}
    return Graph(nodes, graph.outputs, constants, graph.name)


def rebuilt(graph: Graph, build: GraphBuilder, names: Mapping[str, str]) -> Graph:
    """Finish a rebuild: `names` maps old names to new ones."""
    return build.finish(*(names[o] for o in graph.outputs))


def replace_nodes(graph: Graph, replacements: Iterable[Node]) -> Graph:
    """The graph with some nodes exchanged for nodes of the same name."""
    changed = {n.name: n for n in replacements}
    unknown = changed.keys() - {n.name for n in graph.nodes}
    if unknown:
        raise CompileError(f"no node is named {', '.join(sorted(unknown))}")
    nodes = tuple(changed.get(n.name, n) for n in graph.nodes)
    return Graph(nodes, graph.outputs, graph.constants, graph.name)
