"""What the operations mean (numpy is the reference) and how much noise they add."""

from __future__ import annotations

import numpy as np
import pytest
from native_party import SCALE, Party, make_parameters, make_party

import cipherformer._native as native

# Bounds for N = 2^12 and scale 2^40, over all slots. A slot's error is a sum of N coefficients' errors;
# the standard deviation is sqrt(N) times a coefficient's. Six to eight deviations are allowed.
FRESH = 2048 * 2.0**-40  # sigma 3.2 * sqrt(4096) = 205
PUBLIC = 2**18 * 2.0**-40  # v e + e0 + s e1 has sqrt(4 N / 3) = 74 times the deviation
ROUNDING = 2**13 * 2.0**-40  # rounding of both parts: sqrt(N / 18) = 15 a coefficient
CUBIC = 2**21 * 2.0**-40  # rounding of a third part counts s^2, whose slots reach N
SWITCH = 2**14 * 2.0**-40  # division by P: rounding of both parts, and the digits' error below it


def test_fresh_encryptions(party: Party) -> None:
    values = party.complex()
    assert 2**-38 < party.error(party.encrypt(values), values) < FRESH
    public = party.secret.public_key().encrypt(party.encode(values))
    assert FRESH < party.error(public, values) < PUBLIC


def test_encryption_is_randomised(party: Party) -> None:
    plaintext = party.encode(party.real())
    key = party.secret.public_key()
    assert party.secret.encrypt(plaintext).to_bytes() != party.secret.encrypt(plaintext).to_bytes()
    assert key.encrypt(plaintext).to_bytes() != key.encrypt(plaintext).to_bytes()


@pytest.mark.parametrize("level", [0, 1, 5])
def test_levels_of_encryption(party: Party, level: int) -> None:
    values = party.real()
    ciphertext = party.encrypt(values, level, 2.0**40)
    assert (ciphertext.level, ciphertext.scale, ciphertext.size) == (level, SCALE, 2)
    assert party.error(ciphertext, values) < FRESH
    public = party.secret.public_key().encrypt(party.encode(values, level))
    assert party.error(public, values) < PUBLIC


