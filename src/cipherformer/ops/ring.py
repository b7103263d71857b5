"""What fixed-point arithmetic in a ring can do besides adding and multiplying: truncate and compare.

As functions of real numbers `trunc`, `lift`, `extend`, `narrow` and `keep` are the identity: they say how
many fraction bits a value has, and in which ring it stands. `passes.truncate` writes the first four;
lowerings ask for precision with the last.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cipherformer.ops.spec import (
    UNARY,
    Array,
    Attrs,
    Primitive,
    Shape,
    as_float,
    integer,
    never_affine,
    no_work,
    number,
    numbers,
    same_shape,
)


def _same(inputs: Sequence[Array], attrs: Attrs) -> Array:
    return as_float(inputs[0])


def _rows(attrs: Attrs) -> int:
    rows, remainder = divmod(len(numbers(attrs, "table")), len(numbers(attrs, "breaks")) + 1)
    if remainder or not rows:
        raise ValueError("a table must have one column more than there are breaks")
    return rows


def _select_shape(shapes: Sequence[Shape], attrs: Attrs) -> Shape:
    rows = _rows(attrs)
    return shapes[0] if rows == 1 else (rows, *shapes[0])


def _select(inputs: Sequence[Array], attrs: Attrs) -> Array:
    breaks = np.array(numbers(attrs, "breaks"))
    table = np.array(numbers(attrs, "table")).reshape(_rows(attrs), -1)
    found = table[:, np.searchsorted(breaks, as_float(inputs[0]), side="right")]
    return np.asarray(found[0] if len(found) == 1 else found)


def _max_shape(shapes: Sequence[Shape], attrs: Attrs) -> Shape:
    dim, x = integer(attrs, "dim"), shapes[0]
    if not 0 <= dim < len(x):
        raise ValueError(f"{dim} is not an axis of {x}")
    if len(shapes) == 2 and np.broadcast_shapes(*shapes) != x:
        raise ValueError(f"a mask {shapes[1]} does not fit {x}")
    return (*x[:dim], 1, *x[dim + 1 :])


def _max(inputs: Sequence[Array], attrs: Attrs) -> Array:
    x = as_float(inputs[0])
    kept = np.where(inputs[1] != 0.0, x, -np.inf) if len(inputs) == 2 else x
    return np.asarray(kept.max(axis=integer(attrs, "dim"), keepdims=True))


def _fourier(inputs: Sequence[Array], attrs: Attrs) -> Array:
    angle = as_float(inputs[0]) * (2.0 * np.pi / 2.0 ** integer(attrs, "log_period"))
    out = np.full(angle.shape, number(attrs, "constant"))
    for name, wave in (("cosines", np.cos), ("sines", np.sin)):
        for k, coefficient in enumerate(numbers(attrs, name), start=1):
            out += coefficient * wave(k * angle)
    return out


OPS = (
    Primitive(
        name="trunc",
        formula="x with `bits` fewer fraction bits; with mode truncate-reduce in a ring `bits` narrower",
        arity=UNARY,
        attrs={"bits": "int", "mode": "str?"},
        shape=same_shape,
        reference=_same,
        work=no_work,
    ),
    Primitive(
        name="extend",
        formula="x in a wider ring of `width` bits: needs abs(x) below a quarter of the narrow ring",
        arity=UNARY,
        attrs={"width": "int"},
        shape=same_shape,
        reference=_same,
        work=no_work,
    ),
    Primitive(
        name="narrow",
        formula="x in a ring of `width` bits, which are the low ones of its own: local",
        arity=UNARY,
        attrs={"width": "int"},
        shape=same_shape,
        reference=_same,
        work=no_work,
    ),
    Primitive(
        name="lift",
        formula="x with `bits` more fraction bits, in a ring: a local product with 2^bits",
        arity=UNARY,
        attrs={"bits": "int"},
        shape=same_shape,
        reference=_same,
        work=no_work,
    ),
    Primitive(
        name="keep",
        formula="x, of which a truncation leaves at least `frac_bits` fraction bits",
        arity=UNARY,
        attrs={"frac_bits": "int"},
        shape=same_shape,
        reference=_same,
        work=no_work,
    ),
    Primitive(
        name="select",
        formula="rows of `table` at the number of `breaks` <= x; several rows make a new leading axis",
        arity=UNARY,
        attrs={"breaks": "floats", "table": "floats", "frac_bits": "int?"},
        shape=_select_shape,
        reference=_select,
        work=no_work,
        affine=never_affine,
    ),
    Primitive(
        name="fourier",
        formula="constant + sum_k cosines[k-1] cos(k t) + sines[k-1] sin(k t), t = 2 pi x / 2^log_period",
        arity=UNARY,
        attrs={"log_period": "int", "constant": "float", "cosines": "floats", "sines": "floats"},
        shape=same_shape,
        reference=_fourier,
        work=no_work,
        affine=never_affine,
    ),
    Primitive(
        name="largest",
        formula="largest x along dim, where the mask is not 0",
        arity=(1, 2),
        attrs={"dim": "int"},
        shape=_max_shape,
        reference=_max,
        work=no_work,
        affine=never_affine,
    ),
)
