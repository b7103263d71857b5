"""The random bits of probabilistic truncations: a tape that the seed, the value's name and the index decide.

Every carrier, device and order of execution reads the same tape, so runs with one seed are equal bit for bit.
SplitMix64 (Steele, Lea and Flood 2014) of a counter: fast and well distributed, not for secrets.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from cipherformer.ops.spec import Array

Words = NDArray[np.uint64]

STEP = 0x9E3779B97F4A7C15
"""Between two counters."""

MIXERS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
"""(shift, factor): z <- (z ^ z >> shift) factor, twice; then z ^ z >> 31."""


def key(seed: int, name: str) -> int:
    """The key of one value's tape, below 2^64."""
    return int.from_bytes(blake2b(f"{seed}:{name}".encode(), digest_size=8).digest(), "little")


def words(stream: int, count: int) -> Words:
    """The first words of the tape of a key."""
    with np.errstate(over="ignore"):
        z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(STEP) + np.uint64(stream)
        for shift, factor in MIXERS:
            z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
        return np.asarray(z ^ (z >> np.uint64(31)))


def draw(stream: int, bits: int, shape: tuple[int, ...]) -> Array:
    """Uniform integers below 2^bits, 1 <= bits <= 127: int64, or objects above 63 bits; row-major order."""
    count = int(np.prod(shape))
    low = words(stream, count)
    if bits <= 63:
        return (low >> np.uint64(64 - bits)).astype(np.int64).reshape(shape)
    if bits == 64:
        return low.astype(object).reshape(shape)
    high = words(~stream % 2**64, count) >> np.uint64(128 - bits)
    return np.asarray((high.astype(object) << 64) + low.astype(object)).reshape(shape)
