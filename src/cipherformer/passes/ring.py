"""From a captured graph to additions, products, comparisons and requests for precision: the ring dialect.

In order: fuse_norms, fold, masks (additive masks become binary ones), lower, calibrate, approximate_ring
(what is left becomes primitives of `RING_OPS`), calibrate again, so that every value has its magnitude.
`passes.truncate` places truncations afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.errors import ModelError
from cipherformer.graph import Graph, Node
from cipherformer.graph.rewrite import GraphBuilder, rebuilt, replace_nodes
from cipherformer.ops import OPS, Composite, ring_masked
from cipherformer.ops import ring_functions as functions
from cipherformer.ops.ring_published import SETS
from cipherformer.ops.spec import integer, integers, number, numbers
from cipherformer.passes.calibrate import calibrate
from cipherformer.passes.fold import fold
from cipherformer.passes.fuse import fuse_norms
from cipherformer.passes.lower import lower

Samples = Sequence[Mapping[str, NDArray[Any]]]

MASKED_BELOW = -1e4
"""An additive mask's entries below this hide a position: models write -1e4, the smallest float or minus
infinity."""

_ARITHMETIC = ("add", "sub", "neg", "mul", "matmul", "linear", "conv2d", "sum")
_MOVES = ("reshape", "permute", "expand", "slice", "concat")
_SCALES = ("keep", "trunc", "lift", "extend", "narrow")
RING_OPS = frozenset(("input", "constant", *_ARITHMETIC, *_MOVES, "select", *_SCALES))
"""What a ring backend executes."""


@dataclass(frozen=True, slots=True)
class RingGraph:
    """A model in the ring dialect, and what it came from.

    Args:
        graph: primitives of `RING_OPS` only, every secret value with its range.
        reference: the lowered graph before approximation: its float64 values are the mathematical ones.
        names: value of the reference -> value of the graph that stands for it.
    """

    graph: Graph
    reference: Graph
    names: Mapping[str, str]


def to_ring(graph: Graph, samples: Samples, *, method: str = "ring", margin: float = 0.1) -> RingGraph:
    """All of the passes up to truncation.

    Args:
        graph: captured.
        samples: typical inputs; ranges and magnitudes come from them.
        method: `ring` for the default lowerings, `ring.masked` for those of masked wires, or `ring.NAME` of
            a published set (`crypten`, `secformer`, `puma`, `shaft`); what a set lacks takes the default.
        margin: by which ranges are widened.

    Raises:
        ModelError: an unknown set, an op without a form, a mask that hides a whole row.
        LimitError: a function that cannot be fitted on its range.
    """
    if method != "ring" and method.removeprefix("ring.") not in (ring_masked.SET, *SETS):
        names_of_sets = ", ".join(f"ring.{name}" for name in (ring_masked.SET, *SETS))
        raise ModelError(f"no set of functions is called {method}", fix=f"take ring, {names_of_sets}")
    lowered = lower(binary_masks(fold(fuse_norms(graph))), target=method)
    reference = bounded_scores(calibrate(lowered, samples, margin=margin))
    approximated, names = approximate_ring(reference, method)
    return RingGraph(calibrate(approximated, samples, margin=margin, known=True), reference, names)


def binary_masks(graph: Graph) -> Graph:
    """softmax(x + mask) becomes softmax(x + rest, kept): fixed point has no minus infinity."""
    build = GraphBuilder(graph.name)
    names: dict[str, str] = {}
    nodes = graph.by_name()
    for node in graph.nodes:
        build.origin = node.origin
        inputs = [names[i] for i in node.inputs]
        before = nodes[node.inputs[0]] if node.inputs else node
        if node.op == "softmax" and len(inputs) == 1 and _is_masked(graph, before):
            scores, mask = (names[i] for i in before.inputs)
            names[node.name] = _masked_softmax(build, node, scores, build.value(mask))
        else:
            names[node.name] = build.copy(graph, node, inputs)
    return rebuilt(graph, build, names)


def _is_masked(graph: Graph, node: Node) -> bool:
    return (
        node.op == "add"
        and node.inputs[1] in graph.constants
        and bool(np.any(graph.constants[node.inputs[1]] < MASKED_BELOW))
    )


def _masked_softmax(build: GraphBuilder, node: Node, scores: str, mask: NDArray[np.float64]) -> str:
    kept = mask >= MASKED_BELOW
    dim = integer(node.attrs, "dim")
    if not np.broadcast_to(kept, node.type.shape).any(axis=dim).all():
        raise ModelError(
            "an attention mask hides a whole row",
            where=node.origin or node.name,
            why="its weights would be 0/0",
            fix="let every position see at least one other",
        )
    rest = np.where(kept, mask, 0.0)
    if np.any(rest != 0.0):
        scores = build.emit("add", scores, build.constant(rest))
    shape = np.broadcast_shapes(build.type_of(scores).shape, mask.shape)
    if shape != build.type_of(scores).shape:
        scores = build.emit("expand", scores, shape=shape)
    binary = build.constant(kept.astype(np.float64))
    return build.emit_named(node.name, "softmax", (scores, binary), dict(node.attrs))


def bounded_scores(graph: Graph) -> Graph:
    """The calibrated graph with 0 as the upper end of x - largest(x): a margin would break what must hold."""
    nodes = graph.by_name()

    def operands(node: Node) -> list[Node]:
        return [nodes[name] for name in node.inputs]

    changed = []
    for node in graph.nodes:
        masks: list[NDArray[Any]] = []
        difference = node
        if node.op == "mul" and node.inputs[1] in graph.constants:
            difference, masks = operands(node)[0], [graph.constants[node.inputs[1]]]
        if difference.op != "sub" or node.type.low is None:
            continue
        x, top = operands(difference)
        hidden = [graph.constants[name] for name in top.inputs[1:]] if top.op == "largest" else []
        same = len(hidden) == len(masks) and all(map(np.array_equal, hidden, masks))
        if top.op == "largest" and top.inputs[0] == x.name and same:
            changed.append(node.with_(type=node.type.with_range(min(node.type.low, 0.0), 0.0)))
    return replace_nodes(graph, changed)


def approximate_ring(graph: Graph, target: str = "ring") -> tuple[Graph, dict[str, str]]:
    """Every node in primitives of `RING_OPS`, from calibrated ranges; and the old names' new ones."""
    build = GraphBuilder(graph.name)
    names: dict[str, str] = {}
    for node in graph.nodes:
        build.origin = node.origin
        inputs = [names[i] for i in node.inputs]
        names[node.name] = (
            build.copy(graph, node, inputs) if node.op in RING_OPS else _expanded(build, node, inputs, target)
        )
        new = build.type_of(names[node.name])
        if node.type.low is not None and node.type.high is not None and new.low is None:  # read by lowerings
            build.set_range(names[node.name], node.type.low, node.type.high)
    return rebuilt(graph, build, names), names


