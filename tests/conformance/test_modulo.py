"""EvalMod's cosine: its stated error, and how rarely it fails."""

from __future__ import annotations

from math import inf, log2

import numpy as np
import pytest

from cipherformer.approx.modulo import fit_cosine, overflow_log2


@pytest.mark.parametrize(("multiples", "log_ratio", "bits"), [(14, 10, 19.2), (12, 10, 19.2), (14, 12, 22.5)])
def test_the_stated_error_holds_between_its_grid_points(multiples, log_ratio, bits):
    cosine = fit_cosine(multiples, log_ratio=log_ratio)
    rng = np.random.default_rng(3)
    e = rng.uniform(-1, 1, (2 * multiples + 1, 400)) * 2.0**-log_ratio
    found = cosine(np.arange(-multiples, multiples + 1)[:, None] + e)
    error = np.abs(found - e).max() * 2.0**log_ratio
    assert error <= 1.02 * cosine.error
    assert -log2(cosine.error) >= bits
    assert cosine.levels == 8


def test_the_gain_takes_three_quarters_of_the_cubic_term():
    e = np.linspace(-1, 1, 101) * 2.0**-10
    sine = np.sin(2 * np.pi * e) / (2 * np.pi)
    assert np.abs(fit_cosine(8).gain * sine - e).max() == pytest.approx(np.abs(sine - e).max() / 4, rel=0.01)


def test_overflow_bounds_what_is_drawn():
    rng = np.random.default_rng(5)
    weight, count = 32, 1 << 18
    sums = np.abs(np.rint(rng.uniform(-0.5, 0.5, (weight + 1, count)).sum(axis=0)))
    for multiples in (3, 4, 5):
        seen = float((sums > multiples).mean())
        stated = 2.0 ** (overflow_log2(multiples, weight, 1 << 16) - 16)
        assert 0.5 * stated < seen < 1.5 * stated


def test_overflow_falls_to_never():
    chances = [overflow_log2(k, 32, 1 << 16) for k in range(10, 18)]
    assert chances == sorted(chances, reverse=True)
    assert chances[4] == pytest.approx(-72.7, abs=0.1)
    assert chances[-1] == -inf  # no sum of 33 halves is that large
