"""RNS-CKKS in Python integers: slow, exact, written from the definitions and from the byte format only.

Polynomials are lists of N integers modulo a product of primes; nothing here is in transformed (NTT) form
except what is read from bytes. Used on rings of 8 to 64 coefficients.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cipherformer._native as native

HEADER_BYTES = 48
Poly = list[int]  # integer coefficients, constant first


def _quarter_round(x: list[int], a: int, b: int, c: int, d: int) -> None:
    for p, q, r, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        x[p] = (x[p] + x[q]) & 0xFFFFFFFF
        mixed = x[r] ^ x[p]
        x[r] = (mixed << bits | mixed >> (32 - bits)) & 0xFFFFFFFF


def chacha20_block(seed: bytes, counter: int, nonce: bytes) -> bytes:
    """RFC 8439, section 2.3."""
    state = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *struct.unpack("<8I", seed), counter]
    state += struct.unpack("<3I", nonce)
    x = list(state)
    columns = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15))
    diagonals = ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
    for _ in range(10):
        for quarter in columns + diagonals:
            _quarter_round(x, *quarter)
    return struct.pack("<16I", *((a + b) & 0xFFFFFFFF for a, b in zip(x, state, strict=True)))


def uniform_residues(seed: bytes, label: int, which: int, limb: int, count: int, q: int) -> list[int]:
    """`count` uniform residues from the stream (seed, label, which << 32 | limb), by rejection."""
    nonce = struct.pack("<IQ", label, which << 32 | limb)
    limit = 2**64 // q * q
    out: list[int] = []
    block = 0
    while len(out) < count:
        words = struct.unpack("<8Q", chacha20_block(seed, block, nonce))
        out += [word % q for word in words if word < limit]
        block += 1
    return out[:count]


@cache
def root(q: int, n: int) -> int:
    """The primitive 2n-th root of unity that the engine uses: the first suitable power of 2, 3, 4, ..."""
    x = 2
    while pow(psi := pow(x, (q - 1) // (2 * n), q), n, q) != q - 1:
        x += 1
    return psi


@cache
def exponents(n: int) -> tuple[int, ...]:
    """Value k of a transformed limb is the polynomial at root ** exponents[k]."""
    width = n.bit_length() - 1
    return tuple(2 * int(format(k, f"0{width}b")[::-1], 2) + 1 for k in range(n))


def coefficients(values: Sequence[int], q: int) -> Poly:
    """Inverse transform of one limb, by the definition."""
    n = len(values)
    psi = root(q, n)
    return [
        pow(n, -1, q) * sum(v * pow(psi, -e * i, q) for v, e in zip(values, exponents(n), strict=True)) % q
        for i in range(n)
    ]


def centred(x: int, q: int) -> int:
    """The representative of x in (-q/2, q/2], q odd."""
    x %= q
    return x - q if x > q // 2 else x


def compose(residues: Sequence[int], primes: Sequence[int]) -> int:
    """Chinese remainders, in [0, product)."""
    total = math.prod(primes)
    return (
        sum(r * (total // p) * pow(total // p, -1, p) for r, p in zip(residues, primes, strict=True)) % total
    )


def from_limbs(limbs: Sequence[Sequence[int]], primes: Sequence[int]) -> Poly:
    """A polynomial modulo the product of `primes` from its transformed limbs."""
    rows = [coefficients(limb, q) for limb, q in zip(limbs, primes, strict=True)]
    return [compose(column, primes) for column in zip(*rows, strict=True)]


def multiply(a: Poly, b: Poly, modulus: int) -> Poly:
    """a b modulo X^N + 1."""
    n = len(a)
    out = [0] * n
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            k = i + j
            out[k % n] += x * y if k < n else -x * y
    return [x % modulus for x in out]


def add(a: Poly, b: Poly, modulus: int) -> Poly:
    return [(x + y) % modulus for x, y in zip(a, b, strict=True)]


def sub(a: Poly, b: Poly, modulus: int) -> Poly:
    return [(x - y) % modulus for x, y in zip(a, b, strict=True)]


def automorphism(a: Poly, exponent: int, modulus: int) -> Poly:
    """a(X^exponent)."""
    n = len(a)
    out = [0] * n
    for i, x in enumerate(a):
        k = i * exponent % (2 * n)
        out[k % n] = x % modulus if k < n else -x % modulus
    return out


def fast_conversion(x: int, primes: Sequence[int]) -> int:
    """sum_i y_i Q/q_i with y_i = [x (Q/q_i)^-1]_{q_i}, centred: x + e Q for a small e."""
    total = math.prod(primes)
    return sum(centred(x * pow(total // q, -1, q), q) * (total // q) for q in primes)


def divide(a: Poly, modulus: int, divisors: Sequence[int]) -> Poly:
    """(a - conversion of a from the divisors) / their product; exact rounding when there is one divisor."""
    divisor = math.prod(divisors)
    inverse = pow(divisor, -1, modulus // divisor)
    return [(x - fast_conversion(x, divisors)) * inverse % (modulus // divisor) for x in a]


@dataclass(frozen=True)
class Ring:
    """The numbers of a parameter set."""

    log_n: int
    moduli: tuple[int, ...]
    special: tuple[int, ...]
    digit_size: int

    @classmethod
    def of(cls, params: native.Parameters) -> Ring:
        return cls(params.log_n, tuple(params.moduli), tuple(params.special_moduli), params.digit_size)

    @property
    def n(self) -> int:
        return 2**self.log_n

    def primes(self, level: int) -> tuple[int, ...]:
        return self.moduli[: level + 1]

    def over_qp(self, level: int) -> tuple[int, ...]:
        return self.primes(level) + self.special

    def modulus(self, level: int) -> int:
        return math.prod(self.primes(level))

    def digit(self, index: int, level: int) -> tuple[int, ...]:
        return self.primes(level)[index * self.digit_size : (index + 1) * self.digit_size]

    def number(self, q: int) -> int:
        return (self.moduli + self.special).index(q)


class Fields:
    """Reads what follows the header."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, HEADER_BYTES

    def take(self, layout: str) -> tuple:
        size = struct.calcsize("<" + layout)
        self.at += size
        return struct.unpack("<" + layout, self.data[self.at - size : self.at])

    def limb(self, n: int, q: int) -> list[int]:
        width = q.bit_length()
        size = (n * width + 7) // 8
        bits = int.from_bytes(self.data[self.at : self.at + size], "little")
        self.at += size
        return [bits >> (width * i) & (2**width - 1) for i in range(n)]


