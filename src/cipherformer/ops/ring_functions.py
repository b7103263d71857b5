"""Lowerings of functions to additions, products, truncations and comparisons: the defaults.

One mechanism serves every function of one number: a piecewise polynomial on the calibrated range, its
coefficients selected by comparisons, then one Horner chain. So a function that no table knows needs no new
code. Reciprocals start from a selected constant and take Newton steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, log2

import numpy as np
from numpy.typing import NDArray

from cipherformer.approx import newton, piecewise
from cipherformer.errors import CompileError
from cipherformer.ops import program
from cipherformer.ops.spec import Attrs, Builder, ErrorBudget, Lower, integer

Floats = NDArray[np.float64]

RING_BUDGET = ErrorBudget(activation=2.0**-12, max_degree=6, reciprocal=2.0**-13)
"""Errors of the default lowerings: absolute on a function's calibrated range, relative for reciprocals."""

PRECISION = 13
"""Significant bits that the reciprocals' operands and results keep at least."""

SLACK = 2.0
"""By this factor divisors may leave their calibrated range."""

VARIANCE_SLACK = 8.0
"""The same for the upper end of inverse square roots: a rare token's row can have several times the variance
of all that calibration saw, and a look-up of one number a row costs little."""


def interval(build: Builder, name: str) -> tuple[float, float]:
    """The calibrated range of a value."""
    kind = build.type_of(name)
    if kind.low is None or kind.high is None:
        raise CompileError(f"{name} is lowered before calibration")
    return kind.low, kind.high


