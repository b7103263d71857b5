"""Recognise normalisations that models write out, so that each is one op with one lowering.

`x rsqrt(mean(x^2) + e)` is `rms_norm`; with x - mean(x) in place of x it is `layer_norm`. Weights and shifts
along the normalised axes that follow are taken in.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cipherformer.graph import Graph, Node
from cipherformer.graph.rewrite import GraphBuilder, rebuilt
from cipherformer.ops.spec import integers

Nodes = Mapping[str, Node]


def fuse_norms(graph: Graph) -> Graph:
    """The same function with its written-out normalisations as `rms_norm` and `layer_norm`."""
    nodes = graph.by_name()
    build = GraphBuilder(graph.name)
    names: dict[str, str] = {}
    for node in graph.nodes:
        build.origin = node.origin
        found = _norm(graph, nodes, node)
        weighted = None if found else _weighted(graph, build, node, [names[i] for i in node.inputs])
        if found:
            op, x, axes, epsilon = found
            names[node.name] = build.emit_named(node.name, op, [names[x]], {"axes": axes, "epsilon": epsilon})
        else:
            names[node.name] = weighted or build.copy(graph, node, [names[i] for i in node.inputs])
    return rebuilt(graph, build, names)


def _norm(graph: Graph, nodes: Nodes, node: Node) -> tuple[str, str, tuple[int, ...], float] | None:
    """`(op, operand, axes, epsilon)` if a product is a normalised value."""
    if node.op != "mul":
        return None
    for x, root in (node.inputs, node.inputs[::-1]):
        if nodes[root].op != "inverse_sqrt":
            continue
        sides = nodes[root].inputs and nodes[nodes[root].inputs[0]]
        if not sides or sides.op != "add":
            continue
        for mean, shift in (sides.inputs, sides.inputs[::-1]):
            found = _mean_of_squares(nodes, mean, x)
            if shift in graph.constants and graph.constants[shift].size == 1 and found:
                epsilon = float(graph.constants[shift].reshape(()))
                centred = _centred(graph, nodes, x, found)
                return ("layer_norm", centred, found, epsilon) if centred else ("rms_norm", x, found, epsilon)
    return None


def _mean_of_squares(nodes: Nodes, name: str, x: str) -> tuple[int, ...] | None:
    """The axes over which a value is the mean of x^2."""
    mean = nodes[name]
    if mean.op != "mean" or not mean.attrs["keepdim"]:
        return None
    square = nodes[mean.inputs[0]]
    is_square = square.op == "power" and square.attrs["exponent"] == 2
    if not (is_square or (square.op == "mul" and len(set(square.inputs)) == 1)):
        return None
    return integers(mean.attrs, "dims") if _equal(nodes, square.inputs[0], x) else None


def _equal(nodes: Nodes, a: str, b: str, depth: int = 2) -> bool:
    """One value, or the same operation on equal operands, computed twice."""
    if a == b:
        return True
    one, two = nodes[a], nodes[b]
    alike = one.op == two.op and len(one.inputs) == len(two.inputs) and dict(one.attrs) == dict(two.attrs)
    return (
        alike
        and depth > 0
        and bool(one.inputs)
        and all(_equal(nodes, x, y, depth - 1) for x, y in zip(one.inputs, two.inputs, strict=True))
    )


def _centred(graph: Graph, nodes: Nodes, name: str, axes: tuple[int, ...]) -> str | None:
    """The y of a value y - mean(y) over these axes."""
    node = nodes[name]
    if node.op != "sub" or node.inputs[1] in graph.constants:
        return None
    y, mean = node.inputs[0], nodes[node.inputs[1]]
    same = mean.op == "mean" and mean.inputs == (y,) and integers(mean.attrs, "dims") == axes
    return y if same and mean.attrs["keepdim"] else None


def _weighted(graph: Graph, build: GraphBuilder, node: Node, inputs: list[str]) -> str | None:
    """The norm with one more operand, for a normalised value times a weight or plus a shift."""
    if node.op not in ("mul", "add"):
        return None
    for x, c in (inputs, inputs[::-1]):
        norm = build.node(x)
        if norm.op not in ("rms_norm", "layer_norm") or not build.is_constant(c):
            continue
        operands, axes = list(norm.inputs), integers(norm.attrs, "axes")
        along = _along(build.value(c), norm.type.shape, axes)
        if along is None or len(operands) == 3 or (node.op == "mul" and len(operands) > 1):
            continue
        if node.op == "add" and len(operands) == 1:
            operands.append(build.constant(np.ones(along.shape)))
        operands.append(build.constant(along, c))
        build.origin = norm.origin
        return build.emit_named(node.name, norm.op, operands, norm.attrs)
    return None


def _along(
    value: NDArray[np.float64], shape: tuple[int, ...], axes: tuple[int, ...]
) -> NDArray[np.float64] | None:
    """A constant as an array over the normalised axes, or None if it varies along others or is a scalar."""
    full = (1,) * (len(shape) - value.ndim) + value.shape
    if value.size == 1 or any(full[i] != 1 for i in range(len(shape)) if i not in axes):
        return None
    wanted = tuple(shape[a] for a in axes)
    return np.ascontiguousarray(np.broadcast_to(value.reshape([full[a] for a in axes]), wanted))
