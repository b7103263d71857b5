"""The local rules of the forward sweep of folding: `RULES[op]` is tried in order, the first that applies
wins.

Normal form: constants stand on the right; `x c + d` is `add(mul(x, c), d)`; scales and shifts stand behind
ops that only move values, so that they meet the linear layer that takes them in.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.graph import Node
from cipherformer.graph.rewrite import GraphBuilder
from cipherformer.ops import OPS, Composite, ErrorBudget
from cipherformer.ops.spec import integer, integers, number
from cipherformer.passes.absorb import folded_name, per_channel
from cipherformer.passes.moves import (
    Rule,
    again,
    merge_moves,
    sink,
    slice_earlier,
    with_constant,
    without_unit_axes,
)


def nothing_to_do(build: GraphBuilder, node: Node) -> str | None:
    """x + 0, x 1, and moves that move nothing, are x."""
    x = node.inputs[0]
    if build.type_of(x).shape != node.type.shape:
        return None
    match node.op:
        case "mul" | "add":
            if not build.is_constant(node.inputs[1]):
                return None
            neutral = 1.0 if node.op == "mul" else 0.0
            return x if bool(np.all(build.value(node.inputs[1]) == neutral)) else None
        case "permute":
            return x if list(integers(node.attrs, "dims")) == list(range(len(node.type.shape))) else None
        case "power":
            return x if node.attrs["exponent"] == 1 else None
        case "concat":
            return x if len(node.inputs) == 1 else None
        case _:  # reshape, expand, slice, sum and mean over no axis or axes of size 1
            return x


def constant_right(build: GraphBuilder, node: Node) -> str | None:
    """C op x is x op c."""
    a, b = node.inputs
    return again(build, node, b, a) if build.is_constant(a) and not build.is_constant(b) else None


def subtraction(build: GraphBuilder, node: Node) -> str | None:
    """A - c is a + (-c); c - a is a (-1) + c."""
    a, b = node.inputs
    if build.is_constant(b):
        negative = build.constant(-build.value(b), folded_name(b) if build.value(b).ndim else "")
        return build.emit("add", a, negative)
    if build.is_constant(a):
        negated = build.emit("mul", b, build.constant(-1.0))
        return build.emit("add", negated, a)
    return None


def negation(build: GraphBuilder, node: Node) -> str | None:
    """-a is a (-1)."""
    return build.emit("mul", node.inputs[0], build.constant(-1.0))


def merge_constants(build: GraphBuilder, node: Node) -> str | None:
    """(x op c) op d is x op (c op d)."""
    inner = with_constant(build, node.inputs[0], node.op)
    if inner is None or not build.is_constant(node.inputs[1]):
        return None
    outer = build.value(node.inputs[1])
    merged = inner[1] * outer if node.op == "mul" else inner[1] + outer
    if np.broadcast_shapes(build.type_of(inner[0]).shape, merged.shape) != node.type.shape:
        return None
    return again(build, node, inner[0], build.constant(merged, "factor" if merged.ndim else ""))


def scale_before_shift(build: GraphBuilder, node: Node) -> str | None:
    """(x + d) c is x c + d c."""
    shift = with_constant(build, node.inputs[0], "add")
    if shift is None or not build.is_constant(node.inputs[1]):
        return None
    factor = build.value(node.inputs[1])
    product = build.emit("mul", shift[0], node.inputs[1])
    if build.type_of(product).shape != node.type.shape:
        return None
    moved = shift[1] * factor
    return build.emit("add", product, build.constant(moved, "shift" if moved.ndim else ""))


def scalars_outward(build: GraphBuilder, node: Node) -> str | None:
    """(x s) op y is (x op y) s for a scalar s and a product of two secrets."""
    for i, name in enumerate(node.inputs):
        found = with_constant(build, name, "mul")
        if found is not None and found[1].size == 1 and not build.is_constant(node.inputs[1 - i]):
            if build.type_of(found[0]).shape != build.type_of(name).shape:
                continue
            inputs = (found[0], node.inputs[1]) if i == 0 else (node.inputs[0], found[0])
            product = again(build, node, *inputs)
            return build.emit("mul", product, build.constant(float(found[1].reshape(()))))
    return None


def matrix_on_the_right(build: GraphBuilder, node: Node) -> str | None:
    """X A with a public matrix A is linear(x, A^T)."""
    a, b = node.inputs
    if not build.is_constant(b) or build.type_of(b).shape[:-2].count(1) != len(build.type_of(b).shape) - 2:
        return None
    matrix = build.value(b).reshape(build.type_of(b).shape[-2:])
    if len(build.type_of(b).shape) > len(build.type_of(a).shape):
        return None
    weight = build.constant(np.ascontiguousarray(matrix.T), folded_name(b))
    return build.emit("linear", a, weight)


def take_in(build: GraphBuilder, node: Node) -> str | None:
    """W (x c + d) + b is (W c) x + (b + W d): a scale or shift in front of a linear layer or convolution."""
    x, weight_name, *bias = node.inputs
    shape = build.type_of(x).shape
    if not all(build.is_constant(i) for i in node.inputs[1:]):
        return None
    weight = build.value(weight_name)
    axis = len(shape) - 1 if node.op == "linear" else 1
    for kind in ("mul", "add"):
        found = with_constant(build, x, kind)
        if found is None or build.type_of(found[0]).shape != shape:
            continue
        along = per_channel(found[1], shape, axis)
        padded = node.op == "conv2d" and any(integers(node.attrs, "padding"))
        if along is None or (kind == "add" and padded):
            continue
        by_input = along[None, :] if node.op == "linear" else _kernel_factor(along, weight, node)
        if kind == "mul":
            product = build.constant(weight * by_input, folded_name(weight_name))
            return again(build, node, found[0], product, *bias)
        total = (weight * by_input).sum(axis=tuple(range(1, weight.ndim)))
        total = total + build.value(bias[0]) if bias else total
        name = folded_name(bias[0]) if bias else f"{node.name}_bias"
        return again(build, node, found[0], weight_name, build.constant(total, name))
    return None


def token_shift(build: GraphBuilder, node: Node) -> str | None:
    """W (x c + D) + b is (W c) x + b + D W^T: a shift that varies over tokens must not hide a scale."""
    shift = with_constant(build, node.inputs[0], "add")
    scale = with_constant(build, shift[0], "mul") if shift else None
    if shift is None or scale is None or not all(build.is_constant(i) for i in node.inputs[1:]):
        return None
    shape = build.type_of(node.inputs[0]).shape
    along = per_channel(scale[1], shape, len(shape) - 1)
    if along is None or any(build.type_of(x).shape != shape for x in (shift[0], scale[0])):
        return None
    weight = build.value(node.inputs[1])
    moved = build.constant(np.broadcast_to(shift[1], shape) @ weight.T, "shift")
    product = build.constant(weight * along, folded_name(node.inputs[1]))
    return build.emit("add", again(build, node, scale[0], product, *node.inputs[2:]), moved)


def _kernel_factor(along: NDArray[np.float64], weight: NDArray[Any], node: Node) -> NDArray[np.float64]:
    groups = integer(node.attrs, "groups")
    per_group = along.reshape(groups, 1, -1, 1, 1)
    repeated = np.broadcast_to(per_group, (groups, weight.shape[0] // groups, weight.shape[1], 1, 1))
    return np.asarray(repeated.reshape(weight.shape[0], weight.shape[1], 1, 1))


def move_domain(build: GraphBuilder, node: Node) -> str | None:
    """A polynomial of x s + t on [low, high] is one of x on [(low - t) / s, (high - t) / s], s > 0."""
    low, high = number(node.attrs, "low"), number(node.attrs, "high")
    shift = with_constant(build, node.inputs[0], "add")
    scale = with_constant(build, node.inputs[0], "mul")
    if shift is not None and shift[1].size == 1 and build.type_of(shift[0]).shape == node.type.shape:
        t = float(shift[1].reshape(()))
        x, low, high = shift[0], low - t, high - t
    elif scale is not None and scale[1].size == 1 and float(scale[1].reshape(())) > 0.0:
        s = float(scale[1].reshape(()))
        x, low, high = scale[0], low / s, high / s
    else:
        return None
    if build.type_of(x).shape != node.type.shape:
        return None
    return build.emit_named(node.name, "polynomial", (x,), {**node.attrs, "low": low, "high": high})


def expand_composite(build: GraphBuilder, node: Node) -> str | None:
    """Batch normalisation with public statistics is a scale and a shift."""
    op = OPS[node.op]
    return (
        op.lowerings["ckks"].emit(build, node.inputs, node.attrs, ErrorBudget())
        if isinstance(op, Composite)
        else None
    )


RULES: Mapping[str, tuple[Rule, ...]] = MappingProxyType(
    {
        "sub": (subtraction,),
        "neg": (negation,),
        "add": (constant_right, nothing_to_do, merge_constants),
        "mul": (constant_right, nothing_to_do, merge_constants, scale_before_shift, scalars_outward),
        "matmul": (matrix_on_the_right, scalars_outward),
        "linear": (take_in, token_shift),
        "conv2d": (take_in,),
        "polynomial": (move_domain,),
        "power": (nothing_to_do,),
        "reshape": (nothing_to_do, merge_moves, sink),
        "permute": (nothing_to_do, merge_moves, without_unit_axes, sink),
        "expand": (nothing_to_do, merge_moves),
        "slice": (nothing_to_do, merge_moves, slice_earlier, sink),
        "concat": (nothing_to_do,),
        "sum": (nothing_to_do, sink),
        "mean": (nothing_to_do, sink),
        "batch_norm": (expand_composite,),
    }
)
"""Rules by op."""