def read_ciphertext(data: bytes, ring: Ring) -> tuple[int, float, list[Poly]]:
    """(level, scale, parts)."""
    fields = Fields(data)
    parts, seeded, level, scale = fields.take("BBHd")
    seed = fields.take("32s")[0] if seeded else b""
    primes = ring.primes(level)
    out = [
        from_limbs([fields.limb(ring.n, q) for q in primes], primes) for _ in range(1 if seeded else parts)
    ]
    if seeded:
        limbs = [uniform_residues(seed, 1, 0, ring.number(q), ring.n, q) for q in primes]
        out.append(from_limbs(limbs, primes))
    assert fields.at == len(data)
    return level, scale, out


def read_switching_key(data: bytes, ring: Ring) -> tuple[int, int, list[tuple[Poly, Poly]]]:
    """(level, steps, [(b, a) for each digit], polynomials modulo Q_level P)."""
    fields = Fields(data)
    _, _, level, steps, seed = fields.take("BBHI32s")
    primes = ring.over_qp(level)
    out = []
    for digit in range(-(-(level + 1) // ring.digit_size)):
        b = from_limbs([fields.limb(ring.n, q) for q in primes], primes)
        a = from_limbs([uniform_residues(seed, 3, digit, ring.number(q), ring.n, q) for q in primes], primes)
        out.append((b, a))
    assert fields.at == len(data)
    return level, steps, out


def read_secret(data: bytes, ring: Ring) -> Poly:
    bits = int.from_bytes(data[HEADER_BYTES:], "little")
    return [(bits >> (2 * i) & 3) - 1 for i in range(ring.n)]


def inner_product(c: Poly, level: int, ring: Ring, key: bytes) -> list[Poly]:
    """sum over digits of digit * (b, a), modulo Q_level P."""
    key_level, _, pairs = read_switching_key(key, ring)
    assert key_level >= level
    modulus = ring.modulus(level) * math.prod(ring.special)
    out = [[0] * ring.n, [0] * ring.n]
    for index in range(-(-(level + 1) // ring.digit_size)):
        primes = ring.digit(index, level)
        raised = [fast_conversion(x, primes) % modulus for x in c]
        for part in range(2):
            out[part] = add(
                out[part], multiply(raised, [x % modulus for x in pairs[index][part]], modulus), modulus
            )
    return out


def switch(c: Poly, level: int, ring: Ring, key: bytes) -> list[Poly]:
    """The two polynomials that key switching makes of c, modulo Q_level."""
    modulus = ring.modulus(level) * math.prod(ring.special)
    return [divide(u, modulus, ring.special) for u in inner_product(c, level, ring, key)]
