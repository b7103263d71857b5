"""Functions of one number. Each lowers to a polynomial of a degree that follows from interval and budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import pi, sqrt
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from cipherformer.approx.choose import fit_to_error
from cipherformer.errors import CompileError, LimitError
from cipherformer.ops import program, ring_functions, ring_masked, ring_published
from cipherformer.ops.program import erf_array
from cipherformer.ops.spec import (
    UNARY,
    Array,
    Attrs,
    Builder,
    Composite,
    ErrorBudget,
    Lower,
    Lowering,
    as_float,
    same_shape,
)

Floats = NDArray[np.float64]


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


def _gelu(x: Floats, attrs: Attrs) -> Floats:
    if attrs["approximate"] == "tanh":
        return np.asarray(0.5 * x * (1.0 + np.tanh(sqrt(2.0 / pi) * (x + 0.044715 * x**3))))
    return np.asarray(0.5 * x * (1.0 + erf_array(x / sqrt(2.0))))


def _programmed(x: Floats, attrs: Attrs) -> Floats:
    return program.evaluate(program.of(attrs), x)


_WORDS = {"inverse_sqrt": "an inverse square root", "log": "a logarithm"}

Scalar = Callable[[Floats, Attrs], Floats]

_FUNCTIONS: dict[str, tuple[str, Scalar]] = {
    "gelu": ("x Phi(x); approximate = tanh: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))", _gelu),
    "relu": ("max(x, 0)", lambda x, _: np.maximum(x, 0.0)),
    "silu": ("x / (1 + exp(-x))", lambda x, _: np.asarray(x * _sigmoid(x))),
    "tanh": ("tanh(x)", lambda x, _: np.tanh(x)),
    "sigmoid": ("1 / (1 + exp(-x))", lambda x, _: _sigmoid(x)),
    "exp": ("exp(x)", lambda x, _: np.exp(x)),
    "log": ("ln(x)", lambda x, _: np.log(x)),
    "erf": ("2/sqrt(pi) int_0^x exp(-t^2) dt", lambda x, _: erf_array(x)),
    "inverse_sqrt": ("1 / sqrt(x)", lambda x, _: np.asarray(1.0 / np.sqrt(x))),
    "function": ("a program of elementary functions of x", _programmed),
}
_ATTRS = {"gelu": {"approximate": "str"}, "function": {"program": "program"}}


def _entry(name: str, formula: str, function: Scalar) -> Composite:
    def reference(inputs: Sequence[Array], attrs: Attrs) -> Array:
        return function(as_float(inputs[0]), attrs)

    def lower(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
        kind = build.type_of(inputs[0])
        if kind.low is None or kind.high is None:
            raise CompileError(f"{name} is lowered before calibration")
        if name in ("inverse_sqrt", "log") and kind.low <= 0.0:
            raise LimitError(
                f"the operand of {_WORDS[name]} can be zero or negative",
                why=f"it lies in [{kind.low:.4g}, {kind.high:.4g}]",
                fix="add a positive epsilon to it",
            )
        if not np.isfinite(function(np.linspace(kind.low, kind.high, 101), attrs)).all():
            raise LimitError(
                f"{name} is not finite on [{kind.low:.4g}, {kind.high:.4g}]",
                fix="keep its argument where it is defined, for example by adding a constant",
            )
        series = fit_to_error(
            lambda x: function(x, attrs),
            kind.low,
            kind.high,
            budget.activation,
            budget.max_degree,
            what=name,
        )
        return build.emit(
            "polynomial", inputs[0], coefficients=series.coefficients, low=series.low, high=series.high
        )

    return Composite(
        name=name,
        formula=formula,
        arity=UNARY,
        attrs=_ATTRS.get(name, {}),
        shape=same_shape,
        reference=reference,
        lowerings=MappingProxyType({"ckks": Lowering(lower, needs_range=True), **_ring(name, function)}),
        fix="replace it by a polynomial activation, or shrink its input range by training with a range loss",
        elementwise=True,
        positive=name in ("inverse_sqrt", "log"),
    )


def _ring(name: str, function: Scalar) -> dict[str, Lowering]:
    """The lowerings for rings: a fit unless the function has a better form, those for masked wires, and the
    published ones.
    """
    exact: dict[str, Lower] = {
        "relu": ring_functions.relu,
        "inverse_sqrt": ring_functions.inverse_sqrt,
        "function": ring_functions.programmed,
    }
    default = exact.get(name) or ring_functions.fitted(function, to_scale=name == "exp")
    return {
        "ring": Lowering(default, needs_range=True),
        **ring_masked.lowerings(name, function),
        **ring_published.lowerings(name),
    }


OPS = tuple(_entry(name, formula, function) for name, (formula, function) in _FUNCTIONS.items())
