"""Lowerings for masked wires: smooth functions of one number as sums of sines and cosines of a power-of-two
period.

Such a sum costs one opening there, whatever its terms and the width of the range, where a piecewise
polynomial costs comparisons and a chain of products. What grows linearly (GELU, SiLU) is fitted without its
linear part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod, sqrt

import numpy as np
from numpy.typing import NDArray

from cipherformer.approx import fourier, newton
from cipherformer.errors import LimitError
from cipherformer.ops.ring_functions import PRECISION, SLACK, fitted, interval, relu, result_bits
from cipherformer.ops.spec import Attrs, Builder, ErrorBudget, Lower, Lowering, integers, number

SET = "masked"

Floats = NDArray[np.float64]

_HALVED = ("gelu", "silu")
"""f(x) - x/2 is even."""

_WAVES = (*_HALVED, "exp", "tanh", "sigmoid", "erf")
_SLACK = 0.02
"""By which the fitted interval is wider than the calibrated one, of its length: roundings cross its ends."""


_FLOOR = -14.0
"""exp is less than a millionth below."""


def _waves(function: Callable[[Floats, Attrs], Floats], *, halved: bool, clipped: bool) -> Lower:
    def lower(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
        x = inputs[0]
        low, high = interval(build, x)
        if clipped and low < 2.0 * _FLOOR < _FLOOR < high:
            above = relu(build, (build.emit("sub", x, build.constant(_FLOOR)),), attrs, budget)
            x, low = build.emit("add", above, build.constant(_FLOOR)), _FLOOR
        slack = _SLACK * (high - low)

        def rest(t: Floats) -> Floats:
            return np.asarray(function(t, attrs) - t / 2.0 if halved else function(t, attrs))

        try:
            found = fourier.fit(
                rest, low - slack, high + slack, budget.activation, even=halved, right=not clipped
            )
        except LimitError:  # a range so wide that comparisons and a chain of products are cheaper
            return fitted(function)(build, inputs, attrs, budget)
        waves = build.emit(
            "fourier",
            x,
            log_period=found.log_period,
            constant=found.constant,
            cosines=found.cosines,
            sines=found.sines,
        )
        return build.emit("add", waves, build.emit("mul", x, build.constant(0.5))) if halved else waves

    return lower


GROWTH = 2.0**0.125
"""Of buckets: comparisons with one more threshold cost no round, an iteration does."""


def _first_step(
    build: Builder, x: str, budget: ErrorBudget, power: float
) -> tuple[str, str, newton.NewtonPlan]:
    """The operand with enough fraction bits, what is left after one step, and the plan.

    A step from a constant c is linear in x: 2c - c^2 x, or 3/2 c - c^3 / 2 x; its two numbers are looked up.
    """
    low, high = interval(build, x)
    slack = SLACK if low > 0.0 else 1.0
    plan = newton.plan(low / slack, high * slack, budget.reciprocal, power=power, growth=GROWTH)
    operand = build.emit("keep", x, frac_bits=max(0, PRECISION - int(np.floor(np.log2(low)))))
    low, high = low / slack, high * slack
    build.set_range(operand, low, high)
    starts = np.asarray(plan.starts)
    pair = (2.0 * starts, starts**2) if power == -1.0 else (1.5 * starts, 0.5 * starts**3)
    if plan.breaks:
        bits, table = result_bits(interval(build, x)[1], power - 1.0), tuple(map(float, np.concatenate(pair)))
        found = build.emit("select", operand, breaks=plan.breaks, table=table, frac_bits=bits)
        cuts = [build.emit("slice", found, dim=0, start=i, stop=i + 1, step=1) for i in range(2)]
        constant, slope = (build.emit("reshape", cut, shape=build.type_of(x).shape) for cut in cuts)
    else:
        constant, slope = (build.constant(float(row[0])) for row in pair)
    slopes, ends = pair[1], _ends(plan.breaks, low, high)
    term = _within(build, build.emit("mul", operand, slope), slopes * ends[0], slopes * ends[1])
    y = build.emit("sub", constant, term)
    found = build.emit("keep", y, frac_bits=result_bits(interval(build, x)[1], power))
    return operand, _within(build, found, np.array([0.0, low**power])), plan


def _ends(breaks: Sequence[float], low: float, high: float) -> tuple[Floats, Floats]:
    """Left and right ends of buckets."""
    return np.array([low, *breaks]), np.array([*breaks, high])


def _within(build: Builder, name: str, *values: Floats) -> str:
    """A value with a range: what a table can make of it, seen in calibration or not."""
    build.set_range(name, float(min(v.min() for v in values)), float(max(v.max() for v in values)))
    return name


_WORD = 64
_HEADROOM = 4


def _looked_up(build: Builder, x: str, budget: ErrorBudget, power: float) -> str | None:
    """x^power as a + b x + c x^2 with looked-up coefficients, or nothing if its terms do not fit the ring.

    x^2 is made while the comparisons run, so that nothing waits for it.
    """
    low, high = interval(build, x)
    slack = SLACK if low > 0.0 else 1.0
    found = newton.parabolas(low / slack, high * slack, budget.reciprocal / 2.0, power=power)
    if found is None or not found.breaks:
        return None
    end = high * slack
    bits = [result_bits(high, power - k) + 2 for k in range(3)]
    fine = [max(0, PRECISION + 1 - int(np.floor(k * np.log2(low / slack)))) for k in (1, 2)]
    largest = np.max(np.abs(found.coefficients[2]) * np.append(found.breaks, end) ** 2)
    if bits[2] + fine[1] + np.log2(largest) + _HEADROOM > _WORD:
        return None
    start = low / slack
    operand = build.emit("keep", x, frac_bits=fine[0])
    build.set_range(operand, start, end)
    square = build.emit("keep", build.emit("mul", operand, operand), frac_bits=fine[1])
    build.set_range(square, start**2, end**2)
    rows = found.coefficients
    a, b, c = (
        build.emit("select", operand, breaks=found.breaks, table=tuple(map(float, row)), frac_bits=wanted)
        for row, wanted in zip(rows, bits, strict=True)
    )
    ends = _ends(found.breaks, start, end)
    terms = [
        _within(build, build.emit("mul", operand, b), rows[1] * ends[0], rows[1] * ends[1]),
        _within(build, build.emit("mul", square, c), rows[2] * ends[0] ** 2, rows[2] * ends[1] ** 2),
    ]
    precise = [build.emit("keep", term, frac_bits=result_bits(high, power) + 1) for term in terms]
    out = build.emit("add", build.emit("add", *precise), a)
    return _within(build, out, np.array([end**power, start**power]))


def reciprocal(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    """By look-up alone, or the first step by look-up and then y <- y (2 - x y)."""
    if (out := _looked_up(build, inputs[0], budget, -1.0)) is not None:
        return out
    x, y, plan = _first_step(build, inputs[0], budget, -1.0)
    bits = result_bits(interval(build, inputs[0])[1], -1.0)
    for _ in range(plan.steps - 1):
        rest = build.emit("sub", build.constant(2.0), build.emit("mul", x, y))
        y = build.emit("keep", build.emit("mul", y, rest), frac_bits=bits)
    return y


def inverse_sqrt(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    """By look-up alone, or the first step by look-up, then y <- 3/2 y - (x y) y^2 / 2; x y beside y^2."""
    if (out := _looked_up(build, inputs[0], budget, -0.5)) is not None:
        return out
    x, y, plan = _first_step(build, inputs[0], budget, -0.5)
    high = interval(build, inputs[0])[1]
    for _ in range(plan.steps - 1):
        square = build.emit("keep", build.emit("mul", y, y), frac_bits=result_bits(high, -1.0))
        cube = build.emit("mul", build.emit("mul", x, y), square)
        left = build.emit("mul", y, build.constant(1.5))
        y = build.emit("sub", left, build.emit("mul", cube, build.constant(0.5)))
        y = build.emit("keep", y, frac_bits=result_bits(high, -0.5))
    return y


def norm(*, centre: bool) -> Lower:
    """LayerNorm and RMSNorm without a division by the length n: it would narrow the ring before the squares.

    With c = n / 2^k in [1, 2), d = (n x - sum) / 2^k is c (x - mean), v = sum d^2 / 2^k is c^3 times the
    variance (c times without centring, where d = x), and the result is d / sqrt(v + epsilon') times sqrt(c)
    and the weight, by which d is multiplied while the inverse square root is found.
    """

    def lower(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
        d, axes = inputs[0], integers(attrs, "axes")
        whole = build.type_of(d).shape
        count = prod(whole[axis] for axis in axes)
        k = count.bit_length() - 1
        c, part = count / 2.0**k, build.constant(2.0**-k)
        if centre:
            total = build.emit("sum", d, dims=axes, keepdim=True)
            many = build.emit("mul", d, build.constant(float(count)))
            d = build.emit("mul", build.emit("sub", many, total), part)
        squares = build.emit("sum", build.emit("power", d, exponent=2), dims=axes, keepdim=True)
        epsilon = build.constant(number(attrs, "epsilon") * (c**3 if centre else c))
        root = build.emit("inverse_sqrt", build.emit("add", build.emit("mul", squares, part), epsilon))
        shape = tuple(s if i in axes else 1 for i, s in enumerate(whole))
        weight = build.constant(sqrt(c))
        if len(inputs) > 1:
            weight = build.emit("mul", build.emit("reshape", inputs[1], shape=shape), weight)
        if len(inputs) > 1 or c > 1.0:
            d = build.emit("mul", d, weight)
        out = build.emit("mul", d, root)
        if len(inputs) > 2:
            out = build.emit("add", out, build.emit("reshape", inputs[2], shape=shape))
        return out

    return lower


def lowerings(op: str, function: Callable[[Floats, Attrs], Floats]) -> dict[str, Lowering]:
    """The lowering `ring.masked` of an op that has one."""
    if op == "inverse_sqrt":
        return {f"ring.{SET}": Lowering(inverse_sqrt, needs_range=True)}
    if op not in _WAVES:
        return {}
    emit = _waves(function, halved=op in _HALVED, clipped=op == "exp")
    return {f"ring.{SET}": Lowering(emit, needs_range=True)}
