"""How many fraction bits values need: for constants to be exact, and for what `keep` asks of truncations."""

from __future__ import annotations

from math import floor, log2

import numpy as np
from numpy.typing import NDArray

from cipherformer.graph import Graph, Node
from cipherformer.ops.spec import integer

_LINEAR = frozenset(["add", "sub", "neg", "sum", "reshape", "permute", "expand", "slice", "concat", "keep"])


def exact_bits(value: NDArray[np.float64], most: int) -> int | None:
    """The fewest fraction bits, up to `most`, that represent an array exactly; None if there are none.

    >>> exact_bits(np.array([0.5, 3.0]), 16), exact_bits(np.array([0.1]), 16)
    (1, None)
    """
    flat = np.asarray(value, dtype=np.float64).ravel()
    if not _whole(flat[:64], most) or not _whole(flat, most):
        return None
    return next(bits for bits in range(most + 1) if _whole(flat, bits))


def _whole(value: NDArray[np.float64], bits: int) -> bool:
    scaled = value * 2.0**bits
    return bool(np.all(scaled == np.rint(scaled)))


def kept_bits(graph: Graph) -> dict[str, int]:
    """Fraction bits that each value must keep for the `keep` nodes behind it.

    A request passes backwards through sums, moves and products with constants; a constant below 1 relaxes it.
    """
    wanted: dict[str, int] = {}
    for node in reversed(graph.nodes):
        own = wanted.get(node.name, 0)
        if node.op == "keep":
            own = max(own, integer(node.attrs, "frac_bits"))
        elif node.op == "mul" and node.inputs[1] in graph.constants:
            own = max(0, own + _scale(graph, node)) if own else 0
        elif node.op not in _LINEAR:
            continue
        for name in node.inputs:
            if own > wanted.get(name, 0):
                wanted[name] = own
    return wanted


def _scale(graph: Graph, node: Node) -> int:
    largest = float(np.max(np.abs(graph.constants[node.inputs[1]])))
    return floor(log2(largest)) if largest > 0.0 else 0
