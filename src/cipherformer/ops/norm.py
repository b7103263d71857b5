"""Normalisations. Batch normalisation in evaluation mode is affine and folds away; the others divide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from cipherformer.approx import chebyshev
from cipherformer.ops import ring_masked
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
    integers,
    number,
    numbers,
)
from cipherformer.types import Attr


def _per_axes(shapes: Sequence[Shape], attrs: Attrs) -> Shape:
    x, axes = shapes[0], integers(attrs, "axes")
    if any(not 0 <= a < len(x) for a in axes):
        raise ValueError(f"{axes} are not axes of {x}")
    wanted = tuple(x[a] for a in axes)
    for other in shapes[1:]:
        if other != wanted:
            raise ValueError(f"a weight {other} does not fit {x} normalised over {axes}")
    return x


def _affine(x: Array, inputs: Sequence[Array]) -> Array:
    weighted = x * inputs[1] if len(inputs) > 1 else x
    return np.asarray(weighted + inputs[2] if len(inputs) > 2 else weighted)


def _layer_norm(inputs: Sequence[Array], attrs: Attrs) -> Array:
    x, axes = as_float(inputs[0]), integers(attrs, "axes")
    centred = x - x.mean(axis=axes, keepdims=True)
    variance = (centred**2).mean(axis=axes, keepdims=True)
    return _affine(centred / np.sqrt(variance + number(attrs, "epsilon")), inputs)


def _rms_norm(inputs: Sequence[Array], attrs: Attrs) -> Array:
    x, axes = as_float(inputs[0]), integers(attrs, "axes")
    square = (x**2).mean(axis=axes, keepdims=True)
    return _affine(x / np.sqrt(square + number(attrs, "epsilon")), inputs)


def _polynomial_norm(inputs: Sequence[Array], attrs: Attrs) -> Array:
    x, axes = as_float(inputs[0]), integers(attrs, "axes")
    if attrs["centre"]:
        x = x - x.mean(axis=axes, keepdims=True)
    variance = (x**2).mean(axis=axes, keepdims=True) + number(attrs, "epsilon")
    interval = number(attrs, "low"), number(attrs, "high")
    return _affine(x * chebyshev.evaluate(numbers(attrs, "coefficients"), *interval, variance), inputs)


def _lower_norm(
    build: Builder, inputs: Sequence[str], attrs: Attrs, centre: bool, root: Mapping[str, Attr] | None = None
) -> str:
    """Mean, squares, and an inverse square root for each row, or the polynomial `root` in its place."""
    x, axes = inputs[0], integers(attrs, "axes")
    if centre:
        x = build.emit("sub", x, build.emit("mean", x, dims=axes, keepdim=True))
    square = build.emit("mean", build.emit("power", x, exponent=2), dims=axes, keepdim=True)
    divisor = build.emit("add", square, build.constant(number(attrs, "epsilon")))
    scale = build.emit("inverse_sqrt", divisor) if root is None else build.emit("polynomial", divisor, **root)
    out = build.emit("mul", x, scale)
    shape = tuple(s if i in axes else 1 for i, s in enumerate(build.type_of(x).shape))
    for op, weight in zip(("mul", "add"), inputs[1:], strict=False):
        out = build.emit(op, out, build.emit("reshape", weight, shape=shape))
    return out


def _lower_layer_norm(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    return _lower_norm(build, inputs, attrs, centre=True)


def _lower_rms_norm(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    return _lower_norm(build, inputs, attrs, centre=False)


def _lower_polynomial_norm(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    root = {name: attrs[name] for name in ("coefficients", "low", "high")}
    return _lower_norm(build, inputs, attrs, bool(attrs["centre"]), root)


def _batch_shape(shapes: Sequence[Shape], attrs: Attrs) -> Shape:
    x, axis = shapes[0], integer(attrs, "axis")
    if not 0 <= axis < len(x) or any(s != (x[axis],) for s in shapes[1:]):
        raise ValueError(f"statistics {shapes[1:]} do not fit axis {axis} of {x}")
    return x


def _scale_and_shift(statistics: Sequence[Array], attrs: Attrs) -> tuple[Array, Array]:
    mean, variance, *affine = statistics
    scale = 1.0 / np.sqrt(variance + number(attrs, "epsilon"))
    scale = scale * affine[0] if affine else scale
    shift = (affine[1] if len(affine) > 1 else 0.0) - mean * scale
    return scale, np.asarray(shift)


def _affine_in_x(secret: Sequence[bool], attrs: Attrs) -> bool:
    return not any(secret[1:])


def _batch_norm(inputs: Sequence[Array], attrs: Attrs) -> Array:
    x, axis = as_float(inputs[0]), integer(attrs, "axis")
    along = tuple(-1 if i == axis else 1 for i in range(x.ndim))
    scale, shift = _scale_and_shift(inputs[1:], attrs)
    return np.asarray(x * scale.reshape(along) + shift.reshape(along))


def _lower_batch_norm(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    """Scale and shift from public statistics: affine, and exact."""
    rank, axis = len(build.type_of(inputs[0]).shape), integer(attrs, "axis")
    scale, shift = _scale_and_shift([build.value(name) for name in inputs[1:]], attrs)
    along = tuple(-1 if i == axis else 1 for i in range(rank))
    scaled = build.emit("mul", inputs[0], build.constant(scale.reshape(along)))
    return build.emit("add", scaled, build.constant(shift.reshape(along)))


_DIVIDES = "replace it by batch normalisation (cipherformer.train.swap), which folds away, and fine-tune"

OPS = (
    Composite(
        name="layer_norm",
        formula="(x - mean) / sqrt(variance + epsilon) w + b over axes",
        arity=(1, 3),
        attrs={"epsilon": "float", "axes": "ints"},
        shape=_per_axes,
        reference=_layer_norm,
        lowerings=MappingProxyType(
            {
                "ring": Lowering(_lower_layer_norm),
                f"ring.{ring_masked.SET}": Lowering(ring_masked.norm(centre=True)),
            }
        ),
        fix=_DIVIDES,
    ),
    Composite(
        name="rms_norm",
        formula="x / sqrt(mean(x^2) + epsilon) w + b over axes",
        arity=(1, 3),
        attrs={"epsilon": "float", "axes": "ints"},
        shape=_per_axes,
        reference=_rms_norm,
        lowerings=MappingProxyType(
            {
                "ring": Lowering(_lower_rms_norm),
                f"ring.{ring_masked.SET}": Lowering(ring_masked.norm(centre=False)),
            }
        ),
        fix=_DIVIDES,
    ),
    Composite(
        name="polynomial_norm",
        formula="(x - centre mean) polynomial(mean square + epsilon) w + b over axes, see `polynomial`",
        arity=(1, 3),
        attrs={
            "coefficients": "floats",
            "low": "float",
            "high": "float",
            "epsilon": "float",
            "axes": "ints",
            "centre": "bool",
        },
        shape=_per_axes,
        reference=_polynomial_norm,
        lowerings=MappingProxyType(
            dict.fromkeys(
                ("ckks", "ring"),
                Lowering(_lower_polynomial_norm, source="Zimerman et al., arXiv 2311.08610, section 3"),
            )
        ),
        fix="train with a variance loss",
    ),
    Composite(
        name="batch_norm",
        formula="(x - mean) / sqrt(variance + epsilon) w + b with public statistics along axis",
        arity=(3, 5),
        attrs={"epsilon": "float", "axis": "int"},
        shape=_batch_shape,
        reference=_batch_norm,
        lowerings=MappingProxyType(dict.fromkeys(("ckks", "ring"), Lowering(_lower_batch_norm))),
        affine=_affine_in_x,
        fix="put the model into evaluation mode",
    ),
)
