"""Noise: after every operation, its size is the one that the analysis gives, neither more nor less.

All in slots, times scale: a polynomial whose coefficients have variance v has slots of variance N v. With a
ternary secret (variance 2/3 a coefficient) and sigma = 3.2:

- encryption with the secret key: sigma^2 + 1/12 (rounding of the encoding);
- with the public key: sigma^2 (1 + 4 N / 3) + 1/12;
- rescaling by q: v / q^2 + (1 + 2 N / 3) / 12;
- key switching: sum over digits of N sigma^2 D^2 / (12 P^2), D the digit's modulus, then as a rescaling by P.

Costache, Nuernberger, Player: "Optimisations and tradeoffs for HElib" (CT-RSA 2023), section 3, has the same
central-limit analysis.
"""

from __future__ import annotations

from math import prod, sqrt

import numpy as np
import pytest
from native_party import SCALE, Party, make_parameters, make_party

import cipherformer._native as native

SIGMA_2 = 3.2**2
ROUNDING = 1 / 12


@pytest.fixture(scope="module")
def noisy() -> Party:
    """P no larger than a digit, so that the noise of key switching is seen, not only that of rounding."""
    return make_party(make_parameters(12, 4, digit_size=2, special=2), (1,))


def rms(party: Party, ciphertext: native.Ciphertext, expected: np.ndarray) -> float:
    """Root mean square noise of a slot, at the ciphertext's scale."""
    return float(np.sqrt(np.mean(np.abs(party.decrypt(ciphertext) - expected) ** 2)) * ciphertext.scale)


def slots(party: Party, variance_of_a_coefficient: float) -> float:
    """Variance of a slot."""
    return party.context.params.slots * 2 * variance_of_a_coefficient


def rounded(party: Party) -> float:
    """Variance of a coefficient that dividing both parts and rounding adds."""
    return ROUNDING * (1 + 4 * party.slots / 3)


def fresh(party: Party) -> float:
    return slots(party, SIGMA_2 + ROUNDING)


def switched(party: Party, level: int) -> float:
    """Variance of a slot that a key switch adds."""
    params, n = party.context.params, 2 * party.slots
    p, digits = prod(params.special_moduli), []
    for start in range(0, level + 1, params.digit_size):
        digits.append(prod(params.moduli[start : min(start + params.digit_size, level + 1)]))
    key = sum(n * SIGMA_2 * (d / p) ** 2 / 12 for d in digits)
    return slots(party, key + rounded(party))


def assert_noise(measured: float, variance: float, slack: float = 1.15) -> None:
    """Slots are few and not independent: a tenth either way is chance; a wrong distribution is not."""
    assert sqrt(variance) / slack < measured < sqrt(variance) * slack


def test_encryption(noisy: Party) -> None:
    x = noisy.complex()
    assert_noise(rms(noisy, noisy.encrypt(x), x), fresh(noisy))
    public = noisy.context.public_key(noisy.secret.public_key().to_bytes())
    variance = slots(noisy, SIGMA_2 * (1 + 8 * noisy.slots / 3) + ROUNDING)
    assert_noise(rms(noisy, public.encrypt(noisy.encode(x)), x), variance)


def test_sums(noisy: Party) -> None:
    terms = [noisy.complex() for _ in range(6)]
    ciphertexts = [noisy.encrypt(t) for t in terms]
    assert_noise(rms(noisy, noisy.evaluator.add_many(ciphertexts), sum(terms)), 6 * fresh(noisy))
    difference = noisy.evaluator.sub(ciphertexts[0], ciphertexts[1])
    assert_noise(rms(noisy, difference, terms[0] - terms[1]), 2 * fresh(noisy))


def test_a_plain_product(noisy: Party) -> None:
    """|x|^2 averages 2/3 for a square of side 2."""
    x, y = noisy.complex(), noisy.complex()
    product = noisy.evaluator.mul_plain(noisy.encrypt(x), noisy.encode(y))
    variance = SCALE**2 * 2 / 3 * (fresh(noisy) + slots(noisy, ROUNDING))
    assert_noise(rms(noisy, product, x * y), variance)


def test_a_product(noisy: Party) -> None:
    x, y = noisy.complex(), noisy.complex()
    product = noisy.evaluator.multiply(noisy.encrypt(x), noisy.encrypt(y))
    variance = SCALE**2 * 2 / 3 * 2 * fresh(noisy) + switched(noisy, noisy.top)
    assert_noise(rms(noisy, product, x * y), variance)


@pytest.mark.parametrize("level", [1, 2, 4])
def test_a_rotation(noisy: Party, level: int) -> None:
    x = noisy.complex()
    rotated = noisy.evaluator.rotate(noisy.encrypt(x, level), 1)
    assert_noise(rms(noisy, rotated, np.roll(x, -1)), fresh(noisy) + switched(noisy, level), 1.6)


def test_a_key_switch_hides_behind_rounding_when_p_is_large() -> None:
    """The margin of 2^8 that the compiler asks for makes the key's share less than a hundredth."""
    party = make_party(make_parameters(12, 3, digit_size=1, special=2), (1,))
    x = party.complex()
    noise = rms(party, party.evaluator.rotate(party.encrypt(x), 1), np.roll(x, -1))
    assert_noise(noise, fresh(party) + slots(party, rounded(party)), 1.6)


def test_rescaling(noisy: Party) -> None:
    x = noisy.complex()
    q = noisy.context.params.moduli[noisy.top]
    rescaled = noisy.evaluator.rescale(noisy.encrypt(x, scale=SCALE * q))
    assert_noise(rms(noisy, rescaled, x), slots(noisy, rounded(noisy)))


def test_noise_of_a_chain_stays_below_its_bound(noisy: Party) -> None:
    """x^16 by squarings: a square has twice the relative noise of its root, and one more rescaling."""
    x = np.exp(1j * noisy.rng.uniform(0, 2 * np.pi, noisy.slots))
    value, variance = noisy.encrypt(x), fresh(noisy)
    for power in (2, 4, 8, 16):
        scale = value.scale
        value = noisy.evaluator.square(value)
        variance = 4 * scale**2 * variance + switched(noisy, value.level)
        q = noisy.context.params.moduli[value.level]
        value = noisy.evaluator.rescale(value)
        variance = variance / q**2 + slots(noisy, rounded(noisy))
        assert_noise(rms(noisy, value, x**power), variance, 1.6)