def test_short_plaintexts_encrypt_as_tiled(party: Party) -> None:
    values = party.real(16)
    tiled = np.tile(values, party.slots // 16)
    assert party.error(party.encrypt(values), tiled) < FRESH
    assert party.error(party.secret.public_key().encrypt(party.encode(values)), tiled) < PUBLIC


def test_linear_operations(party: Party) -> None:
    x, y, short = party.complex(), party.complex(), party.real(8)
    a, b = party.encrypt(x), party.encrypt(y)
    tiled = np.tile(short, party.slots // 8)
    evaluator = party.evaluator
    assert party.error(evaluator.add(a, b), x + y) < 2 * FRESH
    assert party.error(evaluator.sub(a, b), x - y) < 2 * FRESH
    assert party.error(evaluator.negate(a), -x) < FRESH
    assert party.error(evaluator.add_many([a, b, a, b]), 2 * x + 2 * y) < 4 * FRESH
    assert party.error(evaluator.add_plain(a, party.encode(y)), x + y) < FRESH
    assert party.error(evaluator.sub_plain(a, party.encode(short)), x - tiled) < FRESH
    assert party.error(evaluator.add_scalar(a, -2.5), x - 2.5) < FRESH
    assert party.error(evaluator.mul_scalar_int(a, -7), -7 * x) < 7 * FRESH
    assert party.error(evaluator.mul_scalar(a, 0.3, SCALE), 0.3 * x) < FRESH
    assert party.error(evaluator.mul_scalar(a, 0.0, SCALE), 0 * x) < FRESH


def test_stacks(party: Party) -> None:
    x, y = [party.real() for _ in range(5)], [party.real() for _ in range(5)]
    a, b = [party.encrypt(v) for v in x], [party.encrypt(v) for v in y]
    evaluator = party.evaluator
    total = sum(v * w for v, w in zip(x, y, strict=True))
    whole = evaluator.dot(a, b)
    assert whole.size == 3 and party.error(whole, total) < 20 * FRESH
    products = [evaluator.multiply(v, w, relinearise=False) for v, w in zip(a, b, strict=True)]
    assert evaluator.dot(a, b).to_bytes() == evaluator.add_many(products).to_bytes()
    weights = np.rint(party.rng.uniform(-1, 1, (7, 5)) * 2.0**24)
    mixed = evaluator.mix(a, weights, 2.0**14, 2.0**38)
    assert len(mixed) == 7 and {m.level for m in mixed} == {party.top - 1}
    for row, found in zip(weights, mixed, strict=True):
        assert party.error(found, sum(w * 2.0**-24 * v for w, v in zip(row, x, strict=True))) < 4 * ROUNDING
    singly = [evaluator.mul_scalar(v, w * 2.0**14, 1.0) for v, w in zip(a, weights[0], strict=True)]
    expected = evaluator.rescale(evaluator.add_many(singly).set_scale(SCALE * 2.0**38))
    assert mixed[0].to_bytes() == expected.to_bytes()


@pytest.mark.parametrize(
    ("weights", "factor", "message"),
    [
        (np.full((2, 3), 0.5), 1.0, "no integer"),
        (np.full((2, 3), 2.0**27), 1.0, "more than 2\\^28"),
        (np.ones((2, 3)), 0.5, "the factor"),
        (np.ones((2, 2)), 1.0, "one column"),
        (np.full((2, 3), np.nan), 1.0, "no integer"),
    ],
)
def test_a_wrong_mixture_is_refused(party: Party, weights: np.ndarray, factor: float, message: str) -> None:
    a = [party.encrypt(party.real()) for _ in range(3)]
    with pytest.raises(ValueError, match=message):
        party.evaluator.mix(a, weights, factor, SCALE)


def test_stacks_of_several_levels_are_refused(party: Party) -> None:
    a, low = party.encrypt(party.real()), party.encrypt(party.real(), 1)
    with pytest.raises(ValueError, match="several levels"):
        party.evaluator.dot([a, low], [a, a])
    with pytest.raises(ValueError, match="2 and 1"):
        party.evaluator.dot([a, a], [a])
    with pytest.raises(ValueError, match="nothing"):
        party.evaluator.mix([], np.ones((1, 0)), 1.0, SCALE)


def test_products(party: Party) -> None:
    x, y = party.complex(), party.complex()
    a, b = party.encrypt(x), party.encrypt(y)
    evaluator = party.evaluator
    three = evaluator.multiply(a, b, relinearise=False)
    assert three.size == 3 and party.error(three, x * y) < 4 * FRESH
    two = evaluator.relinearise(three)
    assert two.size == 2 and two.scale == SCALE**2 and party.error(two, x * y) < 4 * FRESH
    assert evaluator.multiply(a, b).to_bytes() == two.to_bytes()
    assert evaluator.relinearise(two).to_bytes() == two.to_bytes()
    assert party.error(evaluator.square(a), x * x) < 4 * FRESH
    separate = evaluator.rescale(two)
    merged = evaluator.multiply(a, b, rescale=True)
    assert (
        (merged.level, merged.scale)
        == (separate.level, separate.scale)
        == (4, SCALE**2 / party.context.params.moduli[5])
    )
    assert party.error(separate, x * y) < 4 * FRESH + ROUNDING
    assert party.error(merged, x * y) < 4 * FRESH + SWITCH
    assert party.error(evaluator.rescale(three), x * y) < 4 * FRESH + CUBIC
    assert party.error(evaluator.multiply(a, b, relinearise=False, rescale=True), x * y) < 4 * FRESH + CUBIC
    assert party.error(evaluator.add(three, evaluator.mul_plain(a, party.encode(y))), 2 * x * y) < 8 * FRESH
    assert party.error(evaluator.sub(evaluator.mul_plain(a, party.encode(y)), three), 0 * x) < 8 * FRESH


def test_a_chain_to_the_last_level(party: Party) -> None:
    """Five squarings with exact scale bookkeeping."""
    x = party.real()
    a = party.encrypt(x)
    for _ in range(5):
        a = party.evaluator.square(a, rescale=True)
        x = x * x
    assert a.level == 0 and party.error(a, x) < 2.0**-20


@pytest.mark.parametrize("period", [1, 2, 8, 256, 2048])
def test_plain_products(party: Party, period: int) -> None:
    x, y = party.complex(), party.complex(period)
    product = party.evaluator.mul_plain(party.encrypt(x), party.encode(y))
    assert product.scale == SCALE**2
    assert party.error(product, x * np.tile(y, party.slots // period)) < 4 * FRESH


@pytest.mark.parametrize("steps", [1, 3, 64, -1, 2047, 2048 + 5, 0, -2048])
def test_rotations(party: Party, steps: int) -> None:
    x = party.complex()
    rotated = party.evaluator.rotate(party.encrypt(x), steps)
    assert party.error(rotated, np.roll(x, -steps)) < FRESH + SWITCH


def test_conjugation(party: Party) -> None:
    x = party.complex()
    assert party.error(party.evaluator.conjugate(party.encrypt(x)), x.conj()) < FRESH + SWITCH


@pytest.mark.parametrize("level", [0, 2, 5])
def test_hoisted_rotations_equal_plain_ones(party: Party, level: int) -> None:
    a = party.encrypt(party.complex(), level)
    steps = [3, 0, 1, -1, 16]
    for step, hoisted in zip(steps, party.evaluator.rotate_hoisted(a, steps), strict=True):
        assert hoisted.to_bytes() == party.evaluator.rotate(a, step).to_bytes()
    assert party.evaluator.rotate_hoisted(a, []) == []


@pytest.mark.parametrize("digit_size", [1, 2, 3, 6])
def test_every_digit_size(digit_size: int) -> None:
    party = make_party(make_parameters(10, 5, digit_size=digit_size, special=digit_size + 1), (5,))
    x, y = party.complex(), party.complex()
    for level in range(6):
        a, b = party.encrypt(x, level), party.encrypt(y, level)
        assert party.error(party.evaluator.rotate(a, 5), np.roll(x, -5)) < FRESH + SWITCH
        if level >= 2:
            assert party.error(party.evaluator.multiply(a, b), x * y) < 4 * FRESH


def test_sparse_secrets() -> None:
    party = make_party(make_parameters(12, 3, hamming_weight=192), (1,))
    x = party.complex()
    assert party.error(party.evaluator.rotate(party.encrypt(x), 1), np.roll(x, -1)) < FRESH + SWITCH


def test_levels_meet_at_the_lower_one(party: Party) -> None:
    x, y = party.real(), party.real()
    high, low = party.encrypt(x), party.encrypt(y, 2)
    evaluator = party.evaluator
    for result, expected in (
        (evaluator.add(high, low), x + y),
        (evaluator.sub(low, high), y - x),
        (evaluator.multiply(high, low), x * y),
        (evaluator.add_many([high, low]), x + y),
        (evaluator.add_plain(high, party.encode(y, 2)), x + y),
        (evaluator.mul_plain(low, party.encode(x)), x * y),
    ):
        assert result.level == 2 and party.error(result, expected) < 4 * FRESH
    assert evaluator.add(evaluator.drop_level(high, 2), low).to_bytes() == evaluator.add(high, low).to_bytes()


def test_dropped_levels_serialise_short(party: Party) -> None:
    a = party.evaluator.negate(party.encrypt(party.real()))
    dropped = party.evaluator.drop_level(a, 1)
    assert len(dropped.to_bytes()) < len(a.to_bytes()) / 2
    assert len(dropped.copy().to_bytes()) == len(dropped.to_bytes())


def test_operations_do_not_change_their_operands(party: Party) -> None:
    a, b = party.encrypt(party.real()), party.encrypt(party.real())
    before = a.to_bytes(), b.to_bytes()
    evaluator = party.evaluator
    for result in (
        evaluator.add(a, b),
        evaluator.multiply(a, b),
        evaluator.rotate(a, 1),
        a.set_scale(3.0),
        a.copy(),
    ):
        evaluator.negate(result)
    assert (a.to_bytes(), b.to_bytes()) == before and a.scale == SCALE


def test_set_scale_relabels(party: Party) -> None:
    x = party.real()
    relabelled = party.encrypt(x).set_scale(SCALE / 2)
    assert party.error(relabelled, 2 * x) < 2 * FRESH
    with pytest.raises(ValueError, match="set_scale"):
        relabelled.set_scale(0.0)


def test_scales_must_agree(party: Party) -> None:
    a, b = party.encrypt(party.real()), party.encrypt(party.real(), scale=SCALE * (1 + 2.0**-28))
    close = party.encrypt(party.real(), scale=SCALE * (1 + 2.0**-31))
    evaluator = party.evaluator
    evaluator.add(a, close)
    for operation in (evaluator.add, evaluator.sub):
        with pytest.raises(ValueError, match="scales"):
            operation(a, b)
    with pytest.raises(ValueError, match="scales"):
        evaluator.add_many([a, b])
    with pytest.raises(ValueError, match="scales"):
        evaluator.add_plain(a, party.encode(party.real(), scale=2 * SCALE))


def test_refusals(party: Party, toy: Party) -> None:
    evaluator = party.evaluator
    a, low = party.encrypt(party.real()), party.encrypt(party.real(), 0)
    three = evaluator.multiply(a, a, relinearise=False)
    foreign = toy.encrypt(toy.real())
    cases = [
        (lambda: evaluator.rescale(low), "level 0"),
        (lambda: evaluator.multiply(low, low, rescale=True), "reaches the modulus"),
        (lambda: evaluator.drop_level(low, 1), "levels can only go down"),
        (lambda: evaluator.rotate(three, 1), "relinearise it first"),
        (lambda: evaluator.multiply(three, a), "relinearise it first"),
        (lambda: evaluator.conjugate(three), "relinearise it first"),
        (lambda: evaluator.rotate(a, 11), "missing key: rotate by 11"),
        (lambda: evaluator.rotate_hoisted(a, [1, 11]), "missing key: rotate by 11"),
        (lambda: evaluator.mul_plain(low, party.encode(party.real())), "reaches the modulus"),
        (lambda: evaluator.add_many([]), "nothing to add"),
        (lambda: evaluator.add_scalar(low, 1e6), "does not fit"),
        (lambda: evaluator.add_scalar(a, float("nan")), "does not fit"),
        (lambda: evaluator.mul_scalar(a, 1e30, SCALE), "exceeds 2"),
        (lambda: evaluator.add(a, foreign), "digests differ"),
        (lambda: evaluator.add_plain(a, toy.encode(toy.real())), "digests differ"),
        (lambda: evaluator.rotate(foreign, 1), "digests differ"),
        (lambda: party.secret.decrypt(foreign), "digests differ"),
        (lambda: party.secret.encrypt(toy.encode(toy.real())), "digests differ"),
        (lambda: native.Evaluator(toy.context, party.keys), "digests differ"),
        (lambda: party.keys.add(toy.secret.rotation_key(1, 1)), "digests differ"),
        (lambda: party.secret.rotation_key(0, 1), "needs no key"),
        (lambda: party.secret.relinearisation_key(6), "highest level"),
        (lambda: party.keys.has("rotated", 1, 1), "unknown"),
    ]
    for action, message in cases:
        with pytest.raises(ValueError, match=message):
            action()


def test_keys_cut_to_a_level(party: Party) -> None:
    keys = native.KeySet(party.context)
    evaluator = native.Evaluator(party.context, keys)
    cut, full = party.secret.rotation_key(9, 2), party.secret.rotation_key(9, 5)
    keys.add(cut)
    assert len(keys) == 1 and keys.memory_bytes() == cut.memory_bytes < full.memory_bytes
    assert keys.has_rotation(9, 2) and keys.has_rotation(9 - 2048, 0) and not keys.has_rotation(9, 3)
    x = party.real()
    a = party.encrypt(x)
    assert party.error(evaluator.rotate(evaluator.drop_level(a, 1), 9), np.roll(x, -9)) < FRESH + SWITCH
    with pytest.raises(ValueError, match="level 5"):
        evaluator.rotate(a, 9)
    keys.add(full)
    assert party.error(evaluator.rotate(a, 9), np.roll(x, -9)) < FRESH + SWITCH
    assert keys.remove("rotate", 9) and len(keys) == 0 and not keys.remove("rotate", 9)
    assert cut.size_bytes == len(cut.to_bytes()) < full.size_bytes
