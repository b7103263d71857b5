"""What a parameter set must satisfy, and what the refusals say."""

from __future__ import annotations

import pytest

import cipherformer._native as native

PRIMES = native.generate_primes(13, [45, 35, 35, 35, 45])  # 195 bits in all


def literal(**changes: object) -> dict:
    base = {
        "log_n": 13,
        "moduli": PRIMES[:4],
        "special_moduli": PRIMES[4:],
        "digit_size": 1,
        "hamming_weight": 0,
        "insecure": False,
    }
    return base | changes


def test_a_secure_set() -> None:
    params = native.Parameters(**literal())
    assert (params.log_n, params.slots, params.dnum, params.max_level) == (13, 4096, 4, 3)
    assert params.moduli == PRIMES[:4] and params.special_moduli == PRIMES[4:]
    assert params.security_bits == 128 and not params.insecure
    assert 190 < params.log_qp < native.max_log_qp(13)
    assert len(params.digest) == 32


@pytest.mark.parametrize(
    ("log_n", "weight", "bits"),
    [
        *((12, 0, 109), (13, 0, 218), (14, 0, 438), (15, 0, 881), (16, 0, 1747), (17, 0, 3523)),
        *((15, 192, 768), (16, 192, 1546), (16, 4096, 1546), (16, 191, 0), (14, 192, 0), (9, 0, 0)),
    ],
)
def test_the_security_table(log_n: int, weight: int, bits: int) -> None:
    assert native.max_log_qp(log_n, weight) == bits


def test_the_security_limit_is_sharp() -> None:
    log_n, limit = 15, 768
    primes = native.generate_primes(log_n, [50] * 11 + [40] * 5 + [50])
    ordinary, special = primes[:15], primes[16:]
    assert native.Parameters(log_n, ordinary, special, 1, 192).security_bits == 128  # 760 bits
    with pytest.raises(ValueError, match=rf"above the 128-bit limit {limit}.*insecure=True"):
        native.Parameters(log_n, primes[:16], special, 1, 192)  # 800 bits
    assert native.Parameters(log_n, primes[:16], special, 1, 0).security_bits == 128  # dense: 881
    relaxed = native.Parameters(log_n, primes[:16], special, 1, 192, insecure=True)
    assert relaxed.security_bits < 128 and relaxed.insecure


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"log_n": 9}, "log_n is 9; choose 10 to 17"),
        ({"log_n": 18}, "log_n is 18"),
        ({"log_n": 2, "insecure": True}, "log_n is 2; choose 3 to 17"),
        ({"moduli": []}, "no moduli"),
        ({"special_moduli": []}, "no special moduli"),
        ({"moduli": [PRIMES[0], PRIMES[0]]}, "appears twice"),
        ({"special_moduli": PRIMES[:1]}, "appears twice"),
        ({"moduli": [PRIMES[0] * 3]}, "not prime"),
        ({"moduli": [2**50 + 1]}, "more than 50 bits"),
        ({"moduli": [1000003]}, "not 1 modulo 2N"),
        ({"digit_size": 0}, "digit_size is 0"),
        ({"digit_size": 5}, "digit_size is 5; choose 1 to 4"),
        ({"digit_size": 2}, "less than the 80.0 bits of the digit that starts at modulus 0"),
        ({"hamming_weight": 64}, "no 128-bit limit is known"),
        ({"hamming_weight": 10000}, "exceeds the ring dimension"),
        ({"log_n": 12}, "above the 128-bit limit 109"),
    ],
)
def test_refusals(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        native.Parameters(**literal(**changes))


def test_a_special_modulus_below_the_digit_is_refused() -> None:
    small, large = native.generate_primes(13, [40, 45])
    with pytest.raises(ValueError, match="drown"):
        native.Parameters(13, [large], [small], 1)
    native.Parameters(13, [small], [large], 1)


def test_bytes_and_equality() -> None:
    params = native.Parameters(**literal())
    again = native.Parameters.from_bytes(params.to_bytes())
    assert again == params and hash(again) == hash(params) and again.digest == params.digest
    other = native.Parameters(**literal(insecure=True))
    assert other != params and params != "params"


def test_generated_primes() -> None:
    primes = native.generate_primes(14, [50, 40, 40, 40, 40, 30])
    assert len(set(primes)) == 6
    assert all(q % 2**15 == 1 for q in primes)
    assert primes[0] < 2**50
    assert [q > 2**40 for q in primes[1:5]] == [True, False, True, False]
    assert all(abs(q / 2**40 - 1) < 1e-5 for q in primes[1:5])
    with pytest.raises(ValueError, match="bits"):
        native.generate_primes(14, [51])


def test_context_settings() -> None:
    params = native.Parameters(**literal())
    assert native.Context(params).kernels == native.cpu_kernels()[-1]
    assert native.cpu_kernels()[0] == "portable"
    with pytest.raises(ValueError, match="threads is 0"):
        native.Context(params, 0)
    with pytest.raises(ValueError, match="known are auto"):
        native.Context(params, kernels="fast")
