"""Exact fixed-point arithmetic: what a protocol on shares computes, in plaintext integers.

A value is an array of integers with a number of fraction bits from the placement. Each operation takes the
fastest carrier that a bound of its result proves exact: float64 below 2^53 (matrix products then run in
BLAS), int64 below 2^63 (products of matrices as sums of float64 products of their high and low parts),
Python's integers above. A value that leaves the ring is an error that names where it came from, or wraps
around as it would in the ring.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.approx.fourier import integer_waves
from cipherformer.backends import tape
from cipherformer.backends.books import Books
from cipherformer.backends.exact import check_input
from cipherformer.backends.integers import (
    Carrier,
    bilinear,
    divided,
    largest,
    normal,
    scaled,
    shifted,
    wrapped,
)
from cipherformer.graph import Node
from cipherformer.ops import OPS
from cipherformer.ops.spec import Array, integer, integers, numbers
from cipherformer.passes.placement import PRODUCTS, Placement
from cipherformer.targets.ring import Truncation


@dataclass(frozen=True, slots=True)
class Result:
    """What a run computed.

    Args:
        values: real values of the outputs, or of all nodes with `keep`.
        headroom: for each secret value, bits between its largest integer and the ring's bound.
        overflows: values that left the ring and wrapped around, in order.
        carriers: operations by the arithmetic that they needed: `float64`, `int64`, `wide`.
    """

    values: Mapping[str, NDArray[np.float64]]
    headroom: Mapping[str, int]
    overflows: tuple[str, ...]
    carriers: Mapping[str, int]


def run(
    placement: Placement,
    inputs: Mapping[str, NDArray[Any]],
    *,
    keep: bool = False,
    seed: int = 0,
    wrap: bool = False,
    carrier: Carrier = Carrier.FLOAT64,
    on_node: Callable[[Node], None] | None = None,
    masks: Mapping[str, NDArray[np.uint64]] | None = None,
) -> Result:
    """Run a placed graph on one input.

    Args:
        placement: from `passes.truncate.place`.
        inputs: an array for each input node.
        keep: return every value, not only the outputs.
        seed: of the tape that probabilistic truncations read.
        wrap: let values wrap around in place of an error.
        carrier: the fastest arithmetic allowed; `INT64` and `WIDE` force slower ones with the same results.
        on_node: called after each node, for a progress bar.
        masks: what the roundings of truncations and of `fourier` read in place of the tape: for each such
            node the mask of its operand in a protocol on masked wires, whose run is then repeated bit for
            bit.

    Raises:
        LimitError: a value leaves the ring; names its origin.
        DataError: an input that does not fit.
    """
    books = Books(placement, wrap)
    machine = Machine(placement, books, seed, carrier, masks)
    graph = placement.graph
    last = {name: i for i, node in enumerate(graph.nodes) for name in node.inputs}
    held: dict[str, Array] = {}
    values: dict[str, NDArray[np.float64]] = {}
    for i, node in enumerate(graph.nodes):
        if node.op == "input":
            value = scaled(check_input(node, inputs), placement.frac_bits[node.name])
        elif node.op == "constant":
            value = scaled(graph.constants[node.name], placement.frac_bits[node.name])
        else:
            value = machine.apply(node, [held[n] for n in node.inputs])
        value = held[node.name] = machine.checked(node, value)
        if keep or node.name in graph.outputs:
            values[node.name] = shifted(value, placement.frac_bits[node.name])
        for name in dict.fromkeys((*node.inputs, node.name)):
            if last.get(name, i) == i:
                del held[name]
        if on_node:
            on_node(node)
    return Result(values, books.headroom, tuple(books.overflows), books.carriers)


class Machine:
    """Executes single nodes with numpy, in any carrier: the reference for `backends.prepared`."""

    def __init__(
        self,
        placement: Placement,
        books: Books,
        seed: int,
        carrier: Carrier,
        masks: Mapping[str, NDArray[np.uint64]] | None = None,
    ) -> None:
        self.bits, self.widths = placement.frac_bits, placement.widths
        self.books, self.seed, self.carrier, self._masks = books, seed, carrier, masks

    def checked(self, node: Node, value: Array) -> Array:
        """Books a value's size; outside the ring it is an error, or wraps."""
        if not node.type.secret:
            return value
        if self.books.fits(node, largest(value).bit_length()):
            return value
        return wrapped(value, self.widths[node.name])

    def apply(self, node: Node, operands: list[Array]) -> Array:
        """The integers of one node."""
        match node.op:
            case "trunc":
                return self._truncate(node, operands[0])
            case "extend" | "narrow":
                return self._changed(node, operands[0])
            case "lift":
                return self._linear(node, [operands[0]], 2 ** integer(node.attrs, "bits"))
            case "select":
                return self._select(node, operands[0])
            case "fourier":
                return self._fourier(node, operands[0])
            case op if op in PRODUCTS:
                return self._product(node, operands)
            case _:
                return self._linear(node, operands)

    def _truncate(self, node: Node, value: Array) -> Array:
        bits = integer(node.attrs, "bits")
        if node.attrs["mode"] == Truncation.EXACT.value:
            return divided(value, bits, 1 << (bits - 1))
        return divided(value, bits, self._random(node, bits, value.shape))

    def _random(self, node: Node, bits: int, shape: tuple[int, ...]) -> Array:
        if self._masks is None:
            return tape.draw(tape.key(self.seed, node.name), bits, shape)
        found = self._masks[node.name] & np.uint64((1 << bits) - 1)
        return found.astype(np.int64) if bits < 64 else found.astype(object)

    def _fourier(self, node: Node, value: Array) -> Array:
        function = integer_waves(node.attrs, self.bits[node.inputs[0]])
        mask = self._random(node, function.log_size, value.shape).astype(np.uint64)
        return function.evaluate(value.astype(np.int64), mask)

    def _changed(self, node: Node, value: Array) -> Array:
        """In another ring: the same integer, if a re-extension can read its sign."""
        self.books.readable(node, largest(value).bit_length())
        return value

    def _select(self, node: Node, value: Array) -> Array:
        bits = self.bits[node.inputs[0]]
        breaks = [int(np.ceil(b * 2.0**bits)) for b in numbers(node.attrs, "breaks")]
        table = scaled(np.array(numbers(node.attrs, "table")), self.bits[node.name])
        table = table.reshape(-1, len(breaks) + 1)
        size = largest(value) + 1
        exact = normal(np.array([max(-size, min(size, b)) for b in breaks], dtype=object), size)
        found = table[:, np.searchsorted(exact, normal(value, size), side="right")]
        return found[0] if len(found) == 1 else found

    def _linear(self, node: Node, operands: list[Array], factor: int = 1) -> Array:
        """Sums and moves: the operands' sum of bounds, times what the op adds up, bounds every step."""
        terms = max(1, sum(o.size for o in operands) // max(1, node.type.size)) if node.op == "sum" else 1
        bound = sum(largest(o) for o in operands) * terms * factor
        carried = [self._carry(o, bound) for o in operands]
        self._count(carried[0])
        if node.op == "lift":
            return np.asarray(
                carried[0] * carried[0].dtype.type(factor) if bound < 2**63 else carried[0] * factor
            )
        if node.op in ("sum", "add", "sub", "neg"):
            return _plain(node, carried)
        return np.asarray(OPS[node.op].reference(carried, node.attrs))

    def _product(self, node: Node, operands: list[Array]) -> Array:
        terms = _terms(node, operands)
        out = bilinear(
            lambda a, b: np.asarray(OPS[node.op].reference([a, b], node.attrs)),
            operands[0],
            operands[1],
            terms,
            self.carrier,
        )
        if len(operands) == 3:
            bias = operands[2] if node.op == "linear" else operands[2][:, None, None]
            bound = largest(out) + largest(bias)
            out = self._carry(out, bound) + self._carry(bias, bound)
        self._count(out)
        return out

    def _carry(self, value: Array, bound: int) -> Array:
        return normal(value, bound, self.carrier)

    def _count(self, value: Array) -> None:
        self.books.count("wide" if value.dtype == object else str(value.dtype))


def _plain(node: Node, operands: list[Array]) -> Array:
    match node.op:
        case "add":
            return np.asarray(operands[0] + operands[1])
        case "sub":
            return np.asarray(operands[0] - operands[1])
        case "neg":
            return np.asarray(-operands[0])
        case _:
            dims = integers(node.attrs, "dims")
            return np.asarray(operands[0].sum(axis=dims, keepdims=bool(node.attrs["keepdim"])))


def _terms(node: Node, operands: list[Array]) -> int:
    """Products that add up to one element of the result."""
    if node.op == "mul":
        return 1
    return operands[0].shape[-1] if node.op in ("matmul", "linear") else int(np.prod(operands[1].shape[1:]))
