"""Best uniform polynomial approximation by the Remez exchange.

Source: Trefethen, Approximation Theory and Approximation Practice, chapter 10; Pachon and Trefethen, BIT 49
    (2009).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cipherformer.approx.chebyshev import Function, Series, check_interval, fit, grid, series


def minimax(function: Function, low: float, high: float, degree: int, *, rounds: int = 40) -> Series:
    """The polynomial of least largest error on [low, high], in the Chebyshev basis.

    1. Solve p(x_i) + (-1)^i e = f(x_i) on degree + 2 reference points.
    2. Replace the reference by alternating extremes of f - p on a dense grid.
    3. Stop when the levelled error |e| (a lower bound for any polynomial of this degree) is within 0.1% of
       the largest.
    """
    check_interval(low, high)
    points = grid(low, high, degree)
    target = function(points)
    basis = _basis(points, low, high, degree)
    best = fit(function, low, high, degree)
    nodes = np.linspace(0.0, np.pi, degree + 2)
    reference = np.searchsorted(points, 0.5 * (low + high) - 0.5 * (high - low) * np.cos(nodes))
    reference = np.clip(reference, 0, len(points) - 1)
    for _ in range(rounds):
        signs = (-1.0) ** np.arange(degree + 2)
        solution = np.linalg.solve(np.column_stack([basis[reference], signs]), target[reference])
        residual = target - basis @ solution[:-1]
        worst = float(np.max(np.abs(residual)))
        if worst < best.error:
            best = series(function, solution[:-1], low, high)
        exchanged = _alternating_extremes(residual, degree + 2)
        if worst <= 1.001 * abs(solution[-1]) or len(exchanged) < degree + 2:
            break
        reference = exchanged
    return best


def _basis(points: NDArray[np.float64], low: float, high: float, degree: int) -> NDArray[np.float64]:
    t = np.clip((2.0 * points - low - high) / (high - low), -1.0, 1.0)
    return np.asarray(np.cos(np.outer(np.arccos(t), np.arange(degree + 1))))


def _alternating_extremes(residual: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Indices of `count` extremes of alternating sign, keeping the largest; fewer if there are fewer."""
    starts = np.flatnonzero(np.diff(np.sign(residual)) != 0) + 1
    pieces = np.split(np.arange(len(residual)), starts)
    extremes = [int(piece[np.argmax(np.abs(residual[piece]))]) for piece in pieces]
    while len(extremes) > count:  # drop from the end with the smaller error; keeps the signs alternating
        extremes.pop(0 if abs(residual[extremes[0]]) < abs(residual[extremes[-1]]) else -1)
    return np.array(extremes, dtype=np.int64)
