"""Leaves and elementwise arithmetic, with numpy broadcasting."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np

from cipherformer.ops.spec import (
    BINARY,
    UNARY,
    Array,
    Attrs,
    Builder,
    Composite,
    ErrorBudget,
    Lowering,
    Primitive,
    Shape,
    bilinear,
    leaf,
    no_work,
    same_shape,
)


def _broadcast(shapes: Sequence[Shape], attrs: Attrs) -> Shape:
    return np.broadcast_shapes(*shapes)


def _add(inputs: Sequence[Array], attrs: Attrs) -> Array:
    return np.asarray(inputs[0] + inputs[1])


def _sub(inputs: Sequence[Array], attrs: Attrs) -> Array:
    return np.asarray(inputs[0] - inputs[1])


def _mul(inputs: Sequence[Array], attrs: Attrs) -> Array:
    return np.asarray(inputs[0] * inputs[1])


def _neg(inputs: Sequence[Array], attrs: Attrs) -> Array:
    return np.asarray(-inputs[0])


def _where(inputs: Sequence[Array], attrs: Attrs) -> Array:
    return np.asarray(np.where(inputs[0] != 0.0, inputs[1], inputs[2]), dtype=np.float64)


def _lower_where(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    """b + c (a - b)."""
    c, a, b = inputs
    return build.emit("add", b, build.emit("mul", c, build.emit("sub", a, b)))


OPS = (
    leaf("input", "a value the client encrypts"),
    leaf("constant", "a public array of the model"),
    Primitive(name="add", formula="a + b", arity=BINARY, shape=_broadcast, reference=_add, work=no_work),
    Primitive(name="sub", formula="a - b", arity=BINARY, shape=_broadcast, reference=_sub, work=no_work),
    Primitive(name="neg", formula="-a", arity=UNARY, shape=same_shape, reference=_neg, work=no_work),
    Primitive(name="mul", formula="a b", arity=BINARY, shape=_broadcast, reference=_mul, affine=bilinear),
    Composite(
        name="where",
        formula="a where c = 1, b where c = 0, for operands c, a, b",
        arity=(3, 3),
        shape=_broadcast,
        reference=_where,
        lowerings=MappingProxyType(dict.fromkeys(("ckks", "ring"), Lowering(_lower_where))),
        fix="use a public condition",
    ),
)
