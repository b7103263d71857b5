"""Attention weights: softmax, and the two power forms that private computation can afford."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np

from cipherformer.approx import chebyshev
from cipherformer.ops import ring_functions, ring_published
from cipherformer.ops.spec import (
    Array,
    Attrs,
    Builder,
    Composite,
    ErrorBudget,
    Lowering,
    Shape,
    as_float,
    integer,
    number,
    numbers,
)


def _weights_shape(shapes: Sequence[Shape], attrs: Attrs) -> Shape:
    dim = integer(attrs, "dim")
    if not 0 <= dim < len(shapes[0]):
        raise ValueError(f"{dim} is not an axis of {shapes[0]}")
    if len(shapes) == 2 and np.broadcast_shapes(*shapes) != shapes[0]:
        raise ValueError(f"a mask {shapes[1]} does not fit scores {shapes[0]}")
    return shapes[0]


def _softmax(inputs: Sequence[Array], attrs: Attrs) -> Array:
    x, dim = as_float(inputs[0]), integer(attrs, "dim")
    if len(inputs) == 2:
        x = np.where(inputs[1] != 0.0, x, -np.inf)
    weights = np.exp(x - x.max(axis=dim, keepdims=True))
    return np.asarray(weights / weights.sum(axis=dim, keepdims=True))


def _masked(powers: Array, inputs: Sequence[Array]) -> Array:
    return np.asarray(powers * inputs[1]) if len(inputs) == 2 else powers


def _power_softmax(inputs: Sequence[Array], attrs: Attrs) -> Array:
    x, dim = as_float(inputs[0]), integer(attrs, "dim")
    powers = _masked(x ** integer(attrs, "exponent"), inputs)
    divisor = number(attrs, "epsilon") + powers.mean(axis=dim, keepdims=True)
    return np.asarray(powers / divisor / x.shape[dim])


def _two_quad(inputs: Sequence[Array], attrs: Attrs) -> Array:
    x = as_float(inputs[0])
    squares = _masked((x + number(attrs, "offset")) ** 2, inputs)
    return np.asarray(squares / squares.sum(axis=integer(attrs, "dim"), keepdims=True))


def _pointwise(inputs: Sequence[Array], attrs: Attrs) -> Array:
    interval = number(attrs, "low"), number(attrs, "high")
    values = chebyshev.evaluate(numbers(attrs, "coefficients"), *interval, as_float(inputs[0]))
    return np.asarray(_masked(values, inputs) * number(attrs, "scale"))


def _lower_power(build: Builder, inputs: Sequence[str], exponent: int) -> str:
    """mask x^exponent. A binary mask multiplies before the power, any other mask after it."""
    if len(inputs) == 1:
        return build.emit("power", inputs[0], exponent=exponent)
    x, mask = inputs
    if bool(np.isin(build.value(mask), (0.0, 1.0)).all()):
        return build.emit("power", build.emit("mul", x, mask), exponent=exponent)
    return build.emit("mul", build.emit("power", x, exponent=exponent), mask)


def _lower_power_softmax(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    """Numerators, times 1/L, times a reciprocal: `passes.lower` moves the last two behind the values."""
    dim = integer(attrs, "dim")
    powers = _lower_power(build, inputs, integer(attrs, "exponent"))
    mean = build.emit("mean", powers, dims=(dim,), keepdim=True)
    divisor = build.emit("add", mean, build.constant(number(attrs, "epsilon")))
    length = build.type_of(inputs[0]).shape[dim]
    shared = build.emit("mul", powers, build.constant(1.0 / length))
    return build.emit("mul", shared, build.emit("reciprocal", divisor))


def _lower_two_quad(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    """As power_softmax, with a mean for the sum: the reciprocal's interval does not grow with the length."""
    dim = integer(attrs, "dim")
    shifted = build.emit("add", inputs[0], build.constant(number(attrs, "offset")))
    squares = _lower_power(build, (shifted, *inputs[1:]), 2)
    mean = build.emit("mean", squares, dims=(dim,), keepdim=True)
    length = build.type_of(inputs[0]).shape[dim]
    shared = build.emit("mul", squares, build.constant(1.0 / length))
    return build.emit("mul", shared, build.emit("reciprocal", mean))


def _lower_pointwise(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    """The polynomial, then mask and scale as one public factor."""
    inner = {name: attrs[name] for name in ("coefficients", "low", "high")}
    values = build.emit("polynomial", inputs[0], **inner)
    scale = number(attrs, "scale")
    factor = build.value(inputs[1]) * scale if len(inputs) == 2 else scale
    return build.emit("mul", values, build.constant(factor))


OPS = (
    Composite(
        name="softmax",
        formula="m_j exp(x_j) / sum_i m_i exp(x_i), m a public binary mask without empty rows",
        arity=(1, 2),
        attrs={"dim": "int"},
        shape=_weights_shape,
        reference=_softmax,
        lowerings=MappingProxyType(
            {"ring": Lowering(ring_functions.softmax), **ring_published.lowerings("softmax")}
        ),
        fix="swap softmax for PowerSoftmax (cipherformer.nn) and fine-tune",
    ),
    Composite(
        name="power_softmax",
        formula="u / (epsilon + mean(u)) / L, u = mask x^exponent, L = length of dim",
        arity=(1, 2),
        attrs={"exponent": "int", "epsilon": "float", "dim": "int"},
        shape=_weights_shape,
        reference=_power_softmax,
        lowerings=MappingProxyType(
            dict.fromkeys(
                ("ckks", "ring"),
                Lowering(_lower_power_softmax, source="Zimerman et al., arXiv 2410.09457, section 4"),
            )
        ),
        fix="give the divisor a larger epsilon or train with a range loss",
    ),
    Composite(
        name="two_quad",
        formula="u / sum(u), u = mask (x + offset)^2",
        arity=(1, 2),
        attrs={"offset": "float", "dim": "int"},
        shape=_weights_shape,
        reference=_two_quad,
        lowerings=MappingProxyType(
            dict.fromkeys(
                ("ckks", "ring"),
                Lowering(_lower_two_quad, source="Luo et al., arXiv 2401.00793, section 3"),
            )
        ),
        fix="train with a range loss",
    ),
    Composite(
        name="pointwise",
        formula="mask polynomial(x) scale, see `polynomial`: attention without a normaliser",
        arity=(1, 2),
        attrs={"coefficients": "floats", "low": "float", "high": "float", "scale": "float", "dim": "int"},
        shape=_weights_shape,
        reference=_pointwise,
        lowerings=MappingProxyType(
            dict.fromkeys(
                ("ckks", "ring"),
                Lowering(_lower_pointwise, source="Zimerman et al., arXiv 2311.08610, section 3"),
            )
        ),
        fix="train with a range loss",
    ),
)
