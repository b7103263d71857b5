"""1/x and 1/sqrt(x) from a table: Newton's iterations from a start, or a parabola without any iteration.

The interval is cut into buckets that grow by a constant factor; in each the start is a constant with the
least relative error. Every step corrects itself, so that rounding does not add up. Reciprocal:
y <- y (2 - x y), relative error e -> e^2. Inverse square root: y <- y (3 - x y^2) / 2,
e -> (3 e^2 + e^3) / 2.

A parabola for each bucket costs fewer rounds where comparisons with more thresholds cost none, but its terms
range over more bits than the function.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import ceil, log, sqrt

import numpy as np
from numpy.typing import NDArray

from cipherformer.errors import LimitError

GROWTH = sqrt(2.0)
_MOST_BUCKETS = 256


@dataclass(frozen=True, slots=True)
class NewtonPlan:
    """A table of starts and a number of steps.

    Args:
        breaks: ends of the buckets, ascending.
        starts: one more than breaks.
        steps: of the iteration.
        error: relative error after them, in exact arithmetic.
    """

    breaks: tuple[float, ...]
    starts: tuple[float, ...]
    steps: int
    error: float


def plan(low: float, high: float, error: float, *, power: float, growth: float = GROWTH) -> NewtonPlan:
    """The plan for x^power on [low, high], power -1 or -1/2.

    Args:
        low: left end.
        high: right end.
        error: largest relative error.
        power: of x.
        growth: right end of a bucket over its left end.

    Raises:
        LimitError: an interval that is not positive, or too wide.
    """
    if not 0.0 < low <= high:
        raise LimitError(
            "a divisor can be zero or negative",
            why=f"it lies in [{low:.4g}, {high:.4g}]",
            fix="add a positive epsilon to it",
        )
    count = max(1, ceil(log(high / low) / log(growth)))
    if count > _MOST_BUCKETS:
        raise LimitError(
            f"a divisor lies in [{low:.4g}, {high:.4g}]",
            why=f"{count} starting points would be needed, {_MOST_BUCKETS} are the limit",
            fix="use a larger epsilon",
        )
    edges = [low * growth**i for i in range(count + 1)]
    starts = []
    for a, b in pairwise(edges):
        left, right = a**power, b**power
        starts.append(2.0 * left * right / (left + right))  # relative errors at both ends equal in size
    worst = max(abs(starts[0] / low**power - 1.0), abs(starts[0] / edges[1] ** power - 1.0))
    steps = 0
    while worst > error:
        worst = worst**2 if power == -1.0 else (3.0 * worst**2 + worst**3) / 2.0
        steps += 1
    return NewtonPlan(tuple(edges[1:-1]), tuple(starts), steps, worst)


@dataclass(frozen=True, slots=True)
class Parabolas:
    """x^power in buckets as a + b x + c x^2.

    Args:
        breaks: ends of the buckets, ascending.
        coefficients: [3, buckets]: a, b and c.
        error: largest relative error, in exact arithmetic.
    """

    breaks: tuple[float, ...]
    coefficients: NDArray[np.float64]
    error: float


_FINEST = 1.02
_COARSER = 1.03
_GRID = 257


def parabolas(low: float, high: float, error: float, *, power: float) -> Parabolas | None:
    """The fewest buckets within a relative error, or nothing if they are too many.

    Args:
        low: left end, positive.
        high: right end.
        error: largest relative error.
        power: of x, -1 or -1/2.
    """
    growth, best = _FINEST, None
    while True:
        shape, worst = _parabola(growth, power)
        if worst > error:
            break
        best, growth = (growth, shape, worst), 1.0 + (growth - 1.0) * _COARSER
    if best is None or not 0.0 < low <= high:
        return None
    growth, shape, worst = best
    count = max(1, ceil(log(high / low) / log(growth)))
    if count > _MOST_BUCKETS:
        return None
    starts = low * growth ** np.arange(count)
    scale = starts ** (power - np.arange(3)[:, None])
    return Parabolas(tuple(float(v) for v in starts[1:]), shape[:, None] * scale, worst)


def _parabola(growth: float, power: float) -> tuple[NDArray[np.float64], float]:
    """For [1, growth], and its error: least squares on points dense at the ends, nearly the best."""
    t = 1.0 + (growth - 1.0) * (1.0 - np.cos(np.linspace(0.0, np.pi, _GRID))) / 2.0
    basis = t[:, None] ** np.arange(3) / t[:, None] ** power
    shape = np.linalg.lstsq(basis, np.ones(_GRID), rcond=None)[0]
    return np.asarray(shape, dtype=np.float64), float(np.max(np.abs(basis @ shape - 1.0)))
