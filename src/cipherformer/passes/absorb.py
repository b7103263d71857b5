"""Give a scale or a shift to the linear layer in front of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.graph import Node
from cipherformer.graph.move import reshaped_factor
from cipherformer.graph.rewrite import GraphBuilder
from cipherformer.ops.spec import integers, numbers

_MOVES = ("reshape", "permute", "expand", "slice", "sum", "mean", "avg_pool2d")


def absorb(
    build: GraphBuilder,
    uses: Mapping[str, int],
    op: str,
    name: str,
    factor: NDArray[Any],
    shape: tuple[int, ...],
) -> str | None:
    """Append a value equal to `op(name, factor)` without that op, or return None and append nothing that
    stays.

    Args:
        build: where to append.
        uses: readers of values already appended; a value with more than one is left alone.
        op: `mul` or `add`.
        name: what the factor applies to.
        factor: a public array.
        shape: of the result; a factor that enlarges the value is left alone.
    """
    if build.type_of(name).shape != shape:
        return None
    node = build.node(name)
    if uses.get(name, 1) > 1:
        return None
    if node.op in ("linear", "conv2d") and _public_weight(build, node):
        along = per_channel(factor, shape, len(shape) - 1 if node.op == "linear" else 1)
        if along is not None:
            return _into_layer(build, node, op, along)
    if op == "mul" and factor.size == 1:
        return scaled(build, uses, name, float(factor.reshape(())))
    if node.op not in ("permute", "reshape"):
        return None
    source = build.type_of(node.inputs[0]).shape
    earlier = _before_move(node, source, factor.reshape((1,) * (len(shape) - factor.ndim) + factor.shape))
    moved = None if earlier is None else absorb(build, uses, op, node.inputs[0], earlier, source)
    return None if moved is None else build.emit_named(node.name, node.op, (moved,), node.attrs)


def _before_move(node: Node, source: tuple[int, ...], factor: NDArray[Any]) -> NDArray[Any] | None:
    """The factor that does in front of a permute or reshape what this one does behind it."""
    if node.op == "permute":
        return factor.transpose(np.argsort(integers(node.attrs, "dims")))
    shape = reshaped_factor(node.type.shape, source, factor.shape)
    return None if shape is None else factor.reshape(shape)


def _public_weight(build: GraphBuilder, node: Node) -> bool:
    return all(build.is_constant(i) for i in node.inputs[1:])


def per_channel(factor: NDArray[Any], shape: tuple[int, ...], axis: int) -> NDArray[np.float64] | None:
    """The factor as a vector along `axis`, or None if it varies along another axis."""
    full = (1,) * (len(shape) - factor.ndim) + factor.shape
    if len(full) != len(shape) or any(s != 1 for i, s in enumerate(full) if i != axis):
        return None
    return np.ascontiguousarray(np.broadcast_to(factor.reshape(-1), (shape[axis],)), dtype=np.float64)


def folded_name(name: str) -> str:
    """Name of a constant made from another."""
    return name.split("_folded")[0] + "_folded"


def _into_layer(build: GraphBuilder, node: Node, op: str, along: NDArray[np.float64]) -> str:
    x, weight_name, *bias_name = node.inputs
    weight = build.value(weight_name)
    bias = build.value(bias_name[0]) if bias_name else np.zeros(weight.shape[0])
    inputs = [x, weight_name]
    if op == "mul":
        scaled_weight = weight * along.reshape(-1, *(1,) * (weight.ndim - 1))
        inputs[1] = build.constant(scaled_weight, folded_name(weight_name))
    if op == "add" or bias_name:
        new_bias = bias * along if op == "mul" else bias + along
        inputs.append(
            build.constant(new_bias, folded_name(bias_name[0] if bias_name else node.name + "_bias"))
        )
    build.origin = node.origin
    return build.emit_named(node.name, node.op, inputs, node.attrs)


def scaled(build: GraphBuilder, uses: Mapping[str, int], name: str, factor: float) -> str | None:
    """Append `factor` times a value by scaling a weight somewhere in front of it; None if there is none."""
    node = build.node(name)
    if uses.get(name, 1) > 1:
        return None
    if node.op in ("linear", "conv2d") and _public_weight(build, node):
        channels = build.type_of(node.inputs[1]).shape[0]
        return _into_layer(build, node, "mul", np.full(channels, factor))
    if node.op == "polynomial":
        coefficients = tuple(factor * c for c in numbers(node.attrs, "coefficients"))
        return build.emit_named(node.name, node.op, node.inputs, {**node.attrs, "coefficients": coefficients})
    if node.op == "add" and build.is_constant(node.inputs[1]):
        x = scaled(build, uses, node.inputs[0], factor)
        if x is None:
            return None
        shift = build.constant(build.value(node.inputs[1]) * factor, folded_name(node.inputs[1]))
        return build.emit_named(node.name, "add", (x, shift), {})
    candidates = {"matmul": (0, 1), "mul": (1, 0)}.get(node.op, (0,) if node.op in _MOVES else ())
    for i in candidates:
        operand = node.inputs[i]
        if build.is_constant(operand):
            replaced: str | None = build.constant(build.value(operand) * factor, folded_name(operand))
        else:
            replaced = scaled(build, uses, operand, factor)
        if replaced is not None:
            inputs = [replaced if j == i else other for j, other in enumerate(node.inputs)]
            build.origin = node.origin
            return build.emit_named(node.name, node.op, inputs, node.attrs)
    return None
