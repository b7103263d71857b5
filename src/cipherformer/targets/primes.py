"""Primes for number-theoretic transforms: q = 1 mod 2N, near powers of two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cipherformer.errors import ParameterError

MAX_BITS = 50
"""The engine's largest primes."""

_WITNESSES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)


def is_prime(n: int) -> bool:
    """Miller-Rabin with the first twelve primes: exact for n < 3.3e24 (Sorenson and Webster, 2017)."""
    if n < 2:
        return False
    for p in _WITNESSES:
        if n % p == 0:
            return n == p
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd //= 2
        twos += 1
    for a in _WITNESSES:
        x = pow(a, odd, n)
        if x in (1, n - 1):
            continue
        for _ in range(twos - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True


def _near(bits: int, step: int) -> Iterator[int]:
    """Numbers = 1 mod step by distance from 2^bits, alternately above and below, none over MAX_BITS bits."""
    below, above = (1 << bits) + 1 - step, (1 << bits) + 1
    while below > 1 << (bits - 1):
        if above.bit_length() <= MAX_BITS:
            yield above
        yield below
        above, below = above + step, below - step


def generate_primes(log_n: int, bits: Sequence[int]) -> tuple[int, ...]:
    """Distinct primes = 1 mod 2^(log_n + 1), one near 2^b for each b of `bits`.

    Raises:
        ParameterError: if there are not enough.

    >>> generate_primes(10, [20, 20])
    (1038337, 1054721)
    """
    supply = {b: (q for q in _near(b, 2 << log_n) if is_prime(q)) for b in set(bits)}
    out: list[int] = []
    for b in bits:
        prime = next((q for q in supply[b] if q not in out), None)
        if prime is None:
            raise ParameterError(f"too few primes of {b} bits for N = 2^{log_n}", fix="use larger primes")
        out.append(prime)
    return tuple(out)
