"""Products of residues with small integers, exact in float64: a server's own weights have few bits.

x is cut into signed limbs so short that a whole sum of products stays below 2^53: there float64 is exact in
whatever order it adds, and its matrix product is the fastest that there is.
"""

from __future__ import annotations

from math import ceil, log2

import numpy as np
from numpy.typing import NDArray

from cipherformer.backends.mpc2.ring import U64, Ring, signed

_EXACT_BITS = 53
_MOST_LIMBS = 3
_ROWS = 512
Narrow = NDArray[np.int32]


def narrowed(value: Ring) -> Ring | Narrow:
    """Signed integers of 32 bits where all fit, else the residues as they are."""
    integers = value.view(np.int64)
    fits = value.size == 0 or max(-int(integers.min()), int(integers.max())) < 1 << 31
    return integers.astype(np.int32) if fits else value


def widened(value: Ring | Narrow) -> Ring:
    """Residues modulo 2^64."""
    return np.asarray(value if value.dtype == U64 else value.astype(np.int64).view(U64))


def limbs(width: int, largest: int) -> tuple[int, int]:
    """Bits and number of limbs.

    Args:
        width: of x.
        largest: sum of the absolute weights of one result.
    """
    bits = _EXACT_BITS - ceil(log2(max(largest, 1) + 1))
    return bits, ceil(width / bits) if bits > 0 else _MOST_LIMBS + 1


def linear(x: Ring, width: int, weight: Narrow) -> Ring | None:
    """x [..., inputs] times weight [outputs, inputs], modulo 2^width at least; nothing if limbs do not pay.

    Args:
        x: residues of which the lowest `width` bits count.
        width: of the result.
        weight: small integers.
    """
    out = np.empty((x.size // x.shape[-1], len(weight)), np.int64)
    flat = signed(x.reshape(-1, x.shape[-1]), width)
    for start in range(0, len(weight), _ROWS):
        part = weight[start : start + _ROWS].astype(np.float64)
        bits, count = limbs(width, int(np.abs(part).sum(axis=1).max()))
        if count > _MOST_LIMBS:
            return None
        found = _cut(flat, bits, count) @ part.T
        total = np.zeros((len(flat), len(part)), np.int64)
        for i, limb in enumerate(found.reshape(count, len(flat), len(part))):
            total += np.left_shift(limb.astype(np.int64), bits * i)
        out[:, start : start + _ROWS] = total
    return out.view(U64).reshape(*x.shape[:-1], len(weight))


def _cut(value: NDArray[np.int64], bits: int, count: int) -> NDArray[np.float64]:
    """[count rows, columns]: limbs of at most 2^(bits - 1) in size, lowest first, the last as it comes."""
    out = np.empty((count, *value.shape))
    half = 1 << (bits - 1)
    for i in range(count - 1):
        low = ((value + half) & ((1 << bits) - 1)) - half
        out[i] = low
        value = (value - low) >> bits
    out[-1] = value
    return out.reshape(-1, value.shape[-1])
