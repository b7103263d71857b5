"""What the op table says about an op, and nothing else about an op is written anywhere.

A *primitive* is what backends execute. A *composite* is what models contain: it has an exact reference and
named lowerings into primitives, each with its error. Shape inference, secrecy, depth, cost, the importer's
targets, the conformance test and the documentation row are derived from these entries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cipherformer.errors import CompileError
from cipherformer.types import Attr, Type

Array = NDArray[Any]
Shape = tuple[int, ...]
Attrs = Mapping[str, Attr]

ShapeRule = Callable[[Sequence[Shape], Attrs], Shape]
Reference = Callable[[Sequence[Array], Attrs], Array]
Work = Callable[[Sequence[Shape], Shape, Attrs], int]
Affine = Callable[[Sequence[bool], Attrs], bool]

_NO_ATTRS: Mapping[str, str] = MappingProxyType({})
UNARY = (1, 1)
BINARY = (2, 2)


def integer(attrs: Attrs, name: str) -> int:
    """An `int` attribute."""
    value = attrs[name]
    if not isinstance(value, int):
        raise ValueError(f"attribute {name} is {value!r}, not an int")
    return value


def number(attrs: Attrs, name: str) -> float:
    """A `float` attribute; an int will do."""
    value = attrs[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"attribute {name} is {value!r}, not a number")
    return float(value)


def integers(attrs: Attrs, name: str) -> tuple[int, ...]:
    """An `ints` attribute."""
    value = attrs[name]
    if not isinstance(value, tuple):
        raise ValueError(f"attribute {name} is {value!r}, not a tuple")
    return tuple(v for v in value if isinstance(v, int))


def numbers(attrs: Attrs, name: str) -> tuple[float, ...]:
    """A `floats` attribute."""
    value = attrs[name]
    if not isinstance(value, tuple):
        raise ValueError(f"attribute {name} is {value!r}, not a tuple")
    return tuple(float(v) for v in value if isinstance(v, (int, float)))


def elements(shapes: Sequence[Shape], out: Shape, attrs: Attrs) -> int:
    """Work of one multiplication per element of the result."""
    return prod(out)


def no_work(shapes: Sequence[Shape], out: Shape, attrs: Attrs) -> int:
    """Work of an op that multiplies nothing."""
    return 0


def same_shape(shapes: Sequence[Shape], attrs: Attrs) -> Shape:
    """The shape of the first operand."""
    return shapes[0]


def always_affine(secret: Sequence[bool], attrs: Attrs) -> bool:
    """Affine in every operand together."""
    return True


def never_affine(secret: Sequence[bool], attrs: Attrs) -> bool:
    """Affine only where nothing is secret."""
    return not any(secret)


def bilinear(secret: Sequence[bool], attrs: Attrs) -> bool:
    """Affine while at most one of the first two operands is secret."""
    return not (secret[0] and secret[1])


def _leaf_shape(shapes: Sequence[Shape], attrs: Attrs) -> Shape:
    raise CompileError("a leaf has no shape rule")


def _leaf_reference(inputs: Sequence[Array], attrs: Attrs) -> Array:
    raise CompileError("a leaf has no reference")


@dataclass(frozen=True, slots=True, kw_only=True)
class Primitive:
    """An op that a backend executes.

    Args:
        name: key in the table.
        formula: one line for the documentation.
        arity: fewest and most operands; None for any number.
        attrs: name to kind (`int float bool str ints floats program`); a trailing `?` marks an optional one.
        shape: shape of the result; raises ValueError for operands that do not fit.
        reference: the exact mathematical value, float64.
        lowered: what an approximating backend computes in exact arithmetic; None where that is the reference.
        planned: attributes without which `lowered` is undefined: the approximate pass sets them.
        work: scalar multiplications.
        affine: whether the result is affine in the secret operands, given which operands are secret.
        error: bound of |lowered - reference| / |reference|, from the attributes.
        positive: True if the operand must be positive; calibration then keeps its range so.
    """

    name: str
    formula: str
    arity: tuple[int, int | None]
    shape: ShapeRule
    reference: Reference
    attrs: Mapping[str, str] = field(default_factory=lambda: _NO_ATTRS)
    lowered: Reference | None = None
    planned: tuple[str, ...] = ()
    work: Work = elements
    affine: Affine = always_affine
    error: Callable[[Attrs], float] | None = None
    positive: bool = False


def leaf(name: str, formula: str) -> Primitive:
    """A primitive without operands, whose value stands outside the graph's arithmetic."""
    return Primitive(
        name=name, formula=formula, arity=(0, 0), shape=_leaf_shape, reference=_leaf_reference, work=no_work
    )


class Builder(Protocol):
    """What a lowering writes into; `graph.rewrite.GraphBuilder` is one."""

    def emit(self, op: str, *inputs: str, **attrs: Attr) -> str:
        """Append a node and return its name."""
        ...

    def constant(self, value: Array | float) -> str:
        """Append a public constant and return its name."""
        ...

    def type_of(self, name: str) -> Type:
        """Type of a value already appended."""
        ...

    def set_range(self, name: str, low: float, high: float) -> None:
        """Give a value already appended a range that it keeps to, seen in calibration or not."""
        ...

    def value(self, name: str) -> Array:
        """Array of a constant already appended."""
        ...


@dataclass(frozen=True, slots=True)
class ErrorBudget:
    """How well approximations must do, and what they may cost.

    Args:
        activation: largest absolute error of an activation's polynomial on its interval.
        max_degree: largest degree of such a polynomial.
        reciprocal: largest relative error of a reciprocal on its interval.
        max_reciprocal_levels: most levels that one reciprocal may take.
        max_reciprocal_ratio: largest high / low of a reciprocal's interval.
    """

    activation: float = 0.01
    max_degree: int = 31
    reciprocal: float = 2.0**-12
    max_reciprocal_levels: int = 8
    max_reciprocal_ratio: float = 32.0


Lower = Callable[[Builder, Sequence[str], Attrs, ErrorBudget], str]


@dataclass(frozen=True, slots=True)
class Lowering:
    """One way to write a composite in primitives.

    Args:
        emit: appends the primitives and returns the result's name. The operands' types carry calibrated
            ranges if `needs_range`.
        needs_range: True for an approximation on an interval; False where only reciprocals inside are
            approximate.
        source: paper and equation.
    """

    emit: Lower
    needs_range: bool = False
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Composite:
    """An op that models contain and that is lowered before anything executes it in private.

    Args:
        name: key in the table.
        formula: one line for the documentation.
        arity: fewest and most operands.
        attrs: as for `Primitive`.
        shape: shape of the result.
        reference: the exact, differentiable function in float64.
        lowerings: by target and, where there are several, method: `ckks`, `ring.crypten`.
        fix: what a user can do where a target has no lowering.
        work: scalar operations of the reference, roughly.
        affine: as for `Primitive`.
        elementwise: True for a function of one number; then `reference` serves to fit it.
        positive: as for `Primitive`.
    """

    name: str
    formula: str
    arity: tuple[int, int | None]
    shape: ShapeRule
    reference: Reference
    attrs: Mapping[str, str] = field(default_factory=lambda: _NO_ATTRS)
    lowerings: Mapping[str, Lowering] = field(default_factory=lambda: MappingProxyType({}))
    fix: str = ""
    work: Work = elements
    affine: Affine = never_affine
    elementwise: bool = False
    positive: bool = False


Op = Primitive | Composite


def as_float(value: Array) -> NDArray[np.float64]:
    """The array in float64, the only arithmetic of the references."""
    return np.asarray(value, dtype=np.float64)