def fitted(function: Callable[[Floats, Attrs], Floats], *, to_scale: bool = False) -> Lower:
    """The lowering of any function of one number, within `budget.activation` on its calibrated range.

    With `to_scale` (for exponentials, whose results are divided by their sum) the error is an eighth of that,
    times the largest |f|; no value lies beyond their right end, as the largest was subtracted.
    """

    def lower(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
        low, high = interval(build, inputs[0])
        error = budget.activation
        if to_scale:
            error *= float(np.max(np.abs(function(np.linspace(low, high, 101), attrs)))) / 8.0

        def of_x(x: Floats) -> Floats:
            return function(x, attrs)

        fit = piecewise.fit(of_x, low, high, error, degree=budget.max_degree)
        return horner(build, inputs[0], piecewise.robust(of_x, low, high, fit, right=not to_scale))

    return lower


def programmed(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    """The lowering of a function that the model brought along: exact at its kinks and jumps, and within
    `budget.activation` between them.
    """
    low, high = interval(build, inputs[0])
    code = program.of(attrs)

    def of_x(x: Floats) -> Floats:
        return program.evaluate(code, x)

    fit = piecewise.fit(
        of_x,
        low,
        high,
        budget.activation,
        degree=budget.max_degree,
        breaks=program.breaks(code, low, high),
        wide=3,
    )
    return horner(build, inputs[0], piecewise.robust(of_x, low, high, fit))


def horner(build: Builder, x: str, fit: piecewise.Piecewise) -> str:
    """A piecewise polynomial: one look-up, one product a degree."""
    shape = build.type_of(x).shape
    if not fit.breaks:
        return _chain(build, x, fit, [build.constant(c) for c in fit.coefficients[0]])
    table = np.concatenate([np.transpose(fit.coefficients), [fit.centres]])
    packed = build.emit("select", x, breaks=fit.breaks, table=tuple(map(float, table.ravel())))
    rows = []
    for row in range(len(table)):
        cut = build.emit("slice", packed, dim=0, start=row, stop=row + 1, step=1)
        rows.append(build.emit("reshape", cut, shape=shape))
    return _chain(build, build.emit("sub", x, rows[-1]), fit, rows[:-1], centred=True)


def _chain(
    build: Builder, x: str, fit: piecewise.Piecewise, rows: Sequence[str], *, centred: bool = False
) -> str:
    if not centred and fit.centres[0] != 0.0:
        x = build.emit("sub", x, build.constant(fit.centres[0]))
    out = build.emit("mul", x, rows[-1]) if len(rows) > 1 else build.emit("mul", x, build.constant(0.0))
    for row in reversed(rows[1:-1]):
        out = build.emit("mul", build.emit("add", out, row), x)
    return build.emit("add", out, rows[0])


def relu(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    """x times (x >= 0): exact, one comparison and no truncation."""
    sign = build.emit("select", inputs[0], breaks=(0.0,), table=(0.0, 1.0))
    return build.emit("mul", inputs[0], sign)


def _prepared(
    build: Builder, x: str, budget: ErrorBudget, power: float
) -> tuple[str, str, newton.NewtonPlan]:
    """The operand and the start of a Newton iteration, both with enough fraction bits, and the plan."""
    low, high = interval(build, x)
    if low <= 0.0:
        newton.plan(low, high, budget.reciprocal, power=power)
    above = SLACK if power == -1.0 else VARIANCE_SLACK
    plan = newton.plan(low / SLACK, high * above, budget.reciprocal, power=power)
    bits = max(0, PRECISION - int(np.floor(log2(low))))
    operand = build.emit("keep", x, frac_bits=bits)
    start = build.emit(
        "select", operand, breaks=plan.breaks, table=plan.starts, frac_bits=result_bits(high, power)
    )
    return operand, start, plan


def result_bits(high: float, power: float) -> int:
    """Fraction bits that leave `PRECISION` significant ones in high^power."""
    return max(0, PRECISION + ceil(-power * log2(high * SLACK)))


def reciprocal(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    """y <- y (2 - x y) from a selected start."""
    x, y, plan = _prepared(build, inputs[0], budget, -1.0)
    bits = result_bits(interval(build, inputs[0])[1], -1.0)
    for _ in range(plan.steps):
        rest = build.emit("sub", build.constant(2.0), build.emit("mul", x, y))
        y = build.emit("keep", build.emit("mul", y, rest), frac_bits=bits)
    return y


def inverse_sqrt(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    """y <- y (3 - x y^2) / 2 from a selected start; the half is a shift of the binary point."""
    x, y, plan = _prepared(build, inputs[0], budget, -0.5)
    high = interval(build, inputs[0])[1]
    bits, square_bits = result_bits(high, -0.5), result_bits(high, -1.0)
    for _ in range(plan.steps):
        square = build.emit("keep", build.emit("mul", y, y), frac_bits=square_bits)
        rest = build.emit("sub", build.constant(3.0), build.emit("mul", x, square))
        half = build.emit("mul", rest, build.constant(0.5))
        y = build.emit("keep", build.emit("mul", y, half), frac_bits=bits)
    return y


def largest(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    """A tree of max(a, b) = b + (a - b) (a >= b); masked entries are set to the range's low end first."""
    x, dim = inputs[0], integer(attrs, "dim")
    if len(inputs) == 2:
        mask = build.value(inputs[1])
        low = float(np.floor(interval(build, x)[0]))
        x = build.emit("mul", x, inputs[1])
        x = build.emit("add", x, build.constant((1.0 - mask) * low))
    while (size := build.type_of(x).shape[dim]) > 1:
        half = size // 2
        a, b = (build.emit("slice", x, dim=dim, start=i * half, stop=(i + 1) * half, step=1) for i in (0, 1))
        winner = build.emit("add", b, relu(build, (build.emit("sub", a, b),), attrs, budget))
        if size % 2:
            rest = build.emit("slice", x, dim=dim, start=size - 1, stop=size, step=1)
            winner = build.emit("concat", winner, rest, dim=dim)
        x = winner
    return x


def softmax(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    """exp(x - max) over its sum. A mask, binary and public, multiplies: masked entries become exp(0) 0."""
    x, dim = inputs[0], integer(attrs, "dim")
    shifted = build.emit("sub", x, build.emit("largest", *inputs, dim=dim))
    masked = build.emit("mul", shifted, inputs[1]) if len(inputs) == 2 else shifted
    powers = build.emit("exp", masked)
    kept = build.emit("mul", powers, inputs[1]) if len(inputs) == 2 else powers
    total = build.emit("sum", kept, dims=(dim,), keepdim=True)
    return build.emit("mul", kept, build.emit("reciprocal", total))
