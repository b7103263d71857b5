"""Rules of folding for ops that only move values: merge them, and move scales, shifts, slices past them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.graph import Node
from cipherformer.graph.move import axis_groups, through
from cipherformer.graph.rewrite import GraphBuilder
from cipherformer.ops import OPS
from cipherformer.ops.spec import integer, integers

Rule = Callable[[GraphBuilder, Node], str | None]


def with_constant(build: GraphBuilder, name: str, op: str) -> tuple[str, NDArray[Any]] | None:
    """`(x, c)` if a value is `op(x, c)` with public c."""
    node = build.node(name)
    if node.op != op or not build.is_constant(node.inputs[1]):
        return None
    return node.inputs[0], build.value(node.inputs[1])


def again(build: GraphBuilder, node: Node, *inputs: str) -> str:
    """The same op on other inputs, under its own name."""
    return build.emit_named(node.name, node.op, inputs, node.attrs)


def sink(build: GraphBuilder, node: Node) -> str | None:
    """Op(x c) is op(x) op'(c), and op(x + d) is op(x) + op'(d), for an op that moves or averages values."""
    x = node.inputs[0]
    for kind in ("mul", "add"):
        found = with_constant(build, x, kind)
        if found is None:
            continue
        inner, shape = found[0], build.type_of(found[0]).shape
        if shape != build.type_of(x).shape:
            return None
        factor = build.node(x).inputs[1]
        if kind == "add" and node.op in ("sum", "mean"):
            whole = np.broadcast_to(build.value(factor), shape)
            moved: str | None = build.constant(OPS[node.op].reference([whole], node.attrs), "shift")
        else:
            moved = through(build, node, shape, factor)
        if moved is not None:
            core = again(build, node, inner)
            return build.emit(kind, core, moved)
    return None


def merge_moves(build: GraphBuilder, node: Node) -> str | None:
    """Reshape of reshape, permute of permute, slice of slice."""
    inner = build.node(node.inputs[0])
    if inner.op != node.op:
        return None
    if node.op == "slice":
        return _merge_slices(build, node, inner)
    if node.op == "permute":
        first, then = integers(inner.attrs, "dims"), integers(node.attrs, "dims")
        return build.emit_named(node.name, "permute", inner.inputs, {"dims": tuple(first[d] for d in then)})
    return again(build, node, *inner.inputs)


def _merge_slices(build: GraphBuilder, node: Node, inner: Node) -> str | None:
    if inner.attrs["dim"] != node.attrs["dim"] or inner.attrs["step"] != 1:
        return None
    offset = integer(inner.attrs, "start")
    moved = {name: integer(node.attrs, name) + offset for name in ("start", "stop")}
    return build.emit_named(node.name, "slice", inner.inputs, {**node.attrs, **moved})


def without_unit_axes(build: GraphBuilder, node: Node) -> str | None:
    """A permute of a reshape leaves axes of size 1 to reshapes: heads become [1, L, H, d] -> [1, H, L, d]."""
    inner = build.node(node.inputs[0])
    dims, shape = integers(node.attrs, "dims"), inner.type.shape
    wide = [d for d in dims if shape[d] > 1]
    if inner.op != "reshape" or (dims[0] == 0 and shape[0] == 1 and len(wide) == len(dims) - 1) or not wide:
        return None
    if len(wide) == len(dims):
        return None
    order = sorted(wide)
    bare = build.emit("reshape", inner.inputs[0], shape=(1, *(shape[d] for d in order)))
    moved = build.emit_named(
        node.name, "permute", (bare,), {"dims": (0, *(1 + order.index(d) for d in wide))}
    )
    return build.emit("reshape", moved, shape=node.type.shape)


def slice_earlier(build: GraphBuilder, node: Node) -> str | None:
    """A slice of a permute or of a reshape that splits an axis, in front of it."""
    inner = build.node(node.inputs[0])
    dim, start, stop, step = (integer(node.attrs, a) for a in ("dim", "start", "stop", "step"))
    if inner.op == "permute":
        dims = integers(inner.attrs, "dims")
        part = build.emit("slice", inner.inputs[0], **{**node.attrs, "dim": dims[dim]})
        return build.emit_named(inner.name, "permute", (part,), inner.attrs)
    if inner.op != "reshape" or step != 1:
        return None
    old = build.type_of(inner.inputs[0]).shape
    for before, after in axis_groups(old, inner.type.shape):
        wide = [a for a in after if inner.type.shape[a] > 1]
        source = [b for b in before if old[b] > 1]
        if dim in wide and wide[0] == dim and len(source) == 1:
            unit = old[source[0]] // inner.type.shape[dim]
            part = build.emit(
                "slice", inner.inputs[0], dim=source[0], start=start * unit, stop=stop * unit, step=1
            )
            return build.emit_named(inner.name, "reshape", (part,), {"shape": node.type.shape})
    return None
