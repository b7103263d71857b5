"""Microsoft SEAL, an independent CKKS, as the reference for decrypted results of the leveled operations."""

from __future__ import annotations

import numpy as np
import pytest
from native_party import Party, make_party

import cipherformer._native as native

seal = pytest.importorskip("tenseal.sealapi")

LOG_N, SCALE, SLOTS = 13, 2.0**30, 4096
BITS = [45, 30, 30, 30]  # and one special prime: 60 bits in SEAL, 50 here
BOUND = 2.0**-13  # at 30-bit scales; SEAL encrypts with the public key: 2^-16


class SealParty:
    """Keys, encryption and evaluation in SEAL."""

    def __init__(self) -> None:
        parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.CKKS)
        parameters.set_poly_modulus_degree(2**LOG_N)
        parameters.set_coeff_modulus(seal.CoeffModulus.Create(2**LOG_N, [*BITS, 60]))
        self.context = seal.SEALContext(parameters, True, seal.SEC_LEVEL_TYPE.TC128)
        generator = seal.KeyGenerator(self.context)
        self.relinearisation, self.galois, public = seal.RelinKeys(), seal.GaloisKeys(), seal.PublicKey()
        generator.create_relin_keys(self.relinearisation)
        generator.create_galois_keys(self.galois)
        generator.create_public_key(public)
        self.encoder = seal.CKKSEncoder(self.context)
        self.encryptor = seal.Encryptor(self.context, public)
        self.decryptor = seal.Decryptor(self.context, generator.secret_key())
        self.evaluator = seal.Evaluator(self.context)

    def encode(self, values: np.ndarray) -> object:
        plaintext = seal.Plaintext()
        self.encoder.encode(list(map(complex, values)), SCALE, plaintext)
        return plaintext

    def encrypt(self, values: np.ndarray) -> object:
        ciphertext = seal.Ciphertext()
        self.encryptor.encrypt(self.encode(values), ciphertext)
        return ciphertext

    def decrypt(self, ciphertext: object) -> np.ndarray:
        plaintext = seal.Plaintext()
        self.decryptor.decrypt(ciphertext, plaintext)
        return np.array(self.encoder.decode_complex(plaintext))


@pytest.fixture(scope="module")
def other() -> SealParty:
    return SealParty()


@pytest.fixture(scope="module")
def ours() -> Party:
    primes = native.generate_primes(LOG_N, [*BITS, 50])
    return make_party(native.Parameters(LOG_N, primes[:4], primes[4:], 1), (1, 7))


def close(ours: Party, mine: native.Ciphertext, theirs: np.ndarray) -> bool:
    return float(np.abs(ours.decrypt(mine) - theirs).max()) < BOUND


def test_slot_order_and_leveled_operations(ours: Party, other: SealParty) -> None:
    x, y = ours.complex(), ours.complex()
    a, b = ours.encrypt(x, scale=SCALE), ours.encrypt(y, scale=SCALE)
    evaluator = ours.evaluator

    c = other.encrypt(x)
    other.evaluator.add_inplace(c, other.encrypt(y))
    assert close(ours, evaluator.add(a, b), other.decrypt(c))

    c = other.encrypt(x)
    other.evaluator.multiply_plain_inplace(c, other.encode(y))
    other.evaluator.rescale_to_next_inplace(c)
    assert close(
        ours, evaluator.rescale(evaluator.mul_plain(a, ours.encode(y, scale=SCALE))), other.decrypt(c)
    )

    c = other.encrypt(x)
    other.evaluator.multiply_inplace(c, other.encrypt(y))
    other.evaluator.relinearize_inplace(c, other.relinearisation)
    other.evaluator.rescale_to_next_inplace(c)
    assert close(ours, evaluator.multiply(a, b, rescale=True), other.decrypt(c))

    for steps in (1, 7):
        c = other.encrypt(x)
        other.evaluator.rotate_vector_inplace(c, steps, other.galois)
        assert close(ours, evaluator.rotate(a, steps), other.decrypt(c))

    c = other.encrypt(x)
    other.evaluator.complex_conjugate_inplace(c, other.galois)
    assert close(ours, evaluator.conjugate(a), other.decrypt(c))


def test_a_circuit(ours: Party, other: SealParty) -> None:
    """rotate(x, 1) * x^2, three levels deep, in both."""
    x = ours.real()
    evaluator = ours.evaluator
    a = ours.encrypt(x, scale=SCALE)
    squared = evaluator.square(a, rescale=True)
    mine = evaluator.multiply(evaluator.rotate(a, 1), squared, rescale=True)

    c, d = other.encrypt(x), other.encrypt(x)
    other.evaluator.square_inplace(c)
    other.evaluator.relinearize_inplace(c, other.relinearisation)
    other.evaluator.rescale_to_next_inplace(c)
    other.evaluator.rotate_vector_inplace(d, 1, other.galois)
    other.evaluator.mod_switch_to_next_inplace(d)
    other.evaluator.multiply_inplace(c, d)
    other.evaluator.relinearize_inplace(c, other.relinearisation)
    other.evaluator.rescale_to_next_inplace(c)
    assert close(ours, mine, other.decrypt(c))
    assert ours.error(mine, np.roll(x, -1) * x * x) < BOUND
