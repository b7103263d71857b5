"""Piecewise polynomials of bounded degree: any smooth function of one number, tails included.

An interval is cut, from the left, into the longest pieces on which one polynomial does. A piece is short
(half-width at most 1, so that fixed-point powers of x - centre stay bounded) or of low degree. Private
evaluation selects the coefficients by comparisons and runs one Horner chain, whatever the number of pieces
(the idea of NFGen: Fan et al., CCS 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.polynomial import chebyshev, polynomial
from numpy.typing import NDArray

from cipherformer.errors import LimitError

Floats = NDArray[np.float64]
Function = Callable[[Floats], Floats]

_GRID = 201
_BISECTIONS = 10

_REACH = 0.5
"""Of the interval's length: as far beyond an end a line is fitted."""
_LONGER = 0.25
"""Of the interval's length: as far beyond its ends one polynomial is fitted."""
_EDGE = 0.01
"""Of the interval's length: where a line begins, so that rounding at the end itself finds the inner piece."""
_HARMLESS = 8.0
"""An outermost piece within this many times the error asked for needs no line."""


@dataclass(frozen=True, slots=True)
class Piecewise:
    """`sum_k coefficients[j][k] (x - centres[j])^k` on piece j.

    Args:
        breaks: where piece j ends and j + 1 begins, ascending.
        centres: of the pieces, one more than breaks; 0 for the outermost affine ones.
        coefficients: for each piece, constant first, all of equal length.
        error: largest absolute error on the fitted interval.
        target: the error that was asked for.
    """

    breaks: tuple[float, ...]
    centres: tuple[float, ...]
    coefficients: tuple[tuple[float, ...], ...]
    error: float
    target: float

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
    breaks, worst = tuple(b for _, b, _, _ in found[:-1]), max(w for *_, w in found)
    return Piecewise(breaks, tuple(centres), tuple(rows), worst, error)


def robust(function: Function, low: float, high: float, found: Piecewise, *, right: bool = True) -> Piecewise:
    """A fit that stays near the function beyond the ends, too: calibration sees some inputs, not all.

    One polynomial, which needs no look-up, is fitted on a longer interval if that costs no accuracy.
    Otherwise straight lines stand beyond the ends at which the polynomials would run away. An end where the
    function is not finite is left as it is.

    Args:
        function: that was fitted.
        low: left end.
        high: right end.
        found: the fit on [low, high].
        right: whether values may lie beyond the right end.
    """
    reach, edge = _REACH * (high - low), _EDGE * (high - low)
    if not found.breaks:
        longer = _longer(function, low, high, found, right=right)
        if longer is not found:
            return longer
    found = _with_line(found, function, low - reach, low - edge, left=True)
    return _with_line(found, function, high + edge, high + reach, left=False) if right else found


def _longer(function: Function, low: float, high: float, found: Piecewise, *, right: bool) -> Piecewise:
    """One polynomial fitted on a longer interval, if it keeps the error on [low, high]."""
    degree, more = len(found.coefficients[0]) - 1, _LONGER * (high - low)
    first, last = low - more, high + more * right
    with np.errstate(all="ignore"):
        row, worst = _interpolated(function, first, last, degree)
    if not worst <= _HARMLESS * found.target:  # nan: outside the function's domain
        return found
    centre = 0.0 if degree == 1 else (first + last) / 2.0
    longer = replace(found, centres=(centre,), coefficients=(_padded(row, degree + 1),))
    grid = np.linspace(low, high, _GRID)
    error = float(np.max(np.abs(longer.evaluate(grid) - function(grid))))
    return replace(longer, error=error) if error <= found.target else found


def _with_line(found: Piecewise, function: Function, first: float, last: float, *, left: bool) -> Piecewise:
    """With a line on [first, last] and beyond, if the outermost piece is far off there and a line less."""
    grid = np.linspace(first, last, _GRID)
    with np.errstate(all="ignore"):
        values = np.asarray(function(grid))
    if not np.isfinite(values).all():
        return found
    line, worst = _interpolated(function, first, last, 1)
    here = float(np.max(np.abs(found.evaluate(grid) - values)))
    if here <= max(_HARMLESS * found.target, worst):
        return found
    end, row = last if left else first, _padded(line, len(found.coefficients[0]))
    parts = ((end,), (0.0,), (row,))
    old = (found.breaks, found.centres, found.coefficients)
    breaks, centres, rows = (new + kept if left else kept + new for new, kept in zip(parts, old, strict=True))
    return replace(found, breaks=breaks, centres=centres, coefficients=rows)


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
