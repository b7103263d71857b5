"""Chebyshev series on an interval: fit and evaluate.

A series is `sum_k c_k T_k(t)` with `t = (2 x - low - high) / (high - low)`, so that |t| <= 1 on the interval.
This is the form that encrypted evaluation uses: its coefficients stay small where those of monomials explode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.errors import ParameterError

Function = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Series:
    """A Chebyshev series and how well it does.

    Args:
        coefficients: of T_0, T_1, ...
        low: left end of the interval.
        high: right end.
        error: largest |series - function| on a dense grid of the interval (see `error_on_grid`).
    """

    coefficients: tuple[float, ...]
    low: float
    high: float
    error: float

    @property
    def degree(self) -> int:
        """Degree of the polynomial."""
        return len(self.coefficients) - 1

    @property
    def levels(self) -> int:
        """Multiplicative depth: ceil(log2(degree + 1))."""
        return self.degree.bit_length()

    def __call__(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """The series at `x`."""
        return evaluate(self.coefficients, self.low, self.high, x)


def evaluate(coefficients: Sequence[float], low: float, high: float, x: NDArray[Any]) -> NDArray[np.float64]:
    """The series at `x`, elementwise, by Clenshaw's recurrence.

    >>> evaluate([0.0, 0.0, 1.0], -1.0, 1.0, np.array([0.5]))  # T_2(t) = 2 t^2 - 1
    array([-0.5])
    """
    t = (2.0 * np.asarray(x, dtype=np.float64) - (low + high)) / (high - low)
    first, second = np.zeros_like(t), np.zeros_like(t)
    for c in reversed(coefficients[1:]):
        first, second = 2.0 * t * first - second + c, first
    return np.asarray(t * first - second + coefficients[0])


def check_interval(low: float, high: float) -> None:
    """Raise ParameterError unless `low < high` and both are finite."""
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ParameterError(f"[{low}, {high}] is not an interval", fix="calibrate with samples that vary")


def grid(low: float, high: float, degree: int) -> NDArray[np.float64]:
    """Points to measure errors at: dense, denser at the ends, and 0 if it lies inside (kinks stand there)."""
    count = 4096 + 64 * (degree + 1)
    points = 0.5 * (low + high) - 0.5 * (high - low) * np.cos(np.linspace(0.0, np.pi, count))
    points[0], points[-1] = low, high
    return np.sort(np.append(points, 0.0)) if low < 0.0 < high else points


def error_on_grid(function: Function, coefficients: Sequence[float], low: float, high: float) -> float:
    """Largest |series - function| on `grid`."""
    x = grid(low, high, len(coefficients) - 1)
    return float(np.max(np.abs(evaluate(coefficients, low, high, x) - function(x))))


def fit(function: Function, low: float, high: float, degree: int) -> Series:
    """Interpolate at the `degree + 1` Chebyshev nodes of [low, high].

    The error is within a factor 2 + (2/pi) log(degree + 1) of the best polynomial of that degree
    (Trefethen, Approximation Theory and Approximation Practice, theorem 16.1).
    """
    check_interval(low, high)
    count = degree + 1
    angles = np.pi * (np.arange(count) + 0.5) / count
    values = function(0.5 * (low + high) + 0.5 * (high - low) * np.cos(angles))
    coefficients = (2.0 / count) * np.cos(np.outer(np.arange(count), angles)) @ values
    coefficients[0] *= 0.5
    return series(function, coefficients, low, high)


def series(function: Function, coefficients: NDArray[Any], low: float, high: float) -> Series:
    """The series with its error measured; coefficients that are rounding noise become 0: parity shows."""
    noise = 1e-14 * float(np.max(np.abs(coefficients)))
    cleaned = tuple(float(c) if abs(c) > noise else 0.0 for c in coefficients)
    return Series(cleaned, low, high, error_on_grid(function, cleaned, low, high))
