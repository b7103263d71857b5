"""The living definition: runs a graph in float64, one op after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.errors import DataError
from cipherformer.graph import Graph, Node
from cipherformer.graph.evaluate import evaluate


def run(
    graph: Graph, inputs: Mapping[str, NDArray[Any]], *, lowered: bool = False, keep: bool = False
) -> dict[str, NDArray[np.float64]]:
    """Values of a graph.

    Args:
        graph: at any stage.
        inputs: an array for each input node, of its shape.
        lowered: compute what the approximations compute in exact arithmetic, not the mathematical reference.
        keep: return every value, not only the outputs.

    Raises:
        DataError: an input is missing, unknown, of another shape, or not finite.
    """
    known = [node.name for node in graph.inputs]
    unknown = inputs.keys() - set(known)
    if unknown:
        raise DataError(f"no input is named {', '.join(sorted(unknown))}", fix=f"inputs: {', '.join(known)}")
    checked = {node.name: check_input(node, inputs) for node in graph.inputs}
    return evaluate(graph, checked, lowered=lowered, keep=keep)


def check_input(node: Node, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """The array of an input node, or DataError."""
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
