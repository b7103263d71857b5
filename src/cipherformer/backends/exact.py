"""The living definition: runs a graph in float64, one op after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.errors import DataError
from cipherformer.graph import Graph, Node
from cipherformer.ops import OPS, Primitive

Floats = NDArray[np.float64]


def run(
    graph: Graph, inputs: Mapping[str, NDArray[Any]], *, lowered: bool = False, keep: bool = False
) -> dict[str, Floats]:
    """Values of a graph.

    Args:
        graph: at any stage.
        inputs: an array for each input node, of its shape.
        lowered: compute what the approximations compute in exact arithmetic, in place of the mathematical
            reference.
        keep: return every value, not only the outputs.

    Raises:
        DataError: an input is missing, unknown, of another shape, or not finite.
    """
    values = {node.name: _checked(node, inputs) for node in graph.inputs}
    unknown = inputs.keys() - values.keys()
    if unknown:
        raise DataError(
            f"no input is named {', '.join(sorted(unknown))}", fix=f"inputs are {', '.join(values)}"
        )
    last_use = {name: i for i, node in enumerate(graph.nodes) for name in node.inputs}
    kept = set(graph.outputs)
    for i, node in enumerate(graph.nodes):
        if node.op == "constant":
            values[node.name] = graph.constants[node.name]
        elif node.op != "input":
            values[node.name] = _apply(node, [values[name] for name in node.inputs], lowered)
        if not keep:
            for name in dict.fromkeys((*node.inputs, node.name)):
                if last_use.get(name, i) == i and name not in kept:
                    del values[name]
    return values if keep else {name: values[name] for name in graph.outputs}


def _checked(node: Node, inputs: Mapping[str, NDArray[Any]]) -> Floats:
    if node.name not in inputs:
        raise DataError(f"the input {node.name} is missing")
    value = np.asarray(inputs[node.name], dtype=np.float64)
    if value.shape != node.type.shape:
        raise DataError(
            f"the input {node.name} has shape {value.shape}", why=f"the model takes {node.type.shape}"
        )
    if not np.isfinite(value).all():
        raise DataError(f"the input {node.name} has values that are not finite")
    return value


def _apply(node: Node, operands: list[Floats], lowered: bool) -> Floats:
    op = OPS[node.op]
    planned = isinstance(op, Primitive) and all(name in node.attrs for name in op.planned)
    if lowered and planned and isinstance(op, Primitive) and op.lowered is not None:
        return op.lowered(operands, node.attrs)
    return op.reference(operands, node.attrs)
