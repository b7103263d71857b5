"""The stated errors of the default and of the published functions are the true ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ring.functions import true_error

from cipherformer.approx import newton, piecewise
from cipherformer.errors import LimitError
from cipherformer.ops.ring_published import FIXES, SETS, STATED


@pytest.mark.parametrize("name, op", sorted(STATED))
def test_stated_error_is_the_true_one(name: str, op: str):
    low, high, stated, kind = STATED[name, op]
    assert stated / 1.3 <= true_error(name, op, low, high, kind) <= stated


def test_everything_published_is_stated():
    published = {(name, op) for name, ops in SETS.items() for op in ops}
    assert published - set(STATED) == {("shaft", "softmax")}  # not a function of one number
    assert set(FIXES) == set(SETS)


def test_crypten_s_iterations_are_brought_into_their_range():
    """Their starts are good up to 253 and 321; a calibrated range beyond is halved first."""
    assert true_error("crypten", "reciprocal", 1.0, 4000.0, "relative") < 1e-6
    assert true_error("crypten", "inverse_sqrt", 4.0, 2000.0, "relative") < 5e-3


@settings(max_examples=20, deadline=None, derandomize=True)
@given(frequency=st.floats(0.1, 3.0), phase=st.floats(-3.0, 3.0), low=st.floats(-9.0, 0.0))
def test_a_function_nobody_knows_is_fitted_to_its_error(frequency: float, phase: float, low: float):
    def wave(x: np.ndarray) -> np.ndarray:
        return np.sin(frequency * x + phase) * np.tanh(x)

    fit = piecewise.fit(wave, low, 7.0, 1e-3)
    x = np.linspace(low, 7.0, 4001)
    assert np.max(np.abs(fit.evaluate(x) - wave(x))) <= 1.1e-3
    assert fit.error <= 1e-3


def test_a_function_that_cannot_be_fitted_is_refused():
    with pytest.raises(LimitError, match="more than 4 pieces"):
        piecewise.fit(np.sin, -50.0, 50.0, 1e-6, pieces=4)
    with pytest.raises(LimitError, match="too fast"):
        piecewise.fit(lambda x: np.sign(x - 0.5), 0.5, 1.0, 1e-3, degree=2)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    low=st.floats(1e-4, 1e3),
    ratio=st.floats(1.0, 1e5),
    power=st.sampled_from([-1.0, -0.5]),
    e=st.floats(1e-8, 0.1),
)
def test_newton_keeps_its_error(low: float, ratio: float, power: float, e: float):
    plan = newton.plan(low, low * ratio, e, power=power)
    x = np.geomspace(low, low * ratio, 3001)
    y = np.asarray(plan.starts)[np.searchsorted(plan.breaks, x, side="right")]
    for _ in range(plan.steps):
        y = y * (2.0 - x * y) if power == -1.0 else y * (3.0 - x * y * y) / 2.0
    assert plan.error <= e
    assert np.max(np.abs(y / x**power - 1.0)) <= plan.error + 1e-12


def test_newton_refuses_what_is_not_positive():
    with pytest.raises(LimitError, match="zero or negative"):
        newton.plan(0.0, 1.0, 1e-3, power=-1.0)


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1.0 + np.tanh(0.7978845608 * (x + 0.044715 * x**3)))


@pytest.mark.parametrize("low, high", [(-1.0, 1.0), (-2.5, 2.0), (-5.0, 4.0), (-8.0, 12.0)])
def test_a_fit_stays_near_its_function_beyond_its_ends(low: float, high: float):
    fit = piecewise.fit(gelu, low, high, 2.0**-12)
    robust = piecewise.robust(gelu, low, high, fit)
    reach = 0.4 * (high - low)
    inside, outside = np.linspace(low, high, 2001), np.array([low - reach, high + reach])
    assert np.max(np.abs(robust.evaluate(inside) - gelu(inside))) <= 1.1 * 2.0**-12
    assert np.max(np.abs(robust.evaluate(outside) - gelu(outside))) <= 0.02
    assert len(robust.breaks) <= len(fit.breaks) + 2


def test_one_polynomial_stays_one_where_it_can():
    fit = piecewise.fit(gelu, -1.0, 1.0, 2.0**-12)
    robust = piecewise.robust(gelu, -1.0, 1.0, fit)
    assert fit.breaks == robust.breaks == ()
    x = np.array([-1.5, 1.5])
    assert np.max(np.abs(robust.evaluate(x) - gelu(x))) < 0.5 * np.max(np.abs(fit.evaluate(x) - gelu(x)))


def test_an_end_without_values_stays_as_it_is():
    fit = piecewise.fit(np.log, 0.1, 4.0, 1e-4)
    assert piecewise.robust(np.log, 0.1, 4.0, fit).breaks[0] == fit.breaks[0]
