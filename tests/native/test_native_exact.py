"""The engine against the definitions in Python integers, bit for bit, on a ring of 32 coefficients."""

from __future__ import annotations

import hashlib
import math

import ckks_reference as reference
import numpy as np
import pytest
from native_party import SCALE, Party

import cipherformer._native as native


@pytest.fixture(scope="module")
def ring(toy: Party) -> reference.Ring:
    return reference.Ring.of(toy.context.params)


def parts(ciphertext: native.Ciphertext, ring: reference.Ring) -> list[reference.Poly]:
    return reference.read_ciphertext(ciphertext.to_bytes(), ring)[2]


def test_chacha20_reference_has_the_vector_of_rfc_8439() -> None:
    block = reference.chacha20_block(bytes(range(32)), 1, bytes.fromhex("000000090000004a00000000"))
    assert block.hex().startswith("10f1e7e4d13b5915500fdd1fa32071c4")


@pytest.mark.parametrize("length", [0, 3, 55, 56, 63, 64, 65, 119, 120, 1000])
def test_sha256_equals_hashlib(length: int) -> None:
    message = bytes(i * 7 % 251 for i in range(length))
    assert native.sha256(message) == hashlib.sha256(message).digest()


def test_secret_key_encryption_is_message_plus_small_error(toy: Party, ring: reference.Ring) -> None:
    values = toy.complex()
    level, scale, (c0, c1) = reference.read_ciphertext(toy.encrypt(values).to_bytes(), ring)
    assert (level, scale) == (4, SCALE)
    modulus = ring.modulus(level)
    secret = reference.read_secret(toy.secret.to_bytes(), ring)
    message = reference.add(c0, reference.multiply(c1, secret, modulus), modulus)
    exact = embedding_coefficients(values, SCALE)
    errors = [reference.centred(m, modulus) - e for m, e in zip(message, exact, strict=True)]
    assert max(map(abs, errors)) <= 31  # |error| <= 29, rounding


def embedding_coefficients(slots: np.ndarray, scale: float) -> list[float]:
    """Coefficients of the polynomial whose value at zeta^(5^j) is slots[j], zeta = exp(i pi / N)."""
    n = 2 * len(slots)
    powers = np.array([pow(5, j, 2 * n) for j in range(len(slots))])
    matrix = np.exp(1j * np.pi * np.outer(powers, np.arange(n)) / n)
    return list(2 / n * scale * (np.conj(matrix).T @ slots).real)


def test_encoding_rounds_the_embedding(toy: Party, ring: reference.Ring) -> None:
    values = toy.complex()
    zero = toy.encrypt(np.zeros(toy.slots))
    with_message = toy.evaluator.add_plain(zero, toy.encode(values))
    modulus = ring.modulus(4)
    difference = reference.sub(parts(with_message, ring)[0], parts(zero, ring)[0], modulus)
    exact = embedding_coefficients(values, SCALE)
    assert all(abs(reference.centred(d, modulus) - e) < 0.51 for d, e in zip(difference, exact, strict=True))


def test_public_key_is_minus_a_s_plus_small_error(toy: Party, ring: reference.Ring) -> None:
    data = toy.secret.public_key().to_bytes()
    fields = reference.Fields(data)
    (seed,) = fields.take("32s")
    b = reference.from_limbs([fields.limb(ring.n, q) for q in ring.moduli], ring.moduli)
    a = reference.from_limbs(
        [reference.uniform_residues(seed, 2, 0, i, ring.n, q) for i, q in enumerate(ring.moduli)], ring.moduli
    )
    modulus = ring.modulus(4)
    secret = reference.read_secret(toy.secret.to_bytes(), ring)
    error = reference.add(b, reference.multiply(a, secret, modulus), modulus)
    assert 0 < max(abs(reference.centred(e, modulus)) for e in error) <= 29


@pytest.mark.parametrize("kind", ["relinearise", "rotate", "conjugate"])
@pytest.mark.parametrize("level", [0, 2, 4])
def test_switching_keys_hide_the_right_polynomial(
    toy: Party, ring: reference.Ring, kind: str, level: int
) -> None:
    key = {
        "relinearise": lambda: toy.secret.relinearisation_key(level),
        "rotate": lambda: toy.secret.rotation_key(3, level),
        "conjugate": lambda: toy.secret.conjugation_key(level),
    }[kind]()
    assert (key.kind, key.level, key.steps) == (kind, level, 3 if kind == "rotate" else 0)
    secret = reference.read_secret(toy.secret.to_bytes(), ring)
    modulus = ring.modulus(level) * math.prod(ring.special)
    inverse = {"relinearise": 1, "rotate": pow(5, -3, 2 * ring.n), "conjugate": 2 * ring.n - 1}[kind]
    target = reference.automorphism(secret, inverse, modulus)
    source = reference.multiply(secret, secret, modulus) if kind == "relinearise" else secret
    for index, (b, a) in enumerate(reference.read_switching_key(key.to_bytes(), ring)[2]):
        own = ring.digit(index, level)
        selector = reference.compose([int(q in own) for q in ring.primes(level)], ring.primes(level))
        gadget = math.prod(ring.special) * selector % modulus
        hidden = reference.add(b, reference.multiply(a, target, modulus), modulus)
        error = reference.sub(hidden, [gadget * x % modulus for x in source], modulus)
        assert 0 < max(abs(reference.centred(e, modulus)) for e in error) <= 29


