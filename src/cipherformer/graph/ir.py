"""The graph: immutable nodes in topological order, and the arrays of its constants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.types import Attr, Type

_EMPTY: Mapping[str, Attr] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Node:
    """One value and the operation that makes it.

    Args:
        name: unique in its graph; also the name of the value.
        op: an entry of the op table (`cipherformer.ops`).
        inputs: names of earlier nodes, in the op's order.
        attrs: the op's attributes.
        type: type of the value.
        origin: module path in the user's model (`blocks.0.attention`), for every message to the user.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    type: Type
    attrs: Mapping[str, Attr] = field(default_factory=lambda: _EMPTY)
    origin: str = ""

    def with_(self, **changes: Any) -> Node:
        """A copy with some fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in topological order.

    A node with op `input` is a graph input, in the order of the nodes. A node with op `constant` is public
    and its array stands in `constants` under the node's name. Arrays are read-only float64 (int64 for
    indices).
    """

    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    name: str = "model"

    def __post_init__(self) -> None:
        for array in self.constants.values():
            array.setflags(write=False)
        object.__setattr__(self, "constants", MappingProxyType(dict(self.constants)))

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The input nodes, in order."""
        return tuple(n for n in self.nodes if n.op == "input")

    def by_name(self) -> dict[str, Node]:
        """Nodes by name."""
        return {n.name: n for n in self.nodes}

    def consumers(self) -> dict[str, tuple[Node, ...]]:
        """For each value, the nodes that read it, in order."""
        out: dict[str, list[Node]] = {n.name: [] for n in self.nodes}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                out[name].append(node)
        return {name: tuple(nodes) for name, nodes in out.items()}

    def value(self, name: str) -> NDArray[np.float64]:
        """The array of a constant."""
        return self.constants[name]
