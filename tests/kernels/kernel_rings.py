"""Small rings for the kernel and packing tests."""

from __future__ import annotations

from cipherformer.targets.ckks import CkksTarget
from cipherformer.targets.primes import generate_primes

LEVELS = 12


def small_target(log_n: int = 9, levels: int = LEVELS) -> CkksTarget:
    """A ring for tests: exact structure, no security."""
    primes = generate_primes(log_n, [50] + [40] * levels + [50] * 3)
    return CkksTarget(log_n, primes[: levels + 1], primes[levels + 1 :], 3, 40, insecure=True)