def _expanded(build: GraphBuilder, node: Node, inputs: list[str], target: str) -> str:
    op = OPS[node.op]
    if isinstance(op, Composite):
        lowering = op.lowerings.get(target) or op.lowerings["ring"]
        return lowering.emit(build, inputs, node.attrs, functions.RING_BUDGET)
    match node.op:
        case "reciprocal":
            sets = {**SETS, ring_masked.SET: {"reciprocal": ring_masked.reciprocal}}
            emit = sets.get(target.removeprefix("ring."), {}).get("reciprocal", functions.reciprocal)
            return emit(build, inputs, node.attrs, functions.RING_BUDGET)
        case "largest":
            return functions.largest(build, inputs, node.attrs, functions.RING_BUDGET)
        case "power":
            return _power(build, inputs[0], integer(node.attrs, "exponent"))
        case "mean":
            return _mean(build, node, inputs[0])
        case "polynomial":
            return _chebyshev(build, node, inputs[0])
        case "avg_pool2d":
            return _average(build, node, inputs[0])
        case _:
            raise ModelError(f"{node.op} has no form in a ring", where=node.origin or node.name)


def _power(build: GraphBuilder, x: str, exponent: int) -> str:
    """Square and multiply, from the top bit."""
    out = x
    for bit in bin(exponent)[3:]:
        out = build.emit("mul", out, out)
        if bit == "1":
            out = build.emit("mul", out, x)
    return out


def _mean(build: GraphBuilder, node: Node, x: str) -> str:
    count = prod(build.type_of(x).shape[d] for d in integers(node.attrs, "dims"))
    total = build.emit("sum", x, **dict(node.attrs))
    return build.emit("mul", total, build.constant(1.0 / count))


def _chebyshev(build: GraphBuilder, node: Node, x: str) -> str:
    """T_2k = 2 T_k^2 - 1 and T_2k+1 = 2 T_k T_k+1 - t: logarithmic depth, then one sum."""
    low, high = number(node.attrs, "low"), number(node.attrs, "high")
    coefficients = numbers(node.attrs, "coefficients")
    t = build.emit(
        "mul", build.emit("sub", x, build.constant((low + high) / 2)), build.constant(2 / (high - low))
    )
    terms = {1: t}
    for k in range(2, len(coefficients)):
        product = build.emit("mul", terms[k // 2], terms[k - k // 2])
        double = build.emit("mul", product, build.constant(2.0))
        terms[k] = build.emit("sub", double, t if k % 2 else build.constant(1.0))
    out = build.emit("mul", t, build.constant(coefficients[1] if len(coefficients) > 1 else 0.0))
    for k in range(2, len(coefficients)):
        out = build.emit("add", out, build.emit("mul", terms[k], build.constant(coefficients[k])))
    return build.emit("add", out, build.constant(coefficients[0]))


def _average(build: GraphBuilder, node: Node, x: str) -> str:
    """A convolution, channel by channel, with equal weights."""
    channels, kernel = build.type_of(x).shape[1], integers(node.attrs, "kernel")
    weight = build.constant(np.full((channels, 1, *kernel), 1.0 / prod(kernel)))
    attrs = {name: node.attrs[name] for name in ("stride", "padding")}
    return build.emit("conv2d", x, weight, **attrs, dilation=(1, 1), groups=channels)
