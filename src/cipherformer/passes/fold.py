"""Fold what is public into what is public: statistics, scales and shifts disappear into weights.

Three steps alternate until nothing changes. `passes.split` takes packed projections apart. The forward sweep
applies local rules (`passes.rules`) that move scales and shifts towards the linear layers behind them. The
backward sweep (`passes.absorb`) gives what is left to the linear layer in front.
"""

from __future__ import annotations

from collections import Counter

from cipherformer.errors import CompileError
from cipherformer.graph import Graph, Node
from cipherformer.graph.rewrite import GraphBuilder, rebuilt
from cipherformer.passes.absorb import absorb
from cipherformer.passes.rules import RULES
from cipherformer.passes.split import split_projections

_MAX_ROUNDS = 50


def fold(graph: Graph) -> Graph:
    """The same function with fewer nodes, equal up to rounding. Ranges survive on untouched nodes only."""
    for _ in range(_MAX_ROUNDS):
        folded = _backward(_forward(split_projections(graph)))
        if _signature(folded) == _signature(graph):
            return folded
        graph = folded
    raise CompileError(f"folding does not settle in {_MAX_ROUNDS} rounds", where=graph.name)


def _signature(graph: Graph) -> tuple[object, ...]:
    return tuple((n.op, len(n.inputs), n.type.shape, tuple(sorted(n.attrs.items()))) for n in graph.nodes)


def _forward(graph: Graph) -> Graph:
    build = GraphBuilder(graph.name)
    names: dict[str, str] = {}
    made: dict[object, str] = {}
    for node in graph.nodes:
        build.origin = node.origin
        inputs = tuple(names[i] for i in node.inputs)
        key = (node.op, inputs, tuple(sorted(node.attrs.items())))
        if not inputs or key not in made:  # equal nodes become one
            made[key] = _simplified(graph, node, list(inputs), build)
        names[node.name] = made[key]
    return rebuilt(graph, build, names)


def _simplified(graph: Graph, node: Node, inputs: list[str], build: GraphBuilder) -> str:
    current = node.with_(inputs=tuple(inputs))
    for rule in RULES.get(node.op, ()):
        replacement = rule(build, current)
        if replacement is not None:
            return replacement
    return build.copy(graph, node, inputs)


def _backward(graph: Graph) -> Graph:
    """Give scales and shifts by constants to the linear layer in front, where nothing else reads it."""
    build = GraphBuilder(graph.name)
    names: dict[str, str] = {}
    readers = Counter(graph.outputs)
    for node in graph.nodes:
        readers.update(node.inputs)
    uses: dict[str, int] = {}
    for node in graph.nodes:
        build.origin = node.origin
        inputs = [names[i] for i in node.inputs]
        absorbed = None
        if node.op in ("mul", "add") and build.is_constant(inputs[1]):
            absorbed = absorb(build, uses, node.op, inputs[0], build.value(inputs[1]), node.type.shape)
        names[node.name] = absorbed or build.copy(graph, node, inputs)
        uses[names[node.name]] = uses.get(names[node.name], 0) + readers[node.name]
    return rebuilt(graph, build, names)
