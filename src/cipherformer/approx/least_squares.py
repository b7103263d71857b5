"""Polynomials that fit a function best where its arguments really lie."""

from __future__ import annotations

import numpy as np
from numpy.polynomial import chebyshev as numpy_chebyshev
from numpy.typing import NDArray

from cipherformer.approx.chebyshev import Function, Series, check_interval, series


def least_squares(
    function: Function,
    low: float,
    high: float,
    degree: int,
    *,
    samples: NDArray[np.float64] | None = None,
    everywhere: float = 0.02,
    relative: bool = False,
) -> Series:
    """The polynomial of least mean square error, over samples and, with a small weight, the whole interval.

    Args:
        function: to be fitted.
        low: left end of the interval.
        high: right end.
        degree: of the polynomial.
        samples: arguments that occur; those outside the interval count. None: evenly spread ones alone.
        everywhere: weight of 2000 evenly spread points, as a share of the samples'.
        relative: errors count in proportion to the function, as in an inverse square root.
    """
    check_interval(low, high)
    even = np.linspace(low, high, 2000)
    points, weights = even, np.full(even.size, 1.0 / even.size)
    if samples is not None and samples.size:
        points = np.concatenate([samples.ravel(), even])
        weights = np.concatenate([np.full(samples.size, 1.0 / samples.size), everywhere * weights])
    target, root = function(points), np.sqrt(weights)
    if relative:
        root = root / np.maximum(np.abs(target), 1e-12)
    basis = numpy_chebyshev.chebvander((2.0 * points - low - high) / (high - low), degree)
    found = np.linalg.lstsq(basis * root[:, None], target * root, rcond=None)[0]
    return series(function, found, low, high)
