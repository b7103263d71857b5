"""Removing multiples of q_0 (EvalMod): a cosine whose angle is doubled.

For x = i + e, i an integer of at most `multiples` and e small, sin(2 pi x) / (2 pi) is nearly e. With the
shift x - 1/4 the sine becomes a cosine, which is even: a polynomial in v = T_2(u), u = (x - 1/4) / half,
needs half the products of one in u. cos(2 theta) = 2 cos(theta)^2 - 1 is used `doublings` times, so the
polynomial is fitted on 2^doublings fewer periods. Sources: Han and Ki, CT-RSA 2020; Bossuat et al.,
EUROCRYPT 2021.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import comb, factorial, inf, log2, pi

import numpy as np
from numpy.typing import NDArray

from cipherformer.approx import chebyshev


@dataclass(frozen=True, slots=True)
class Cosine:
    """cos(2 pi (x - 1/4)) on [-multiples - e, multiples + e], as a series and doublings.

    Args:
        coefficients: Chebyshev, in v = T_2(u).
        half: u = (x - 1/4) / half is in [-1, 1].
        doublings: how often the angle is doubled.
        multiples: largest integer that x may be near.
        log_ratio: |e| <= 2^-log_ratio.
        gain: e is nearest to gain * sin(2 pi x) / (2 pi); 1/4 of the cubic term is left.
        error: largest |gain * (result) / (2 pi) - e| * 2^log_ratio near the integers.
    """

    coefficients: tuple[float, ...]
    half: float
    doublings: int
    multiples: int
    log_ratio: int
    gain: float
    error: float

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the encrypted evaluation gives, without its noise: about e."""
        u = (np.asarray(x) - 0.25) / self.half
        y = chebyshev.evaluate(self.coefficients, -1.0, 1.0, 2.0 * u * u - 1.0)
        for _ in range(self.doublings):
            y = 2.0 * y * y - 1.0
        return y * (self.gain / (2.0 * pi))

    @property
    def levels(self) -> int:
        """Multiplicative depth: T_2, the series, the doublings."""
        return 1 + (len(self.coefficients) - 1).bit_length() + self.doublings


def fit_cosine(multiples: int, *, doublings: int = 3, degree: int = 15, log_ratio: int = 10) -> Cosine:
    """The even polynomial of degree 2 * `degree` in u by interpolation at the Chebyshev nodes of v.

    The default's error is 2^-19.3, nearly all of it what a sine differs from a line; see `Cosine.gain`.

    >>> round(-log2(fit_cosine(14).error), 1)
    19.3
    """
    half = multiples + 0.25 + 2.0 ** (1 - log_ratio)

    def wanted(v: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.cos(2.0 * pi * half * np.sqrt(np.maximum(v + 1.0, 0.0) / 2.0) / 2.0**doublings)

    series = chebyshev.fit(wanted, -1.0, 1.0, degree)
    # sin(t) / t falls from 1 to 1 - t^2/6: the best line misses the cubic by a quarter (T_3 / 4 on [0, 1]).
    gain = 1.0 + 0.75 * (2.0 * pi * 2.0**-log_ratio) ** 2 / 6.0
    cosine = Cosine(series.coefficients, half, doublings, multiples, log_ratio, gain, 0.0)
    e = np.linspace(-1.0, 1.0, 65) * 2.0**-log_ratio
    found = cosine(np.arange(-multiples, multiples + 1)[:, None] + e)
    error = float(np.max(np.abs(found - e))) * 2.0**log_ratio
    return Cosine(series.coefficients, half, doublings, multiples, log_ratio, gain, error)


def overflow_log2(multiples: int, weight: int, ring_degree: int) -> float:
    """log2 of (a bound of) the probability that some coefficient of the raised ciphertext has a larger
    multiple of q_0 than `multiples`, for a ternary secret with `weight` non-zeros.

    A coefficient is a sum of weight + 1 uniform numbers in [-1/2, 1/2] (times q_0): Irwin-Hall's tail, times
    the number of coefficients.

    >>> round(overflow_log2(14, 32, 1 << 16))
    -73
    """
    terms = weight + 1
    x = Fraction(terms, 2) - multiples - Fraction(1, 2)
    if x <= 0:
        return -inf
    tail = sum((-1) ** j * comb(terms, j) * (x - j) ** terms for j in range(int(x) + 1))
    return log2(2 * ring_degree * tail / factorial(terms))
