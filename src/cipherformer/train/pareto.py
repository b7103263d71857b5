"""Degrees and iteration counts from an error budget: accuracy traded against predicted cost on purpose.

Each site can be approximated coarsely and cheaply or finely and dearly. Its error is the root mean square
over a sample of what it takes, relative to the function's own; its price is that of the products of secrets
and of the levels, in seconds for one ciphertext. Going from the cheapest choice everywhere always to the
improvement with the most error removed a second walks along the convex hull of what can be had.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from cipherformer.approx.chebyshev import Function, Series
from cipherformer.approx.goldschmidt import plan_reciprocal
from cipherformer.approx.least_squares import least_squares
from cipherformer.approx.paterson_stockmeyer import plan as split
from cipherformer.errors import ParameterError
from cipherformer.kernels.count import Operation
from cipherformer.nn import fit_inverse_sqrt
from cipherformer.plan.estimate import refresh_seconds
from cipherformer.targets.bootstrap import DENSE
from cipherformer.targets.prices import PriceTable, work_of
from cipherformer.train.sites import Measured

DEGREES = (2, 3, 5, 7, 11, 15, 23, 31)
BITS = (6, 8, 10, 12, 14)
"""Relative precisions of reciprocals that are offered, as -log2."""


@dataclass(frozen=True, slots=True)
class Option:
    """One way to approximate one site.

    Args:
        size: degree of a polynomial, or steps of Goldschmidt's iteration.
        error: see the module.
        levels: multiplicative depth.
        products: of two secrets.
        seconds: predicted, one thread.
    """

    size: int
    error: float
    levels: int
    products: int
    seconds: float


@dataclass(frozen=True)
class Point:
    """A choice for every site: the square root of the sum of squared errors, levels and seconds in all."""

    options: Mapping[str, Option]

    @property
    def error(self) -> float:
        """Of all sites, as if they were independent."""
        return math.sqrt(sum(o.error**2 for o in self.options.values()))

    @property
    def levels(self) -> int:
        """Of all sites."""
        return sum(o.levels for o in self.options.values())

    @property
    def seconds(self) -> float:
        """Of all sites."""
        return sum(o.seconds for o in self.options.values())


def activation_options(
    function: Function, site: Measured, *, margin: float = 0.2, degrees: Sequence[int] = DEGREES
) -> tuple[Option, ...]:
    """A polynomial of each degree, fitted where the site's arguments lie."""
    low, high = site.widened(margin)
    points = site.samples.double().cpu().numpy()
    return _polynomials(
        function, points, degrees, lambda d: least_squares(function, low, high, d, samples=points)
    )


def inverse_sqrt_options(
    site: Measured, *, margin: float = 0.25, degrees: Sequence[int] = DEGREES
) -> tuple[Option, ...]:
    """The same for the inverse square root of a norm."""
    low, high = site.low / (1.0 + margin), site.high * (1.0 + margin)
    points = site.samples.double().cpu().numpy()
    return _polynomials(
        lambda v: 1.0 / np.sqrt(v), points, degrees, lambda d: fit_inverse_sqrt(low, high, d, site.samples)
    )


def reciprocal_options(low: float, high: float, *, bits: Sequence[int] = BITS) -> tuple[Option, ...]:
    """Goldschmidt's iteration on [low, high], to each precision; a step takes two products."""
    plans = [plan_reciprocal(low, high, 2.0**-b) for b in bits]
    return tuple(
        Option(p.iterations, p.error, p.levels, 2 * p.iterations, _price(2 * p.iterations, p.levels))
        for p in plans
    )


def frontier(sites: Mapping[str, Sequence[Option]]) -> tuple[Point, ...]:
    """From the cheapest choice to the most precise one, each step the best error removed a second.

    Args:
        sites: what each can be.
    """
    now = {name: min(options, key=lambda o: (o.seconds, o.error)) for name, options in sites.items()}
    points = [Point(dict(now))]
    while better := max(_improvements(now, sites), key=lambda found: found[0], default=None):
        now[better[1]] = better[2]
        points.append(Point(dict(now)))
    return tuple(points)


def within(points: Sequence[Point], budget: float) -> Point:
    """The cheapest point whose error is at most the budget.

    Raises:
        ParameterError: none is; says what can be reached.
    """
    good = [p for p in points if p.error <= budget]
    if not good:
        least = min(p.error for p in points)
        raise ParameterError(
            f"no degrees keep to an error budget of {budget:g}",
            why=f"the finest choice for every site has {least:.3g}",
            fix="allow more, or narrow the ranges first",
        )
    return min(good, key=lambda p: p.seconds)


def _improvements(
    now: Mapping[str, Option], sites: Mapping[str, Sequence[Option]]
) -> Iterator[tuple[float, str, Option]]:
    for name, options in sites.items():
        for option in options:
            gain = now[name].error ** 2 - option.error**2
            if gain > 0.0 and option.seconds >= now[name].seconds:
                yield gain / max(option.seconds - now[name].seconds, 1e-9), name, option


def _polynomials(
    function: Function,
    points: NDArray[np.float64],
    degrees: Sequence[int],
    fit: Callable[[int], Series],
) -> tuple[Option, ...]:
    exact = function(points)
    scale = max(float(np.sqrt(np.mean(exact**2))), 1e-12)
    out = []
    for degree in degrees:
        error = float(np.sqrt(np.mean((fit(degree)(points) - exact) ** 2))) / scale
        how = split(degree)
        out.append(Option(degree, error, how.depth, how.products, _price(how.products, how.depth)))
    return tuple(out)


def _price(products: int, levels: int) -> float:
    product, level = _prices()
    return products * product + levels * level


@cache
def _prices() -> tuple[float, float]:
    """Seconds of a product of two secrets half way up the chain, and of a level: its share of a refresh."""
    target, table = DENSE.target(), PriceTable.default()
    operation = Operation("", "ct-ct product", DENSE.output_level // 2)
    work = work_of(operation, len(target.special_moduli), target.digit_size, target.log_n)
    refresh = refresh_seconds(DENSE, 1, table, 1)
    return table.seconds(work, target.log_n), refresh / DENSE.levels_left
