"""The text form of a graph: one line a node, the same on every machine. Golden files are made of it."""

from __future__ import annotations

from cipherformer.graph.ir import Graph, Node
from cipherformer.types import Attr


def print_graph(graph: Graph) -> str:
    """The graph as text.

    A line reads `name = op(inputs) {attributes} : shape secrecy [low, high] @ origin`. Scalars are printed
    with their value, larger constants without.
    """
    lines = [f"graph {graph.name}"]
    lines += [f"  {_line(graph, node)}" for node in graph.nodes]
    lines.append(f"  return {', '.join(graph.outputs)}")
    return "\n".join(lines) + "\n"


def _line(graph: Graph, node: Node) -> str:
    kind = node.type
    parts = [f"{node.name} = {node.op}({', '.join(node.inputs)})"]
    if node.op == "constant" and kind.size == 1:
        parts.append(_attr(float(graph.constants[node.name].reshape(()))))
    if node.attrs:
        parts.append("{" + ", ".join(f"{k}={_attr(v)}" for k, v in sorted(node.attrs.items())) + "}")
    parts.append(f": {list(kind.shape)} {'secret' if kind.secret else 'public'}")
    if kind.low is not None and kind.high is not None:
        parts.append(f"[{kind.low:.4g}, {kind.high:.4g}]")
    if node.origin:
        parts.append(f"@ {node.origin}")
    return " ".join(parts)


def _attr(value: Attr) -> str:
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_attr, value)) + ")"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)
