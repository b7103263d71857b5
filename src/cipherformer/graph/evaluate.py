"""The interpreter loop in float64: the meaning of a graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.graph.ir import Graph, Node
from cipherformer.ops import OPS, Primitive

Floats = NDArray[np.float64]


def evaluate(
    graph: Graph, inputs: Mapping[str, NDArray[Any]], *, lowered: bool = False, keep: bool = False
) -> dict[str, Floats]:
    """Values of the outputs, or of all nodes with `keep`; `inputs` must fit (`backends.exact.run` checks
    them).

    With `lowered`, planned approximations compute what encryption would compute in exact arithmetic.
    """
    kept = set(graph.outputs)
    values = {
        node.name: value for node, value in walk(graph, inputs, lowered=lowered) if keep or node.name in kept
    }
    return values if keep else {name: values[name] for name in graph.outputs}


def walk(
    graph: Graph, inputs: Mapping[str, NDArray[Any]], *, lowered: bool = False
) -> Iterator[tuple[Node, Floats]]:
    """Each node with its value, in order; a value is dropped behind its last reader."""
    values: dict[str, Floats] = {}
    last_use = {name: i for i, node in enumerate(graph.nodes) for name in node.inputs}
    for i, node in enumerate(graph.nodes):
        if node.op == "input":
            values[node.name] = np.asarray(inputs[node.name], dtype=np.float64)
        elif node.op == "constant":
            values[node.name] = graph.constants[node.name]
        else:
            values[node.name] = apply(node, [values[name] for name in node.inputs], lowered=lowered)
        yield node, values[node.name]
        for name in dict.fromkeys((*node.inputs, node.name)):
            if last_use.get(name, i) == i:
                del values[name]


def apply(node: Node, operands: list[Floats], *, lowered: bool = False) -> Floats:
    """The value of one node."""
    op = OPS[node.op]
    approximate = op.lowered if lowered and isinstance(op, Primitive) and _planned(op, node) else None
    return (approximate or op.reference)(operands, node.attrs)


def _planned(op: Primitive, node: Node) -> bool:
    return all(name in node.attrs for name in op.planned)
