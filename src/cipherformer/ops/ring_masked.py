"""Lowerings for masked wires: smooth functions of one number as sums of sines and cosines of a power-of-two
period.

Such a sum costs one opening there, whatever its terms and the width of the range, where a piecewise
polynomial costs comparisons and a chain of products. What grows linearly (GELU, SiLU) is fitted without its
linear part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cipherformer.approx import fourier, newton
from cipherformer.errors import LimitError
from cipherformer.ops.ring_functions import PRECISION, SLACK, fitted, interval, relu, result_bits
from cipherformer.ops.spec import Attrs, Builder, ErrorBudget, Lower, Lowering

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
            found = fourier.fit(rest, low - slack, high + slack, budget.activation, even=halved)
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
    starts = np.asarray(plan.starts)
    pair = (2.0 * starts, starts**2) if power == -1.0 else (1.5 * starts, 0.5 * starts**3)
    if plan.breaks:
        bits, table = result_bits(high, power - 1.0), tuple(map(float, np.concatenate(pair)))
        found = build.emit("select", operand, breaks=plan.breaks, table=table, frac_bits=bits)
        cuts = [build.emit("slice", found, dim=0, start=i, stop=i + 1, step=1) for i in range(2)]
        constant, slope = (build.emit("reshape", cut, shape=build.type_of(x).shape) for cut in cuts)
    else:
        constant, slope = (build.constant(float(row[0])) for row in pair)
    y = build.emit("sub", constant, build.emit("mul", operand, slope))
    return operand, build.emit("keep", y, frac_bits=result_bits(high, power)), plan


def reciprocal(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    """y <- y (2 - x y); the first step by look-up."""
    x, y, plan = _first_step(build, inputs[0], budget, -1.0)
    bits = result_bits(interval(build, inputs[0])[1], -1.0)
    for _ in range(plan.steps - 1):
        rest = build.emit("sub", build.constant(2.0), build.emit("mul", x, y))
        y = build.emit("keep", build.emit("mul", y, rest), frac_bits=bits)
    return y


def inverse_sqrt(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    """y <- 3/2 y - (x y) y^2 / 2, x y and y^2 in one round; the first step by look-up."""
    x, y, plan = _first_step(build, inputs[0], budget, -0.5)
    high = interval(build, inputs[0])[1]
    for _ in range(plan.steps - 1):
        square = build.emit("keep", build.emit("mul", y, y), frac_bits=result_bits(high, -1.0))
        cube = build.emit("mul", build.emit("mul", x, y), square)
        left = build.emit("mul", y, build.constant(1.5))
        y = build.emit("sub", left, build.emit("mul", cube, build.constant(0.5)))
        y = build.emit("keep", y, frac_bits=result_bits(high, -0.5))
    return y


def lowerings(op: str, function: Callable[[Floats, Attrs], Floats]) -> dict[str, Lowering]:
    """The lowering `ring.masked` of an op that has one."""
    if op == "inverse_sqrt":
        return {f"ring.{SET}": Lowering(inverse_sqrt, needs_range=True)}
    if op not in _WAVES:
        return {}
    emit = _waves(function, halved=op in _HALVED, clipped=op == "exp")
    return {f"ring.{SET}": Lowering(emit, needs_range=True)}