def test_sums_and_products(toy: Party, ring: reference.Ring) -> None:
    a, b = toy.encrypt(toy.complex()), toy.encrypt(toy.complex())
    (a0, a1), (b0, b1) = parts(a, ring), parts(b, ring)
    q = ring.modulus(4)
    evaluator = toy.evaluator
    assert parts(evaluator.add(a, b), ring) == [reference.add(a0, b0, q), reference.add(a1, b1, q)]
    assert parts(evaluator.sub(a, b), ring) == [reference.sub(a0, b0, q), reference.sub(a1, b1, q)]
    assert parts(evaluator.negate(a), ring) == [[-x % q for x in a0], [-x % q for x in a1]]
    assert parts(evaluator.mul_scalar_int(a, -(2**62) + 3), ring) == [
        [x * (3 - 2**62) % q for x in part] for part in (a0, a1)
    ]
    cross = reference.add(reference.multiply(a0, b1, q), reference.multiply(a1, b0, q), q)
    product = [reference.multiply(a0, b0, q), cross, reference.multiply(a1, b1, q)]
    assert parts(evaluator.multiply(a, b, relinearise=False), ring) == product


@pytest.mark.parametrize("level", [1, 2, 4])
def test_rescale_is_exact_rounding(toy: Party, ring: reference.Ring, level: int) -> None:
    a = toy.encrypt(toy.complex(), level)
    modulus, last = ring.modulus(level), ring.moduli[level]
    expected = [
        [(x - reference.centred(x, last)) // last % (modulus // last) for x in part]
        for part in parts(a, ring)
    ]
    rescaled = toy.evaluator.rescale(a)
    assert parts(rescaled, ring) == expected
    assert rescaled.scale == SCALE / last and rescaled.level == level - 1


@pytest.mark.parametrize("level", [0, 1, 3, 4])
def test_relinearisation(toy: Party, ring: reference.Ring, level: int) -> None:
    key = toy.secret.relinearisation_key(4)
    evaluator = evaluator_with(toy, key)
    a = toy.encrypt(toy.complex(), level, 2.0**20)
    product = evaluator.square(a, relinearise=False)
    p0, p1, p2 = parts(product, ring)
    u0, u1 = reference.switch(p2, level, ring, key.to_bytes())
    q = ring.modulus(level)
    assert parts(evaluator.relinearise(product), ring) == [reference.add(p0, u0, q), reference.add(p1, u1, q)]
    assert evaluator.square(a).to_bytes() == evaluator.relinearise(product).to_bytes()


def evaluator_with(toy: Party, *added: native.SwitchingKey) -> native.Evaluator:
    keys = native.KeySet(toy.context)
    for key in added:
        keys.add(key)
    return native.Evaluator(toy.context, keys)


def test_relinearisation_with_rescale(toy: Party, ring: reference.Ring) -> None:
    key = toy.secret.relinearisation_key(4)
    evaluator = evaluator_with(toy, key)
    product = evaluator.square(toy.encrypt(toy.complex()), relinearise=False)
    p0, p1, p2 = parts(product, ring)
    p = math.prod(ring.special)
    modulus = ring.modulus(4) * p
    expected = []
    for part, u in zip((p0, p1), reference.inner_product(p2, 4, ring, key.to_bytes()), strict=True):
        total = reference.add(u, [x * p for x in part], modulus)
        expected.append(reference.divide(total, modulus, (ring.moduli[4], *ring.special)))
    assert parts(evaluator.relinearise(product, rescale=True), ring) == expected


@pytest.mark.parametrize(("level", "key_level"), [(4, 4), (3, 4), (2, 3), (0, 4)])
def test_rotation(toy: Party, ring: reference.Ring, level: int, key_level: int) -> None:
    key = toy.secret.rotation_key(3, key_level)
    a = toy.encrypt(toy.complex(), level, 2.0**30)
    c0, c1 = parts(a, ring)
    u0, u1 = reference.switch(c1, level, ring, key.to_bytes())
    q = ring.modulus(level)
    g = pow(5, 3, 2 * ring.n)
    expected = [reference.automorphism(reference.add(c0, u0, q), g, q), reference.automorphism(u1, g, q)]
    assert parts(evaluator_with(toy, key).rotate(a, 3), ring) == expected


def test_plain_operands(toy: Party, ring: reference.Ring) -> None:
    values = toy.complex()
    a = toy.encrypt(toy.complex())
    q = ring.modulus(4)
    m = reference.sub(
        parts(toy.evaluator.add_plain(a, toy.encode(values)), ring)[0], parts(a, ring)[0], q
    )  # the encoded polynomial itself
    product = toy.evaluator.mul_plain(a, toy.encode(values))
    assert parts(product, ring) == [reference.multiply(part, m, q) for part in parts(a, ring)]
    scalar = toy.evaluator.add_scalar(a, -0.75)
    assert reference.sub(parts(scalar, ring)[0], parts(a, ring)[0], q) == [int(-0.75 * SCALE) % q] + [0] * (
        ring.n - 1
    )


@pytest.mark.parametrize("period", [1, 2, 4, 8])
def test_subring_plaintexts_equal_full_ones(toy: Party, period: int) -> None:
    values = toy.complex(period)
    a = toy.encrypt(toy.complex())
    short, full = toy.encode(values), toy.encode(np.tile(values, toy.slots // period))
    assert short.period == period
    evaluator = toy.evaluator
    for operation in (evaluator.add_plain, evaluator.sub_plain, evaluator.mul_plain):
        assert operation(a, short).to_bytes() == operation(a, full).to_bytes()
