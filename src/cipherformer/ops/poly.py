"""The non-linear primitives: all that encrypted evaluation can do besides adding and multiplying."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from types import MappingProxyType

import numpy as np

from cipherformer.approx import chebyshev, goldschmidt
from cipherformer.ops.spec import (
    UNARY,
    Array,
    Attrs,
    Builder,
    Composite,
    ErrorBudget,
    Lowering,
    Primitive,
    Shape,
    as_float,
    integer,
    never_affine,
    number,
    numbers,
    same_shape,
)


def _polynomial(inputs: Sequence[Array], attrs: Attrs) -> Array:
    return chebyshev.evaluate(
        numbers(attrs, "coefficients"), number(attrs, "low"), number(attrs, "high"), inputs[0]
    )


def _polynomial_work(shapes: Sequence[Shape], out: Shape, attrs: Attrs) -> int:
    return prod(out) * (len(numbers(attrs, "coefficients")) - 1)


def _polynomial_affine(secret: Sequence[bool], attrs: Attrs) -> bool:
    return not any(secret) or len(numbers(attrs, "coefficients")) <= 2


def _power(inputs: Sequence[Array], attrs: Attrs) -> Array:
    return np.asarray(as_float(inputs[0]) ** integer(attrs, "exponent"))


def _power_shape(shapes: Sequence[Shape], attrs: Attrs) -> Shape:
    if integer(attrs, "exponent") < 1:
        raise ValueError(f"an exponent must be positive, not {attrs['exponent']}")
    return shapes[0]


def _power_work(shapes: Sequence[Shape], out: Shape, attrs: Attrs) -> int:
    exponent = integer(attrs, "exponent")
    return prod(out) * (exponent.bit_length() + exponent.bit_count() - 2)


def _power_affine(secret: Sequence[bool], attrs: Attrs) -> bool:
    return not any(secret) or attrs["exponent"] == 1


def _reciprocal(inputs: Sequence[Array], attrs: Attrs) -> Array:
    return np.asarray(1.0 / as_float(inputs[0]))


def _reciprocal_lowered(inputs: Sequence[Array], attrs: Attrs) -> Array:
    return goldschmidt.reciprocal(1.0 / number(attrs, "high"), numbers(attrs, "relaxations"), inputs[0])


def _reciprocal_work(shapes: Sequence[Shape], out: Shape, attrs: Attrs) -> int:
    return prod(out) * 2 * len(numbers(attrs, "relaxations")) if "relaxations" in attrs else prod(out)


def _reciprocal_error(attrs: Attrs) -> float:
    lowest = number(attrs, "low") / number(attrs, "high")
    for k in numbers(attrs, "relaxations"):
        lowest = min(k * lowest * (2.0 - k * lowest), k * (2.0 - k))
    return 1.0 - lowest


def _channel_shape(shapes: Sequence[Shape], attrs: Attrs) -> Shape:
    x, axis = shapes[0], integer(attrs, "axis")
    if not 0 <= axis < len(x) or shapes[1] != (x[axis],):
        raise ValueError(f"scales {shapes[1]} do not fit axis {axis} of {x}")
    return x


def _along(scale: Array, rank: int, attrs: Attrs) -> Array:
    return as_float(scale).reshape([-1 if i == integer(attrs, "axis") else 1 for i in range(rank)])


def _channel_polynomial(inputs: Sequence[Array], attrs: Attrs) -> Array:
    scale = _along(inputs[1], inputs[0].ndim, attrs)
    return np.asarray(_polynomial([as_float(inputs[0]) / scale], attrs) * scale)


def _lower_channel_polynomial(
    build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget
) -> str:
    """Two public factors, which fold into the layers on both sides, and the polynomial between them."""
    scale = _along(build.value(inputs[1]), len(build.type_of(inputs[0]).shape), attrs)
    narrow = build.emit("mul", inputs[0], build.constant(1.0 / scale))
    inner = {name: attrs[name] for name in ("coefficients", "low", "high")}
    return build.emit("mul", build.emit("polynomial", narrow, **inner), build.constant(scale))


OPS = (
    Composite(
        name="channel_polynomial",
        formula="s polynomial(x / s), public positive s along axis, see `polynomial`",
        arity=(2, 2),
        attrs={"coefficients": "floats", "low": "float", "high": "float", "axis": "int"},
        shape=_channel_shape,
        reference=_channel_polynomial,
        lowerings=MappingProxyType(dict.fromkeys(("ckks", "ring"), Lowering(_lower_channel_polynomial))),
        fix="train with a range loss",
        work=_polynomial_work,
        affine=_polynomial_affine,
    ),
    Primitive(
        name="polynomial",
        formula="sum_k c_k T_k((2 x - low - high) / (high - low))",
        arity=UNARY,
        attrs={"coefficients": "floats", "low": "float", "high": "float"},
        shape=same_shape,
        reference=_polynomial,
        work=_polynomial_work,
        affine=_polynomial_affine,
    ),
    Primitive(
        name="power",
        formula="x^exponent, a positive integer",
        arity=UNARY,
        attrs={"exponent": "int"},
        shape=_power_shape,
        reference=_power,
        work=_power_work,
        affine=_power_affine,
    ),
    Primitive(
        name="reciprocal",
        formula="1 / x for x in [low, high]; in private by relaxed Goldschmidt steps",
        arity=UNARY,
        attrs={"low": "float?", "high": "float?", "iterations": "int?", "relaxations": "floats?"},
        shape=same_shape,
        reference=_reciprocal,
        lowered=_reciprocal_lowered,
        planned=("low", "high", "iterations", "relaxations"),
        work=_reciprocal_work,
        affine=never_affine,
        error=_reciprocal_error,
        positive=True,
    ),
)
