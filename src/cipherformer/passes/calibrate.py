"""Give every secret value the range it takes on sample inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.errors import DataError, ModelError
from cipherformer.graph import Graph, Node
from cipherformer.graph.evaluate import walk
from cipherformer.graph.rewrite import replace_nodes
from cipherformer.ops import OPS
from cipherformer.ops.spec import integer

Samples = Iterable[Mapping[str, NDArray[Any]]]


def calibrate(
    graph: Graph, samples: Samples, *, margin: float = 0.1, lowered: bool = False, known: bool = False
) -> Graph:
    """The graph with `low` and `high` on the type of every secret value.

    Args:
        graph: at any stage.
        samples: input arrays by name, one mapping a sample.
        margin: a range is widened on both sides by this part of its width; a divisor's by this factor, so
            that it stays positive, and never below what its form guarantees (an even power plus epsilon).
        lowered: observe what the approximations compute, once they are planned.
        known: the ranges that values have already are part of the new ones: a look-up table says more
            about its rows than samples do.

    Raises:
        DataError: no samples.
        ModelError: a value is not finite.
    """
    seen: dict[str, tuple[float, float]] = {}
    for sample in samples:
        for node, value in walk(graph, sample, lowered=lowered):
            if node.type.secret:
                low, high = seen.get(node.name, (np.inf, -np.inf))
                seen[node.name] = (min(low, float(value.min())), max(high, float(value.max())))
    if not seen:
        raise DataError("no samples to calibrate on", fix="give at least one typical input, better a hundred")
    floors = lower_bounds(graph)
    divisors = {name for node in graph.nodes if OPS[node.op].positive for name in node.inputs}
    ranges: dict[str, tuple[float, float]] = {}
    for node in graph.nodes:
        if node.type.secret:
            low, high = _widened(node, seen[node.name], margin, floors, divisors)
            if known and node.type.low is not None and node.type.high is not None:
                low, high = min(low, node.type.low), max(high, node.type.high)
            ranges[node.name] = low, high
            if node.op == "reciprocal" and ranges[node.inputs[0]][0] > 0.0:
                low, high = ranges[node.inputs[0]]
                ranges[node.name] = (1.0 / high, 1.0 / low)
    return replace_nodes(
        graph, (n.with_(type=n.type.with_range(*ranges[n.name])) for n in graph.nodes if n.type.secret)
    )


def _widened(
    node: Node, seen: tuple[float, float], margin: float, floors: Mapping[str, float], divisors: set[str]
) -> tuple[float, float]:
    low, high = seen
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ModelError(
            f"{node.op} takes a value that is not finite",
            where=node.origin or node.name,
            fix="check the samples",
        )
    floor = floors[node.name]
    if node.name in divisors and low > 0.0:
        return max(low / (1.0 + margin), floor), high * (1.0 + margin)
    extra = margin * (high - low)
    return max(low - extra, floor), high + extra


def lower_bounds(graph: Graph) -> dict[str, float]:
    """What each value cannot fall below whatever the input: 0 for even powers, and what follows from that."""
    floors: dict[str, float] = {}
    for node in graph.nodes:
        if node.op == "constant":
            floors[node.name] = float(graph.constants[node.name].min())
        else:
            floors[node.name] = _floor(node, [floors[name] for name in node.inputs])
    return floors


def _floor(node: Node, operands: list[float]) -> float:
    match node.op:
        case "power" if integer(node.attrs, "exponent") % 2 == 0:
            return 0.0
        case "power" | "mul" | "sum" if min(operands) >= 0.0:
            return 0.0
        case "mean" | "reshape" | "permute" | "expand" | "slice" | "concat" | "avg_pool2d":
            return min(operands) if node.op != "avg_pool2d" else min(*operands, 0.0)
        case "add":
            return sum(operands)
        case _:
            return -np.inf
