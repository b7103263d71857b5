"""Approximations against recomputed errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import chebyshev as numpy_chebyshev

from cipherformer.approx import chebyshev, goldschmidt, paterson_stockmeyer, remez
from cipherformer.approx.choose import fit_to_error
from cipherformer.errors import LimitError, ParameterError

few = settings(max_examples=25, deadline=None, derandomize=True)
intervals = st.tuples(st.floats(-5.0, 1.0), st.floats(0.5, 6.0)).map(lambda p: (p[0], p[0] + p[1]))


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0.0)


@few
@given(interval=intervals, coefficients=st.lists(st.floats(-3, 3), min_size=1, max_size=12))
def test_evaluate_is_the_chebyshev_sum(interval: tuple[float, float], coefficients: list[float]):
    low, high = interval
    x = np.linspace(low, high, 50)
    wanted = numpy_chebyshev.chebval((2.0 * x - low - high) / (high - low), coefficients)
    np.testing.assert_allclose(chebyshev.evaluate(coefficients, low, high, x), wanted, atol=1e-10)


@few
@given(interval=intervals, degree=st.integers(1, 20))
def test_stated_errors_hold_on_other_points(interval: tuple[float, float], degree: int):
    low, high = interval
    x = np.random.default_rng(degree).uniform(low, high, 5000)
    for function in (np.tanh, relu):
        for series in (
            chebyshev.fit(function, low, high, degree),
            remez.minimax(function, low, high, degree),
        ):
            assert np.max(np.abs(series(x) - function(x))) <= 1.02 * series.error + 1e-12


@few
@given(interval=intervals, degree=st.integers(1, 24))
def test_minimax_is_at_least_as_good_as_interpolation(interval: tuple[float, float], degree: int):
    low, high = interval
    assert remez.minimax(relu, low, high, degree).error <= chebyshev.fit(relu, low, high, degree).error


def test_minimax_error_of_known_cases():
    assert remez.minimax(np.abs, -1.0, 1.0, 2).error == pytest.approx(1 / 8, rel=1e-3)
    assert remez.minimax(np.exp, -1.0, 1.0, 1).error == pytest.approx(0.27880, rel=1e-3)
    cubic = remez.minimax(lambda x: x**3, -1.0, 1.0, 2)
    assert cubic.error == pytest.approx(1 / 4, rel=1e-3)  # x^3 - p is T_3 / 4


def test_an_even_function_has_no_odd_coefficients():
    assert all(c == 0.0 for c in chebyshev.fit(np.cos, -2.0, 2.0, 9).coefficients[1::2])


def test_degree_is_the_smallest_that_meets_the_budget():
    series = fit_to_error(np.tanh, -4.0, 4.0, 0.01, 31)
    assert series.error <= 0.01
    assert remez.minimax(np.tanh, -4.0, 4.0, series.degree - 1).error > 0.01


def test_levels_are_the_depth_of_a_power_of_two():
    assert [chebyshev.Series((1.0,) * n, -1.0, 1.0, 0.0).levels for n in (2, 3, 4, 5, 8, 9)] == [
        1,
        2,
        2,
        3,
        3,
        4,
    ]


def test_an_impossible_budget_says_what_was_reached():
    with pytest.raises(LimitError, match=r"relu on \[-3, 3\].*above 7(.|\n)*error at degree 7"):
        fit_to_error(relu, -3.0, 3.0, 1e-3, 7, what="relu")


def test_an_empty_interval_is_refused():
    with pytest.raises(ParameterError, match="not an interval"):
        chebyshev.fit(np.tanh, 1.0, 1.0, 3)


plans = {
    "reciprocal": (goldschmidt.plan_reciprocal, goldschmidt.evaluate, lambda x: 1.0 / x),
    "inverse_sqrt": (goldschmidt.plan_inverse_sqrt, goldschmidt.evaluate_inverse_sqrt, lambda x: x**-0.5),
}


@pytest.mark.parametrize("name", plans)
@few
@given(low=st.floats(1e-4, 1e3), ratio=st.floats(1.0, 1e4), error=st.floats(1e-9, 0.3))
def test_iterations_meet_the_error_and_state_it_exactly(name: str, low: float, ratio: float, error: float):
    plan_for, evaluate, function = plans[name]
    plan = plan_for(low, low * ratio, error)
    x = np.append(np.geomspace(low, low * ratio, 20001), low)
    worst = np.max(np.abs(evaluate(plan, x) / function(x) - 1.0))
    assert worst == pytest.approx(plan.error, rel=1e-3, abs=1e-9)
    assert plan.error <= error
    if plan.iterations:
        assert len(plan.relaxations) == plan.iterations


def test_relaxation_halves_the_steps_on_wide_intervals():
    relaxed = goldschmidt.plan_reciprocal(1e-3, 1.0, 2.0**-12).iterations
    lowest, plain = 1e-3, 0
    while 1.0 - lowest > 2.0**-12:
        lowest, plain = lowest * (2.0 - lowest), plain + 1
    assert plain == 14
    assert relaxed <= 8


def test_the_bound_that_training_promises_fits_the_level_budget():
    assert goldschmidt.plan_reciprocal(1.0, 32.0, 2.0**-20).levels <= 8


@pytest.mark.parametrize("interval", [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0), (1.0, float("inf"))])
def test_intervals_without_an_inverse_are_refused(interval: tuple[float, float]):
    with pytest.raises(ParameterError, match="positive"):
        goldschmidt.plan_reciprocal(*interval, 1e-3)


@dataclass(frozen=True)
class Counted:
    """A number that knows its depth; `products` counts products of two such numbers."""

    value: float
    depth: int
    products: list[int]
    scaled: bool = False  # times a coefficient, which costs a level that a sum shares

    def level(self) -> int:
        return self.depth + self.scaled

    def __mul__(self, other: Counted | float) -> Counted:
        if isinstance(other, Counted):
            self.products[0] += 1
            deeper = max(self.level(), other.level())
            return Counted(self.value * other.value, deeper + 1, self.products)
        return Counted(self.value * other, self.depth, self.products, scaled=abs(other) != 1.0)

    def __add__(self, other: Counted | float) -> Counted:
        if not isinstance(other, Counted):
            return Counted(self.value + other, self.depth, self.products, self.scaled)
        level = max(self.level(), other.level())
        scaled = (self.scaled or other.scaled) and max(self.depth, other.depth) < level
        return Counted(self.value + other.value, level - scaled, self.products, scaled)


@pytest.mark.parametrize("degree", [*range(1, 34), 47, 63, 100])
def test_a_split_takes_the_depth_and_the_products_it_states(degree: int):
    split = paterson_stockmeyer.plan(degree)
    coefficients = np.random.default_rng(degree).normal(size=degree + 1)
    t = Counted(0.37, 0, [0])
    result = paterson_stockmeyer.evaluate(split, list(coefficients), t)
    assert result.value == pytest.approx(numpy_chebyshev.chebval(0.37, coefficients))
    assert t.products[0] == split.products
    assert result.level() == split.depth == int(np.ceil(np.log2(degree + 1)))
