"""What a CKKS machine can do, as frozen data: ring, primes, digits, scale; and how parameters are chosen for
a depth.

Limits of log2(QP) for 128 bits of classical security with a uniform ternary secret: the tables of Bossuat et
al., "Security Guidelines for Implementing Homomorphic Encryption" (2024), table 5.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, log2, prod

from cipherformer.errors import ParameterError

MAX_LOG_QP = {10: 27, 11: 54, 12: 109, 13: 218, 14: 438, 15: 881, 16: 1747, 17: 3523}
"""log2(QP) at 128 bits, uniform ternary secret, by log2 N."""

MAX_LOG_QP_SPARSE = {15: 768, 16: 1546}
"""The same for a secret with `SPARSE_WEIGHT` non-zeros."""

SPARSE_WEIGHT = 192

P_MARGIN_BITS = 8
"""P is at least this much larger than a digit, so that key-switching noise stays below rounding noise."""


@dataclass(frozen=True, slots=True)
class CkksTarget:
    """A ring and its primes.

    Args:
        log_n: log2 of the ring degree N; a ciphertext has N/2 slots.
        moduli: q_0 (decryption headroom), then one prime a level.
        special_moduli: the primes of P, for key switching.
        digit_size: primes in one digit of the hybrid key switching.
        log_scale: log2 of the scale of encoded values.
        insecure: True for rings below 128 bits, made for tests.
        hamming_weight: non-zeros of the secret; 0 for a uniform ternary one.
    """

    log_n: int
    moduli: tuple[int, ...]
    special_moduli: tuple[int, ...]
    digit_size: int
    log_scale: int
    insecure: bool = False
    hamming_weight: int = 0

    @property
    def slots(self) -> int:
        """Slots of a ciphertext."""
        return 1 << (self.log_n - 1)

    @property
    def levels(self) -> int:
        """Rescalings a fresh ciphertext allows."""
        return len(self.moduli) - 1

    @property
    def scale(self) -> float:
        """Scale of encoded values."""
        return float(1 << self.log_scale)

    @property
    def log_qp(self) -> float:
        """log2 of all primes together, the special ones included."""
        return sum(log2(q) for q in (*self.moduli, *self.special_moduli))

    @property
    def security_bits(self) -> int:
        """128 where log QP is within the table, 0 (insecure) elsewhere."""
        table = MAX_LOG_QP if not self.hamming_weight else MAX_LOG_QP_SPARSE
        known = self.hamming_weight == 0 or self.hamming_weight >= SPARSE_WEIGHT
        return 128 if known and self.log_qp <= table.get(self.log_n, 0) else 0

    def digits(self, level: int) -> int:
        """Digits of a key switch at a level."""
        return ceil((level + 1) / self.digit_size)

    def key_bytes(self, level: int) -> int:
        """Size in memory of a switching key cut to a level, both halves."""
        limbs = level + 1 + len(self.special_moduli)
        return self.digits(level) * 2 * limbs * (8 << self.log_n)

    def ciphertext_bytes(self, level: int, *, seeded: bool = False) -> int:
        """Size of a ciphertext in a message, residues packed to their bits, without the header."""
        bits = sum(q.bit_length() for q in self.moduli[: level + 1])
        return (bits << self.log_n) // 8 * (1 if seeded else 2)


def special_bits(first_bits: int, scale_bits: int, digit_size: int) -> tuple[int, ...]:
    """Sizes of the special primes: their product is at least 2^P_MARGIN_BITS times the largest digit."""
    need = max(first_bits + (digit_size - 1) * scale_bits, digit_size * scale_bits) + P_MARGIN_BITS
    count = ceil(need / 50)
    return (max(30, ceil(need / count)),) * count


def candidates(
    levels: int, *, first_bits: int = 50, scale_bits: int = 40
) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """(log_n, digit_size, special prime sizes) that give `levels` rescalings at 128-bit security, smallest
    ring first.

    Raises:
        ParameterError: if no ring up to 2^16 holds that many levels.
    """
    found = False
    log_q = first_bits + levels * scale_bits
    for log_n in range(12, 17):
        for digit_size in range(1, levels + 2):
            special = special_bits(first_bits, scale_bits, digit_size)
            # One bit of slack: the primes lie around the powers of two, not exactly on them.
            if log_q + sum(special) + 1 <= MAX_LOG_QP[log_n]:
                found = True
                yield log_n, digit_size, special
    if not found:
        raise ParameterError(
            f"{levels} levels do not fit any ring up to N = 2^16 at 128-bit security",
            why=f"log Q alone is {log_q} bits, the limit for Q and P together is {MAX_LOG_QP[16]}",
            fix="shorten the model: lower activation degrees, a narrower normaliser range, fewer layers",
        )


def check_digits(target: CkksTarget) -> None:
    """P must exceed every digit.

    Raises:
        ParameterError: if it does not.
    """
    p = prod(target.special_moduli)
    for start in range(0, len(target.moduli), target.digit_size):
        digit = prod(target.moduli[start : start + target.digit_size])
        if digit >= p:
            raise ParameterError(
                f"digit {start // target.digit_size} has {digit.bit_length()} bits, P only {p.bit_length()}",
                fix="use more or larger special primes, or a smaller digit_size",
            )
