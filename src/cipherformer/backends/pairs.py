"""Arrays of integers of at most 127 bits as records of two words: what int64 cannot hold, without objects.

Views, moves and broadcasts of numpy work on them as on numbers; `backends.chain` computes with them.
"""

from __future__ import annotations

import numpy as np

from cipherformer.ops.spec import Array

PAIR = np.dtype([("low", "<u8"), ("high", "<i8")])
LIMB = 32
"""Bits of a limb; `limbs` gives four."""

_MASK = np.uint64(2**LIMB - 1)


def is_pairs(value: Array) -> bool:
    """True for an array of records."""
    return value.dtype == PAIR


def to_pairs(value: Array) -> Array:
    """From float64, int64 or objects below 2^127."""
    if is_pairs(value):
        return value
    out = np.empty(value.shape, dtype=PAIR)
    if value.dtype == object:
        out["low"] = (value & (2**64 - 1)).astype(np.uint64)
        out["high"] = (value >> 64).astype(np.int64)
    else:
        words = value.astype(np.int64)
        out["low"], out["high"] = words.view(np.uint64), words >> 63
    return out


def to_objects(value: Array) -> Array:
    """Python's integers."""
    return np.asarray((value["high"].astype(object) << 64) + value["low"].astype(object))


def limbs(value: Array) -> list[Array]:
    """int64 arrays with value = sum_k limb_k 2^(32 k); all but the last in [0, 2^32)."""
    low, high = value["low"], value["high"]
    return [
        (low & _MASK).astype(np.int64),
        (low >> np.uint64(LIMB)).astype(np.int64),
        (high.view(np.uint64) & _MASK).astype(np.int64),
        high >> LIMB,
    ]


def add_shifted(total: Array, part: Array, bits: int) -> None:
    """total += part 2^bits in place, modulo 2^128; part is int64."""
    low, high = part.view(np.uint64), part >> 63
    if bits >= 64:
        low, high = np.zeros_like(low), part << (bits - 64) if bits < 128 else np.zeros_like(part)
    elif bits:
        high = (high << bits) | (low >> np.uint64(64 - bits)).view(np.int64)
        low = low << np.uint64(bits)
    before = total["low"].copy()
    total["low"] += low
    total["high"] += high + (total["low"] < before)


def bit_length(value: Array) -> int:
    """Of the largest |value|."""
    if not value.size:
        return 0
    high = value["high"]
    most = 0
    for index in (int(np.argmax(high)), int(np.argmin(high))):
        same = high.ravel() == high.ravel()[index]
        low = value["low"].ravel()[same]
        for word in (int(low.max()), int(low.min())):
            most = max(most, abs((int(high.ravel()[index]) << 64) + word))
    return most.bit_length()
