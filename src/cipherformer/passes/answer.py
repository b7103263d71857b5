"""What a client gives and gets: token ids in place of embeddings, the best entry in place of all scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cipherformer.errors import ModelError
from cipherformer.graph import Graph
from cipherformer.graph.rewrite import GraphBuilder, rebuilt


def argmax_only(graph: Graph) -> Graph:
    """The first output becomes the number of its largest entry along the last axis, which stays.

    A tree of comparisons: each carries the larger entry and its number, the earlier one of equals. Nothing
    else of the scores is revealed.

    Raises:
        ModelError: the last axis has one entry.
    """
    build, names = GraphBuilder(graph.name), {}
    for node in graph.nodes:
        build.origin = node.origin
        names[node.name] = build.copy(graph, node, [names[name] for name in node.inputs])
    build.origin = "argmax"
    scores = names[graph.outputs[0]]
    shape = build.type_of(scores).shape
    if shape[-1] < 2:
        raise ModelError(f"the largest of {shape[-1]} entries", where=graph.name)
    number = build.constant(np.broadcast_to(np.arange(float(shape[-1])), shape))
    while (size := build.type_of(scores).shape[-1]) > 1:
        first, second = (_parts(build, value, size) for value in (scores, number))
        better = build.emit("select", build.emit("sub", first[0], first[1]), breaks=(0.0,), table=(0.0, 1.0))
        scores, number = (_chosen(build, parts, better) for parts in (first, second))
    return build.finish(number, *(names[name] for name in graph.outputs[1:]))


def _parts(build: GraphBuilder, value: str, size: int) -> tuple[str, str, str]:
    """Every second entry, those behind them, and what is left of an odd number of entries: order is kept."""
    dim, even = len(build.type_of(value).shape) - 1, size // 2 * 2
    a, b = (build.emit("slice", value, dim=dim, start=i, stop=even, step=2) for i in (0, 1))
    rest = build.emit("slice", value, dim=dim, start=even, stop=size, step=1) if size % 2 else ""
    return a, b, rest


def _chosen(build: GraphBuilder, parts: tuple[str, str, str], better: str) -> str:
    a, b, rest = parts
    out = build.emit("add", b, build.emit("mul", build.emit("sub", a, b), better))
    return build.emit("concat", out, rest, dim=len(build.type_of(out).shape) - 1) if rest else out


def private_lookup(graph: Graph, table: NDArray[np.float64]) -> Graph:
    """The text's input [1, L, d] becomes one-hot token ids [1, L, V]: the server keeps its table [V, d], the
    client its tokens.

    Raises:
        ModelError: the table does not fit the first input.
    """
    text = graph.inputs[0]
    if len(text.type.shape) != 3 or text.type.shape[-1] != table.shape[1]:
        raise ModelError(f"a table {list(table.shape)} for an input {list(text.type.shape)}", where=text.name)
    build, names = GraphBuilder(graph.name), {}
    for node in graph.nodes:
        build.origin = node.origin
        if node.name == text.name:
            one_hot = build.input(text.name, (*text.type.shape[:-1], len(table)))
            build.origin = "embedding"
            names[node.name] = build.emit("linear", one_hot, build.constant(np.ascontiguousarray(table.T)))
        else:
            names[node.name] = build.copy(graph, node, [names[name] for name in node.inputs])
    return rebuilt(graph, build, names)
