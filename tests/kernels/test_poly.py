"""Chebyshev sums, powers and reciprocals against numpy, in the depth they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_rings import LEVELS, small_target

from cipherformer.approx.goldschmidt import plan_reciprocal
from cipherformer.backends.ckks_sim import SimAlgebra
from cipherformer.errors import CompileError
from cipherformer.kernels import poly, reciprocal
from cipherformer.kernels.count import CountAlgebra, Shadow

SCALE = 2.0**40


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.floats(-5, 0), st.floats(0.5, 6), st.integers(0, 2**32 - 1))
def test_chebyshev_equals_numpy_in_least_depth(degree, low, width, seed):
    rng = np.random.default_rng(seed)
    target = small_target()
    b = SimAlgebra(target)
    high = low + width
    coefficients = rng.normal(size=degree + 1) / (1 + np.arange(degree + 1))
    x = rng.uniform(low, high, target.slots)
    value = b.encrypt(x, LEVELS, SCALE / ((high - low) / 2))
    y = poly.chebyshev(b, value, coefficients, low, high, SCALE)
    wanted = np.polynomial.Chebyshev(coefficients, domain=[low, high])(x)
    assert np.allclose(y.slots, wanted, atol=1e-9)
    assert y.shadow.level == LEVELS - poly.chebyshev_depth(degree)
    assert y.shadow.scale == pytest.approx(SCALE, rel=1e-12)
    assert poly.chebyshev_depth(degree) == max(1, int(np.ceil(np.log2(degree + 1))))


@pytest.mark.parametrize("coefficients", [(0.0, 0.0, 1.0), (0.5, 0.0, 0.0, 0.0, 2.0), (0.0, 1.0, 0.0, 1.0)])
def test_sparse_polynomials(exact_slots, rng, coefficients):
    x = rng.uniform(-1, 1, exact_slots.slots)
    y = poly.chebyshev(exact_slots, exact_slots.encrypt(x, 4, SCALE), coefficients, -1.0, 1.0, SCALE)
    assert np.allclose(y.slots, np.polynomial.Chebyshev(coefficients)(x), atol=1e-9)


@pytest.mark.parametrize("exponent", range(1, 13))
def test_power(exact_slots, rng, exponent):
    x = rng.uniform(-1.2, 1.2, exact_slots.slots)
    y = poly.power(exact_slots, exact_slots.encrypt(x, LEVELS, SCALE), exponent)
    assert np.allclose(y.slots, x**exponent)
    assert y.shadow.level == LEVELS - poly.power_depth(exponent)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 3.0), st.floats(1.5, 60.0), st.integers(6, 16))
def test_reciprocal_meets_its_error(low, ratio, bits):
    target = small_target(levels=14)
    b = SimAlgebra(target)
    plan = plan_reciprocal(low, low * ratio, 2.0**-bits)
    x = np.linspace(low, low * ratio, target.slots)
    y = reciprocal.reciprocal(b, b.encrypt(x, 14, SCALE), low * ratio, plan.relaxations)
    assert np.abs(y.slots * x - 1).max() <= 2.0**-bits * 1.001
    assert y.shadow.level == 14 - reciprocal.reciprocal_depth(plan.iterations)


def test_too_few_levels_is_a_compile_error(exact_slots, rng):
    value = exact_slots.encrypt(rng.uniform(size=4), 2, SCALE)
    with pytest.raises(CompileError, match="levels"):
        poly.chebyshev(exact_slots, value, [0.0] * 8 + [1.0], -1.0, 1.0, SCALE)
    with pytest.raises(CompileError, match="levels"):
        reciprocal.reciprocal(exact_slots, value, 1.0, (1.9, 1.7, 1.4))


def test_the_counter_sees_the_operations_that_run(target, exact_slots, rng):
    coefficients = rng.normal(size=16)
    poly.chebyshev(
        exact_slots, exact_slots.encrypt(rng.uniform(size=4), 9, SCALE), coefficients, -1, 1, SCALE
    )
    counter = CountAlgebra(target.moduli, target.slots)
    poly.chebyshev(counter, Shadow(9, SCALE), coefficients, -1, 1, SCALE)
    assert counter.ledger.counts == exact_slots.ledger.counts
    assert counter.ledger.relinearise == 9


def test_sums_of_different_scales_are_refused(target):
    counter = CountAlgebra(target.moduli, target.slots)
    with pytest.raises(CompileError, match="scales"):
        counter.add(Shadow(3, SCALE), Shadow(3, SCALE * 1.01))
