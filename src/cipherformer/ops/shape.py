"""Moving values about, and summing them. All affine, none multiplies except `mean`."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from cipherformer.ops.spec import UNARY, Array, Attrs, Primitive, Shape, integer, integers, no_work


def _reshape_shape(shapes: Sequence[Shape], attrs: Attrs) -> Shape:
    shape = integers(attrs, "shape")
    if prod(shape) != prod(shapes[0]) or any(s < 0 for s in shape):
        raise ValueError(f"cannot reshape {shapes[0]} to {shape}")
    return shape


def _reshape(inputs: Sequence[Array], attrs: Attrs) -> Array:
    return inputs[0].reshape(integers(attrs, "shape"))


def _permute_shape(shapes: Sequence[Shape], attrs: Attrs) -> Shape:
    dims = integers(attrs, "dims")
    if sorted(dims) != list(range(len(shapes[0]))):
        raise ValueError(f"{dims} is not a permutation of the axes of {shapes[0]}")
    return tuple(shapes[0][d] for d in dims)


def _permute(inputs: Sequence[Array], attrs: Attrs) -> Array:
    return inputs[0].transpose(integers(attrs, "dims"))


def _expand_shape(shapes: Sequence[Shape], attrs: Attrs) -> Shape:
    shape = integers(attrs, "shape")
    if np.broadcast_shapes(shapes[0], shape) != shape:
        raise ValueError(f"cannot expand {shapes[0]} to {shape}")
    return shape


def _expand(inputs: Sequence[Array], attrs: Attrs) -> Array:
    return np.broadcast_to(inputs[0], integers(attrs, "shape"))


def _slice_shape(shapes: Sequence[Shape], attrs: Attrs) -> Shape:
    dim, start, stop, step = (integer(attrs, name) for name in ("dim", "start", "stop", "step"))
    if not (0 <= dim < len(shapes[0]) and 0 <= start < stop <= shapes[0][dim] and step > 0):
        raise ValueError(f"slice {start}:{stop}:{step} of axis {dim} does not fit {shapes[0]}")
    return (*shapes[0][:dim], -((start - stop) // step), *shapes[0][dim + 1 :])


def _slice(inputs: Sequence[Array], attrs: Attrs) -> Array:
    index = slice(integer(attrs, "start"), integer(attrs, "stop"), integer(attrs, "step"))
    return inputs[0][(slice(None),) * integer(attrs, "dim") + (index,)]


def _concat_shape(shapes: Sequence[Shape], attrs: Attrs) -> Shape:
    dim = integer(attrs, "dim")
    rest = {(*s[:dim], *s[dim + 1 :]) for s in shapes}
    if len(rest) != 1 or not 0 <= dim < len(shapes[0]):
        raise ValueError(f"cannot join {', '.join(map(str, shapes))} along axis {dim}")
    return (*shapes[0][:dim], sum(s[dim] for s in shapes), *shapes[0][dim + 1 :])


def _concat(inputs: Sequence[Array], attrs: Attrs) -> Array:
    return np.concatenate(list(inputs), axis=integer(attrs, "dim"))


def _reduced_shape(shapes: Sequence[Shape], attrs: Attrs) -> Shape:
    dims = integers(attrs, "dims")
    if any(not 0 <= d < len(shapes[0]) for d in dims) or len(set(dims)) != len(dims):
        raise ValueError(f"{dims} are not axes of {shapes[0]}")
    if attrs["keepdim"]:
        return tuple(1 if i in dims else s for i, s in enumerate(shapes[0]))
    return tuple(s for i, s in enumerate(shapes[0]) if i not in dims)


def _sum(inputs: Sequence[Array], attrs: Attrs) -> Array:
    return np.asarray(np.sum(inputs[0], axis=integers(attrs, "dims"), keepdims=bool(attrs["keepdim"])))


def _mean(inputs: Sequence[Array], attrs: Attrs) -> Array:
    return np.asarray(np.mean(inputs[0], axis=integers(attrs, "dims"), keepdims=bool(attrs["keepdim"])))


_REDUCE = {"dims": "ints", "keepdim": "bool"}

OPS = (
    Primitive(
        name="reshape",
        formula="x in row-major order as `shape`",
        arity=UNARY,
        attrs={"shape": "ints"},
        shape=_reshape_shape,
        reference=_reshape,
        work=no_work,
    ),
    Primitive(
        name="permute",
        formula="axis i of the result is axis dims[i] of x",
        arity=UNARY,
        attrs={"dims": "ints"},
        shape=_permute_shape,
        reference=_permute,
        work=no_work,
    ),
    Primitive(
        name="expand",
        formula="x repeated along axes of size 1",
        arity=UNARY,
        attrs={"shape": "ints"},
        shape=_expand_shape,
        reference=_expand,
        work=no_work,
    ),
    Primitive(
        name="slice",
        formula="x[start:stop:step] along dim",
        arity=UNARY,
        attrs={"dim": "int", "start": "int", "stop": "int", "step": "int"},
        shape=_slice_shape,
        reference=_slice,
        work=no_work,
    ),
    Primitive(
        name="concat",
        formula="operands joined along dim",
        arity=(1, None),
        attrs={"dim": "int"},
        shape=_concat_shape,
        reference=_concat,
        work=no_work,
    ),
    Primitive(
        name="sum",
        formula="sum of x over dims",
        arity=UNARY,
        attrs=_REDUCE,
        shape=_reduced_shape,
        reference=_sum,
        work=no_work,
    ),
    Primitive(
        name="mean",
        formula="mean of x over dims",
        arity=UNARY,
        attrs=_REDUCE,
        shape=_reduced_shape,
        reference=_mean,
    ),
)
