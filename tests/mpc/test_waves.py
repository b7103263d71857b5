"""Sums of waves: the stated error is the true one, and integers follow it on every mask."""

from __future__ import annotations

import numpy as np
import pytest
from ring.functions import true_error

from cipherformer.approx import fourier
from cipherformer.errors import LimitError


@pytest.mark.parametrize(
    "op, low, high, error",
    [
        ("gelu", -8.0, 8.0, 2.0**-12),
        ("silu", -12.0, 12.0, 2.0**-12),
        ("tanh", -6.0, 6.0, 2.0**-12),
        ("sigmoid", -12.0, 12.0, 2.0**-12),
        ("erf", -4.0, 4.0, 2.0**-12),
        ("exp", -16.0, 0.0, 2.0**-12),
        ("exp", -200.0, 0.0, 2.0**-12),
        ("tanh", -60.0, 60.0, 2.0**-12),
    ],
)
def test_lowerings_keep_their_error(op: str, low: float, high: float, error: float):
    assert true_error("masked", op, low, high, "absolute") <= error


@pytest.mark.parametrize("op, low, high", [("reciprocal", 1.0, 512.0), ("inverse_sqrt", 1e-3, 1e3)])
def test_reciprocals_keep_their_error(op: str, low: float, high: float):
    assert true_error("masked", op, low, high, "relative") <= 2.0**-13


@pytest.mark.parametrize("log_size", [3, 8, 16, 21])
def test_integer_cosines(log_size: int):
    found = fourier.integer_cosines(log_size)
    wanted = 2.0**30 * np.cos(2.0 * np.pi * np.arange(1 << log_size) / (1 << log_size))
    assert found.shape == wanted.shape
    assert np.max(np.abs(found - wanted)) <= 4.0


def test_integers_follow_the_function_whatever_the_mask():
    waves = fourier.fit(np.tanh, -6.0, 6.0, 1e-4)
    integers = fourier.IntegerWaves(waves, 16)
    rng = np.random.default_rng(0)
    x = rng.integers(-6 << 16, 6 << 16, size=20_000)
    for mask in (np.zeros(x.shape, np.uint64), rng.integers(0, 2**64, size=x.shape, dtype=np.uint64)):
        found = integers.evaluate(x, mask) / 2.0**fourier.RESULT_BITS
        assert np.max(np.abs(found - np.tanh(x / 2.0**16))) < 1e-4 + 4e-4


def test_what_needs_too_many_waves_is_refused():
    with pytest.raises(LimitError, match="more than 48 waves"):
        fourier.fit(np.sign, -1.0, 1.5, 1e-3)
