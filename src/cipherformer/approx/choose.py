"""Choose the degree of a polynomial from an error budget."""

from __future__ import annotations

import numpy as np

from cipherformer.approx.chebyshev import Function, Series, fit
from cipherformer.approx.remez import minimax
from cipherformer.errors import LimitError


def fit_to_error(
    function: Function, low: float, high: float, error: float, max_degree: int, *, what: str = "function"
) -> Series:
    """The series of the smallest degree whose error is at most `error`: the better of interpolation and
    minimax.

    Raises:
        LimitError: no degree up to `max_degree` reaches the error; says which error the largest degree has.
    """
    best = fit(function, low, high, max(1, max_degree))
    for degree in range(1, max_degree + 1):
        plain = fit(function, low, high, degree)
        if plain.error > error * (2.0 + 2.0 / np.pi * np.log(degree + 1.0)) and plain.error > 4.0 * error:
            continue  # minimax cannot gain more than that factor
        best = min(plain, minimax(function, low, high, degree), key=lambda s: s.error)
        if best.error <= error:
            return best
    raise LimitError(
        f"{what} on [{low:.4g}, {high:.4g}] needs a polynomial of degree above {max_degree}",
        why=f"the error at degree {best.degree} is {best.error:.3g}, the budget is {error:.3g}",
        fix="train with a range loss so that the interval shrinks, or allow a larger error or degree",
    )
