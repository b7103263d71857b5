"""Give each part of a packed projection its own linear layer."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from cipherformer.graph import Graph, Node
from cipherformer.graph.rewrite import GraphBuilder, rebuilt
from cipherformer.ops.spec import integer
from cipherformer.passes.absorb import folded_name


def split_projections(graph: Graph) -> Graph:
    """A linear layer whose features are only read in disjoint slices becomes one linear layer a slice.

    Queries, keys and values of a packed projection then fold their own scales, and no slice costs anything.
    """
    nodes, consumers = graph.by_name(), graph.consumers()
    split = {n.name for n in graph if _is_packed(graph, n, consumers[n.name])}
    build = GraphBuilder(graph.name)
    names: dict[str, str] = {}
    for node in graph.nodes:
        if node.op == "slice" and node.inputs[0] in split:
            packed = nodes[node.inputs[0]]
            rows = slice(integer(node.attrs, "start"), integer(node.attrs, "stop"))
            build.origin = packed.origin
            parts = [
                build.constant(np.ascontiguousarray(graph.constants[c][rows]), folded_name(c))
                for c in packed.inputs[1:]
            ]
            names[node.name] = build.emit_named(
                packed.name, "linear", (names[packed.inputs[0]], *parts), packed.attrs
            )
        elif node.name not in split:
            names[node.name] = build.copy(graph, node, [names[i] for i in node.inputs])
    return rebuilt(graph, build, names)


def _is_packed(graph: Graph, node: Node, readers: tuple[Node, ...]) -> bool:
    if node.op != "linear" or not readers or node.name in graph.outputs:
        return False
    last = len(node.type.shape) - 1
    spans = sorted(
        (integer(r.attrs, "start"), integer(r.attrs, "stop"))
        for r in readers
        if r.op == "slice" and r.attrs["dim"] == last and r.attrs["step"] == 1
    )
    disjoint = all(before[1] <= after[0] for before, after in pairwise(spans))
    return len(spans) == len(readers) and disjoint and all(i in graph.constants for i in node.inputs[1:])
