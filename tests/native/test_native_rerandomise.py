"""A re-randomised answer decrypts to the same message under a flood; all else in it is fresh."""

from __future__ import annotations

import ckks_reference as reference
import numpy as np
import pytest
from native_party import Party
from scipy import stats

import cipherformer._native as native

FLOOD_BITS = 24


@pytest.fixture(scope="module")
def ring(toy: Party) -> reference.Ring:
    return reference.Ring.of(toy.context.params)


def parts(ciphertext: native.Ciphertext, ring: reference.Ring) -> list[reference.Poly]:
    return reference.read_ciphertext(ciphertext.to_bytes(), ring)[2]


@pytest.fixture(scope="module")
def public(toy: Party) -> native.PublicKey:
    return toy.context.public_key(toy.secret.public_key().to_bytes())


def test_the_flood_is_uniform_and_hides_all_other_noise(
    toy: Party, ring: reference.Ring, public: native.PublicKey
) -> None:
    """Over 40 answers: Kolmogorov-Smirnov against the uniform distribution, and beyond its ends only the
    noise of a public-key encryption (|e v + e1 s + e0| <= 29 (2 N + 1))."""
    answer = toy.encrypt(toy.real(), 1)
    modulus, secret = ring.modulus(1), reference.read_secret(toy.secret.to_bytes(), ring)

    def decrypted(ciphertext: native.Ciphertext) -> reference.Poly:
        c0, c1 = parts(ciphertext, ring)
        return reference.add(c0, reference.multiply(c1, secret, modulus), modulus)

    plain = decrypted(answer)
    flood = [
        reference.centred(d, modulus)
        for _ in range(40)
        for d in reference.sub(decrypted(public.rerandomise(answer, FLOOD_BITS)), plain, modulus)
    ]
    bound = 2**FLOOD_BITS
    assert max(map(abs, flood)) < bound + 29 * (2 * ring.n + 1)
    assert stats.kstest(np.array(flood) / bound, stats.uniform(-1, 2).cdf).pvalue > 1e-6


def test_both_parts_are_fresh(toy: Party, ring: reference.Ring, public: native.PublicKey) -> None:
    """The mask on the second part, a v + e1, is uniform: residues of 40 answers fill the modulus evenly."""
    answer = toy.encrypt(toy.real(), 1)
    modulus = ring.modulus(1)
    masks = [
        c / modulus
        for _ in range(40)
        for c in reference.sub(parts(public.rerandomise(answer, 0), ring)[1], parts(answer, ring)[1], modulus)
    ]
    assert len(set(masks)) == len(masks)
    assert stats.kstest(np.array(masks) % 1.0, stats.uniform.cdf).pvalue > 1e-6


def test_precision_falls_as_it_is_stated(party: Party) -> None:
    """The flood's slots have variance N 4^bits / 3."""
    public = party.context.public_key(party.secret.public_key().to_bytes())
    x = party.complex()
    fresh = public.rerandomise(party.encrypt(x, 1), 20)
    noise = np.sqrt(np.mean(np.abs(party.decrypt(fresh) - x) ** 2)) * fresh.scale
    assert noise == pytest.approx(np.sqrt(2 * party.slots / 3) * 2**20, rel=0.1)


def test_refusals(toy: Party, party: Party, public: native.PublicKey) -> None:
    answer = toy.encrypt(toy.real(), 1)
    with pytest.raises(ValueError, match="flood_bits is 61"):
        public.rerandomise(answer, 61)
    with pytest.raises(ValueError, match="does not fit the modulus"):
        public.rerandomise(toy.evaluator.drop_level(answer, 0), 49)
    with pytest.raises(ValueError, match="relinearise it first"):
        public.rerandomise(toy.evaluator.multiply(answer, answer, relinearise=False), 4)
    with pytest.raises(ValueError, match="parameters"):
        public.rerandomise(party.encrypt(party.real()), 4)
