"""A map with many diagonals between values that fill a part of the slots: the copies share the work.

A value that repeats after P slots stands in R copies. Copy k is first rotated by k P / R, which takes R
diagonals and a level. One rotation by e then meets the diagonals e, e + P/R, e + 2 P/R of the map, one in
each copy, so that R times fewer products are left, and a sum over the copies gives the result in all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cipherformer.kernels.linear import wrapped

Diagonals = dict[int, NDArray[np.float64]]
"""Rotation -> diagonal."""


@dataclass(frozen=True, eq=False, slots=True)
class Skewed:
    """A map in two steps.

    Args:
        skew: the first, which rotates the copies; 0 and 1 only.
        diagonals: of the second.
        sums: rotations of a rotate-and-sum after it.
    """

    skew: Diagonals
    diagonals: Diagonals
    sums: tuple[int, ...]


def skewed(diagonals: Diagonals, period: int, slots: int) -> Skewed | None:
    """A map in two steps, with as few diagonals as copies allow; None if that is not half as many.

    Args:
        diagonals: rotation -> diagonal, of a length that divides the period.
        period: that source and result repeat after.
        slots: of a ciphertext.
    """
    best: tuple[int, int] | None = None
    for r in range(1, (slots // period).bit_length()):
        count = len({d % (period >> r) for d in diagonals}) + (1 << r)
        if 2 * count <= len(diagonals) and (best is None or count < best[0]):
            best = count, r
    return None if best is None else _in_copies(diagonals, period, best[1])


def _in_copies(diagonals: Diagonals, period: int, r: int) -> Skewed:
    """See the module, with 2^r copies."""
    copies, step = 1 << r, period >> r
    t = np.arange(period)
    skew = {int(wrapped(np.array(k * step), period)): np.zeros(copies * period) for k in range(copies)}
    for k in range(copies):
        skew[int(wrapped(np.array(k * step), period))][k * period : (k + 1) * period] = 1.0
    rows = {d % period: np.resize(row, period) for d, row in diagonals.items()}
    out: Diagonals = {}
    for e in sorted({int(wrapped(np.array(d), step)) for d in diagonals}):
        carry = (t + e) // period
        found = np.zeros((copies, period))
        for k in range(copies):
            row = rows.get((e + k * step) % period)
            if row is not None:
                # Slot t of copy c meets the diagonal e + (c + carry) P / R.
                found[(k - carry) % copies, t] = row
        out[e] = found.reshape(-1)
    return Skewed(skew, out, tuple(period << i for i in reversed(range(r))))
