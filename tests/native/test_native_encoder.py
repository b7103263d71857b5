"""Encoding and decoding: accuracy, ranges, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from native_party import SCALE, Party

import cipherformer._native as native

# A slot sums N = 4096 rounding errors of deviation 0.29: eight deviations of 18.5.
ROUNDING = 148 * 2.0**-40


def test_round_trip_of_complex_and_real_slots(party: Party) -> None:
    for values in (party.complex(), party.real()):
        assert np.abs(party.context.decode(party.encode(values)) - values).max() < ROUNDING


@pytest.mark.parametrize("log_period", range(12))
def test_short_vectors_are_tiled(party: Party, log_period: int) -> None:
    values = party.complex(2**log_period)
    plaintext = party.encode(values)
    assert plaintext.period == 2**log_period
    tiled = np.tile(values, party.slots >> log_period)
    assert np.abs(party.context.decode(plaintext) - tiled).max() < ROUNDING


def test_short_vectors_take_less_memory(party: Party) -> None:
    assert party.encode(party.real(64)).memory_bytes * 32 == party.encode(party.real()).memory_bytes


def test_slots_multiply_pointwise_as_polynomials_do(party: Party) -> None:
    """The embedding is a ring homomorphism: a wrong slot order would still round-trip, but not multiply."""
    a, b = party.complex(), party.complex()
    product = party.evaluator.mul_plain(party.encrypt(a), party.encode(b))
    assert party.error(product, a * b) < 2**-25


@pytest.mark.parametrize("log_scale", [20, 45, 51, 53, 60, 75, 98])
def test_scales_up_to_the_slow_path(party: Party, log_scale: int) -> None:
    values = party.complex()
    decoded = party.context.decode(party.encode(values, scale=2.0**log_scale))
    tolerance = max(148 * 2.0**-log_scale, 1e-13)
    assert np.abs(decoded - values).max() < tolerance


def test_large_constants_are_exact(party: Party) -> None:
    """Constants have one coefficient, so the integer is exactly value * scale."""
    for value in (1.0, -3.0, 2.0**57 - 2.0**10, -(2.0**99)):
        assert party.context.decode(party.encode(np.array([value]), scale=1.0))[0] == value


def test_magnitudes_above_a_modulus(party: Party) -> None:
    values = 1e4 * party.complex()
    assert np.abs(party.context.decode(party.encode(values)) - values).max() < 1e4 * 2**-30


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("position", [0, 17, 2047])
def test_values_that_are_not_numbers_are_refused(party: Party, bad: float, position: int) -> None:
    values = party.real()
    values[position] = bad
    imaginary = np.zeros(party.slots, complex)
    imaginary.imag = values
    with pytest.raises(ValueError, match="encode"):
        party.encode(values)
    with pytest.raises(ValueError, match="encode"):
        party.encode(imaginary)


def test_overflow_is_refused(party: Party) -> None:
    one = np.array([1.0])
    with pytest.raises(ValueError, match="does not fit"):
        party.encode(one, level=0, scale=2.0**50)
    party.encode(one, level=0, scale=2.0**48)
    with pytest.raises(ValueError, match="limit 2\\^100"):
        party.encode(one, scale=2.0**100)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_bad_scales_are_refused(party: Party, scale: float) -> None:
    with pytest.raises(ValueError, match="scale"):
        party.encode(np.array([1.0]), scale=scale)


@pytest.mark.parametrize("length", [0, 3, 4096, 2047])
def test_bad_lengths_are_refused(party: Party, length: int) -> None:
    with pytest.raises(ValueError, match="power of two of at most 2048"):
        party.encode(np.zeros(length))


def test_bad_levels_and_types_are_refused(party: Party) -> None:
    with pytest.raises(ValueError, match="level 6"):
        party.encode(np.zeros(1), level=6)
    for values in (np.zeros(4, np.float32), np.zeros((2, 2)), [0.0, 1.0]):
        with pytest.raises(TypeError):
            party.context.encode(values, 1, SCALE)


def test_decode_refuses_other_parameters(party: Party, toy: Party) -> None:
    with pytest.raises(ValueError, match="digests differ"):
        toy.context.decode(party.encode(party.real()))


@pytest.mark.parametrize("kernels", native.cpu_kernels())
def test_every_path_encodes_the_same_bits(party: Party, kernels: str) -> None:
    other = native.Context(party.context.params, 2, kernels)
    values = party.complex()
    zero = party.encrypt(np.zeros(party.slots))
    keys = native.KeySet(other)
    moved = native.Evaluator(other, keys).add_plain(
        other.ciphertext(zero.to_bytes()), other.encode(values, party.top, SCALE)
    )
    assert moved.to_bytes() == party.evaluator.add_plain(zero, party.encode(values)).to_bytes()
