"""Piecewise polynomials of bounded degree: any smooth function of one number, tails included.

An interval is cut, from the left, into the longest pieces on which one polynomial does. A piece is short
(half-width at most 1, so that fixed-point powers of x - centre stay bounded) or of low degree. Private
evaluation selects the coefficients by comparisons and runs one Horner chain, whatever the number of pieces
(the idea of NFGen: Fan et al., CCS 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.polynomial import chebyshev, polynomial
from numpy.typing import NDArray

from cipherformer.errors import LimitError

Floats = NDArray[np.float64]
Function = Callable[[Floats], Floats]

_GRID = 201
_BISECTIONS = 10


@dataclass(frozen=True, slots=True)
class Piecewise:
    """`sum_k coefficients[j][k] (x - centres[j])^k` on piece j.

    Args:
        breaks: where piece j ends and j + 1 begins, ascending.
        centres: of the pieces, one more than breaks; 0 for the outermost affine ones.
        coefficients: for each piece, constant first, all of equal length.
        error: largest absolute error on the fitted interval.
    """

    breaks: tuple[float, ...]
    centres: tuple[float, ...]
    coefficients: tuple[tuple[float, ...], ...]
    error: float

    def evaluate(self, x: Floats) -> Floats:
        """Values in float64; outside the fitted interval the outermost pieces go on."""
        piece = np.searchsorted(self.breaks, x, side="right")
        centred = x - np.asarray(self.centres)[piece]
        table = np.asarray(self.coefficients)
        out = np.zeros_like(centred)
        for k in reversed(range(table.shape[1])):
            out = out * centred + table[piece, k]
        return np.asarray(out)


def fit(
    function: Function,
    low: float,
    high: float,
    error: float,
    *,
    degree: int = 6,
    pieces: int = 64,
    breaks: Sequence[float] = (),
    wide: int = 1,
) -> Piecewise:
    """Cover [low, high] with as few pieces as the greedy sweep needs.

    Args:
        function: real, continuous on the interval but for `breaks`.
        low: left end.
        high: right end.
        error: largest absolute error.
        degree: of each piece, at most.
        pieces: at most so many.
        breaks: where the function may have a kink or a jump; it takes its right piece's value there.
        wide: largest degree of pieces of any length.

    Raises:
        LimitError: more pieces would be needed, or the function is not finite.
    """
    _check_finite(function, low, high)
    found: list[tuple[float, float, Floats, float]] = []
    for start, end in pairwise([low, *sorted({b for b in breaks if low < b < high}), high]):
        last, stop = end if end == high else float(np.nextafter(end, -np.inf)), -np.inf
        while stop < last:
            if len(found) == pieces:
                raise LimitError(
                    f"a function on [{low:.4g}, {high:.4g}] needs more than {pieces} pieces"
                    f" of degree {degree}",
                    why=f"they reach {start:.4g} with an error of {error:.3g}",
                    fix="allow a larger error, or shrink the interval",
                )
            stop, coefficients, worst = _longest(function, start, last, error, degree, wide)
            found.append((start, stop if stop < last else end, coefficients, worst))
            start = stop
    length = max(len(c) for _, _, c, _ in found)
    rows = [_padded(c, length) for _, _, c, _ in found]
    centres = [0.0 if len(c) <= 2 else (a + b) / 2.0 for a, b, c, _ in found]
    return Piecewise(
        tuple(b for _, b, _, _ in found[:-1]), tuple(centres), tuple(rows), max(w for *_, w in found)
    )


def _check_finite(function: Function, low: float, high: float) -> None:
    grid = np.linspace(low, high, _GRID)
    wrong = grid[~np.isfinite(function(grid))]
    if wrong.size:
        raise LimitError(
            f"a function on [{low:.4g}, {high:.4g}] is not finite",
            why=f"it has no value at {wrong[0]:.4g}",
            fix="keep its argument where it is defined, for example by adding a constant",
        )


def _padded(row: Floats, length: int) -> tuple[float, ...]:
    return (*map(float, row), *([0.0] * (length - len(row))))


def _longest(
    function: Function, start: float, end: float, error: float, degree: int, wide: int
) -> tuple[float, Floats, float]:
    """The right end of the longest piece from `start`, its coefficients and its error."""
    best: tuple[float, Floats, float] | None = None
    orders = [(order, end) for order in range(1, wide + 1)]
    for order, reach in (*orders, (degree, min(end, start + 2.0))):
        good, bad = start, reach
        for step in range(_BISECTIONS):
            stop = reach if step == 0 else (good + bad) / 2.0
            coefficients, worst = _interpolated(function, start, stop, order)
            if worst <= error:
                if best is None or stop > best[0]:
                    best = (stop, coefficients, worst)
                good = stop
                if step == 0:
                    break
            else:
                bad = stop
    if best is None:
        raise LimitError(
            f"a function changes too fast at {start:.4g}",
            why=f"no polynomial of degree {degree} is within {error:.3g} of it to the right of that point",
            fix="allow a larger error",
        )
    return best


def _interpolated(function: Function, low: float, high: float, degree: int) -> tuple[Floats, float]:
    """Monomial coefficients in x - centre (in x if affine), and the largest error on a grid."""
    half, centre = (high - low) / 2.0 or 1.0, (high + low) / 2.0
    series = chebyshev.chebinterpolate(lambda t: function(centre + half * t), degree)
    monomials = chebyshev.cheb2poly(series)  # without trailing zeros
    shifted = np.pad(monomials, (0, degree + 1 - len(monomials))) / half ** np.arange(degree + 1)
    if degree == 1:
        shifted, centre = np.array([shifted[0] - shifted[1] * centre, shifted[1]]), 0.0
    grid = np.linspace(low, high, _GRID)
    worst = float(np.max(np.abs(polynomial.polyval(grid - centre, shifted) - function(grid))))
    return shifted, worst
