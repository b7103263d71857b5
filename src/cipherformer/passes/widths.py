"""Widths of masked wires: what each reader needs, backwards from the outputs.

A reader that computes modulo 2^n needs its operands modulo 2^n, a truncation by t bits t more than its
result. What would need more than 64 bits is narrower, and is extended behind the truncation. A placement's
own changes of ring change no integer and are passed over: only its truncations count.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from cipherformer.approx.fourier import integer_waves
from cipherformer.errors import LimitError
from cipherformer.graph import Graph, Node
from cipherformer.ops.spec import integer
from cipherformer.passes.placement import PRODUCTS, magnitude

WORD = 64
GUARD = 1
"""Bits above the calibrated range. A value that leaves its range meets functions that are less exact there;
one that leaves its ring is another number."""
MOVES = ("reshape", "permute", "expand", "slice", "concat")
SUMS = ("add", "sub", "neg", "sum", "lift")
_RINGS = ("extend", "narrow")


def without_ring_changes(graph: Graph) -> Graph:
    """The graph without `extend` and `narrow` nodes."""
    names: dict[str, str] = {}
    nodes = []
    for node in graph.nodes:
        if node.op in _RINGS:
            names[node.name] = names.get(node.inputs[0], node.inputs[0])
        else:
            nodes.append(node.with_(inputs=tuple(names.get(name, name) for name in node.inputs)))
    outputs = tuple(names.get(name, name) for name in graph.outputs)
    return Graph(tuple(nodes), outputs, graph.constants, graph.name)


def least_width(node: Node, bits: Mapping[str, int]) -> int:
    """Bits that hold a value with its sign, the bit that extensions need, and a guard where there is room.

    Raises:
        LimitError: they are more than 64.
    """
    if node.op == "constant":
        return 1
    least = bits[node.name] + max(magnitude(node), 1 - bits[node.name]) + 2
    if least > WORD:
        raise LimitError(
            f"a value of {least} bits, headroom included",
            where=node.origin or node.name,
            fix="place with truncate-reduce, or with fewer fraction bits",
        )
    return min(least + GUARD, WORD)


def needed_widths(
    graph: Graph, bits: Mapping[str, int], asked: Mapping[str, int] = MappingProxyType({})
) -> dict[str, int]:
    """The width that the readers of each value need, or more where more is asked for."""
    out = {node.name: max(least_width(node, bits), asked.get(node.name, 0)) for node in graph.nodes}
    for node in reversed(graph.nodes):
        wanted = 0
        if node.op == "trunc":
            wanted = out[node.name] + integer(node.attrs, "bits")
            if wanted > WORD:  # extended behind it in any case: then from the narrowest ring
                wanted = min(least_width(node, bits) + integer(node.attrs, "bits"), WORD)
        elif node.op in (*SUMS, *MOVES, *PRODUCTS):
            wanted = out[node.name]
        elif node.op == "fourier":
            wanted = integer_waves(node.attrs, bits[node.inputs[0]]).log_size
        for name in node.inputs:
            out[name] = max(out[name], wanted)
    return out
