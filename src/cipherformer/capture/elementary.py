"""ATen ops of one number that the op table has no entry for: each becomes a `function` with its formula.

`passes.functions` then collects such formulas, as far as they depend on one value only, into one op.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log
from typing import Any

from torch import Tensor

from cipherformer.capture.importer import Handler, Importer
from cipherformer.capture.obstacle import Refusal
from cipherformer.capture.public import Secret


def number(value: Any) -> float | None:
    """A public scalar, or None."""
    if isinstance(value, Tensor):
        return float(value.reshape(())) if value.numel() == 1 else None
    return float(value) if isinstance(value, (int, float)) else None


def _unary(name: str) -> Handler:
    def handler(imp: Importer, x: Secret, *args: Any, **kwargs: Any) -> Secret:
        if args or kwargs:
            raise Refusal(f"{name} with options", "only the plain function is known", "leave the options out")
        return imp.emit("function", x, program=((name, 0),))

    return handler


def _difference(imp: Importer, a: Any, b: Any) -> Secret:
    return a if number(b) == 0.0 else imp.emit("sub", a, b)


def _comparison(name: str) -> Handler:
    def handler(imp: Importer, a: Any, b: Any) -> Secret:
        """1 where it holds, 0 elsewhere."""
        return imp.emit("function", _difference(imp, a, b), program=((name, 0, 0.0),))

    return handler


def _chooser(name: str) -> Handler:
    def handler(imp: Importer, a: Any, b: Any) -> Secret:
        """The larger or the smaller of two."""
        x, c = (a, number(b)) if isinstance(a, Secret) else (b, number(a))
        if c is not None:
            return imp.emit("function", x, program=((name, 0, c),))
        return imp.emit("add", b, imp.emit("function", imp.emit("sub", a, b), program=((name, 0, 0.0),)))

    return handler


def clamp(imp: Importer, x: Secret, low: Any = None, high: Any = None, **bounds: Any) -> Secret:
    """Between two numbers, either of which may be missing."""
    for name, bound in (("max", bounds.get("min", low)), ("min", bounds.get("max", high))):
        if bound is not None:
            x = _chooser(name)(imp, x, bound)
    return x


def where(imp: Importer, condition: Any, a: Any, b: Any) -> Secret:
    """A where the condition holds, b elsewhere; a public condition is a mask."""
    if isinstance(condition, Secret):
        return imp.emit("where", condition, *(x.double() if isinstance(x, Tensor) else x for x in (a, b)))
    chosen = condition.double()
    parts = [
        imp.emit("mul", x, keep) if isinstance(x, Secret) else _public_part(imp, x, keep)
        for x, keep in ((a, chosen), (b, 1.0 - chosen))
    ]
    return imp.emit("add", *parts)


def _public_part(imp: Importer, x: Any, keep: Tensor) -> Secret:
    value = x.double() if isinstance(x, Tensor) else float(x)
    finite = value.clamp(-1e30, 1e30) if isinstance(value, Tensor) else max(min(value, 1e30), -1e30)
    return Secret(imp.operand(keep * finite))


def logical_not(imp: Importer, x: Secret) -> Secret:
    """1 - x of a condition."""
    return imp.emit("sub", 1.0, x)


def logical_and(imp: Importer, a: Any, b: Any) -> Secret:
    """a b of conditions."""
    return imp.emit("mul", *(x.double() if isinstance(x, Tensor) else x for x in (a, b)))


def logical_or(imp: Importer, a: Any, b: Any) -> Secret:
    """a + b - a b of conditions."""
    a, b = (x.double() if isinstance(x, Tensor) else x for x in (a, b))
    return imp.emit("sub", imp.emit("add", a, b), imp.emit("mul", a, b))


def power_of(imp: Importer, base: Any, exponent: Secret) -> Secret:
    """c^x = exp(x ln c) for a positive number c."""
    c = number(base)
    if c is None or c <= 0.0:
        raise Refusal(
            "a power of a secret exponent", "its base is not a positive number", "write it with exp and log"
        )
    return imp.emit("exp", imp.emit("mul", exponent, log(c)))


def prelu(imp: Importer, x: Secret, slope: Any) -> Secret:
    """slope x + (1 - slope) relu(x), a slope for all or for each entry of axis 1."""
    if slope.numel() > 1:
        slope = slope.reshape(-1, *(1,) * (len(imp.shape(x)) - 2))
    return imp.emit("add", imp.emit("mul", x, slope), imp.emit("mul", imp.emit("relu", x), 1.0 - slope))


def elu(imp: Importer, x: Secret, alpha: float = 1.0, scale: float = 1.0, inner: float = 1.0) -> Secret:
    """scale x above 0, scale alpha (exp(inner x) - 1) below."""
    steps = (
        ("gt", 0, 0.0),
        ("min", 0, 0.0),
        ("mul", 2, float(inner)),
        ("expm1", 3),
        ("mul", 4, float(alpha)),
    )
    return imp.emit("function", x, program=(*steps, ("where", 1, 0, 5), ("mul", 6, float(scale))))


_NAMES = (
    *("abs", "sign", "exp2", "expm1", "log2", "log10", "log1p", "sinh", "cosh", "asinh", "atan"),
    *("sin", "cos", "tan", "floor", "ceil", "round", "trunc"),
)

ELEMENTARY: Mapping[str, Handler] = {
    **{f"aten.{name}.default": _unary(name) for name in _NAMES},
    **{f"aten.{n}.{kind}": _comparison(n) for n in ("gt", "ge", "lt", "le", "eq", "ne") for kind in
       ("Scalar", "Tensor")},
    "aten.maximum.default": _chooser("max"),
    "aten.minimum.default": _chooser("min"),
    "aten.max.other": _chooser("max"),
    "aten.min.other": _chooser("min"),
    "aten.clamp.default": clamp,
    "aten.clamp_min.default": _chooser("max"),
    "aten.clamp_max.default": _chooser("min"),
    "aten.hardtanh.default": lambda imp, x, low=-1.0, high=1.0: clamp(imp, x, low, high),
    "aten.where.self": where,
    "aten.where.ScalarOther": where,
    "aten.where.ScalarSelf": where,
    "aten.where.Scalar": where,
    "aten.logical_not.default": logical_not,
    "aten.bitwise_not.default": logical_not,
    "aten.logical_and.default": logical_and,
    "aten.bitwise_and.Tensor": logical_and,
    "aten.logical_or.default": logical_or,
    "aten.bitwise_or.Tensor": logical_or,
    "aten.elu.default": elu,
    "aten.pow.Scalar": power_of,
    "aten.prelu.default": prelu,
    "aten._prelu_kernel.default": prelu,
}  # fmt: skip
"""Handlers by name."""
