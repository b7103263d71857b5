"""Goldschmidt iterations for 1/x and 1/sqrt(x) on a known interval, with adaptive relaxation.

A plan decides everything from the interval and the error before anything runs: the number of steps and the
relaxation factor of each step. Source: Moon et al., "Adaptive successive over-relaxation method for a faster
iterative approximation of homomorphic operations" (2024); the recurrence itself is Goldschmidt's (1964).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.errors import ParameterError

_MAX_STEPS = 64


@dataclass(frozen=True, slots=True)
class ReciprocalPlan:
    """How to compute 1/x on [low, high].

    Start at x_0 = scale x, y_0 = scale. Step i: m = k_i (2 - k_i x); x <- x m; y <- y m. Then y is near 1/x.

    Args:
        scale: 1/high, so that x_0 lies in (0, 1].
        relaxations: k_i = 2 / (1 + lowest x before step i), one a step.
        iterations: number of steps.
        error: largest relative error |y x - 1| on the interval, in exact arithmetic.
        levels: multiplicative depth, one a step (y_1 is affine in x, and the last x is not needed).
    """

    scale: float
    relaxations: tuple[float, ...]
    iterations: int
    error: float
    levels: int


def _check(low: float, high: float, error: float) -> None:
    if not (np.isfinite(high) and 0.0 < low <= high and 0.0 < error < 1.0):
        raise ParameterError(
            f"no iteration for [{low}, {high}] with relative error {error}",
            why="the interval must be positive and the error in (0, 1)",
            fix="add a larger epsilon to the denominator, or calibrate on more samples",
        )


def plan_reciprocal(low: float, high: float, error: float) -> ReciprocalPlan:
    """Fewest steps for which |y x - 1| <= error on [low, high].

    With lowest value e before a step, t = k x lies in [1 - r, 1 + r], r = (1 - e) / (1 + e), and the new x is
    t (2 - t) = 1 - (1 - t)^2 in [1 - r^2, 1]: the lowest value becomes 4 e / (1 + e)^2.

    >>> plan_reciprocal(1.0, 32.0, 2.0**-12).iterations
    5
    """
    _check(low, high, error)
    lowest, relaxations = low / high, list[float]()
    while 1.0 - lowest > error and len(relaxations) < _MAX_STEPS:
        relaxations.append(2.0 / (1.0 + lowest))
        lowest = 4.0 * lowest / (1.0 + lowest) ** 2
    steps = len(relaxations)
    return ReciprocalPlan(1.0 / high, tuple(relaxations), steps, 1.0 - lowest, steps)


def reciprocal(scale: float, relaxations: Sequence[float], x: NDArray[Any]) -> NDArray[np.float64]:
    """The recurrence of `ReciprocalPlan` in float64, elementwise; the order of operations is the plan's."""
    value = np.asarray(x, dtype=np.float64) * scale
    result = np.full_like(value, scale)
    for k in relaxations:
        factor = k * (2.0 - k * value)
        value, result = value * factor, result * factor
    return result


def evaluate(plan: ReciprocalPlan, x: NDArray[Any]) -> NDArray[np.float64]:
    """What encryption computes for 1/x under a plan."""
    return reciprocal(plan.scale, plan.relaxations, x)


@dataclass(frozen=True, slots=True)
class InverseSqrtPlan:
    """How to compute 1/sqrt(x) on [low, high].

    Start at q = scale x, p = sqrt(scale). Step i: m = sqrt(k_i) (3 - k_i q) / 2; p <- p m; q <- q m^2.

    Args:
        scale: 1/high.
        relaxations: k_i, chosen so that both ends of q's range map to the same value.
        iterations: number of steps.
        error: largest relative error |p sqrt(x) - 1| on the interval.
        levels: multiplicative depth, two a step.
    """

    scale: float
    relaxations: tuple[float, ...]
    iterations: int
    error: float
    levels: int


def plan_inverse_sqrt(low: float, high: float, error: float) -> InverseSqrtPlan:
    """Fewest steps for which |p sqrt(x) - 1| <= error on [low, high].

    q maps to g(t) = t ((3 - t) / 2)^2 at t = k q: g rises to 1 at t = 1 and falls to 0 at t = 3. The best k
    has g(k e) = g(k), e the lowest q; that value is the next lowest.
    """
    _check(low, high, error)
    lowest, relaxations = low / high, list[float]()
    while 1.0 - np.sqrt(lowest) > error and len(relaxations) < _MAX_STEPS:
        k = _balance(lowest)
        relaxations.append(k)
        lowest = min(_cubic(k * lowest), _cubic(k))
    steps = len(relaxations)
    return InverseSqrtPlan(1.0 / high, tuple(relaxations), steps, float(1.0 - np.sqrt(lowest)), 2 * steps)


def _cubic(t: float) -> float:
    return t * ((3.0 - t) / 2.0) ** 2


def _balance(lowest: float) -> float:
    left, right = 1.0, 3.0
    for _ in range(80):
        middle = 0.5 * (left + right)
        left, right = (middle, right) if _cubic(middle * lowest) < _cubic(middle) else (left, middle)
    return left


def evaluate_inverse_sqrt(plan: InverseSqrtPlan, x: NDArray[Any]) -> NDArray[np.float64]:
    """What encryption computes for 1/sqrt(x) under a plan."""
    value = np.asarray(x, dtype=np.float64) * plan.scale
    result = np.full_like(value, np.sqrt(plan.scale))
    for k in plan.relaxations:
        factor = np.sqrt(k) * (3.0 - k * value) / 2.0
        value, result = value * factor**2, result * factor
    return result
