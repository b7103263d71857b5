"""The map between slots and coefficients as a product of sparse matrices.

Slot j of a polynomial p is z_j = sum_k w_k eta^(5^j k), w_k = p_k + i p_(k+s), eta = exp(2 pi i / 4s): a
discrete Fourier transform of w in bit-reversed order, of log2(s) layers of butterflies. A *stage* is the
product of several layers: a few diagonals, at multiples of its stride. The bit reversal is left out: one
direction puts the slots into the coefficients in that order, the other one takes them out of it.
Sources: Cheon, Han, Hhan (IEEE Access 2019); Bossuat et al., EUROCRYPT 2021, section 6.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cipherformer.errors import ParameterError
from cipherformer.kernels.algebra import Transform

Complex = NDArray[np.complex128]
Diagonals = dict[int, Complex]


def powers_of_five(count: int) -> NDArray[np.int64]:
    """5^j mod 4 count, j < count."""
    out = np.ones(count, dtype=np.int64)
    for j in range(1, count):
        out[j] = out[j - 1] * 5 % (4 * count)
    return out


def twiddles(half: int) -> Complex:
    """eta^(5^j), j < half, for the layer whose butterflies are `half` apart; eta = exp(2 pi i / 8 half)."""
    return np.asarray(np.exp(2j * np.pi * powers_of_five(2 * half)[:half] / (8 * half)))


def layer(half: int, *, inverse: bool) -> Diagonals:
    """One layer of butterflies as diagonals of period 2 half, at rotations -half, 0 and half."""
    w = twiddles(half)
    zero, one = np.zeros_like(w), np.ones_like(w)
    if inverse:  # (x, y) -> ((x + y) / 2, conj(w) (x - y) / 2)
        w = w.conj()
        rows = {0: (one / 2, -w / 2), half: (one / 2, zero), -half: (zero, w / 2)}
    else:  # (x, y) -> (x + w y, x - w y)
        rows = {0: (one, -w), half: (w, zero), -half: (zero, one)}
    return {rotation: np.concatenate(row) for rotation, row in rows.items()}


def product(second: Diagonals, first: Diagonals) -> Diagonals:
    """The diagonals of second * first: the period is the longer of the two."""
    period = max(len(next(iter(d.values()))) for d in (second, first))
    out: Diagonals = {}
    for r2, d2 in second.items():
        for r1, d1 in first.items():
            term = np.resize(d2, period) * np.roll(np.resize(d1, period), -r2)
            out[r1 + r2] = out.get(r1 + r2, 0) + term
    return out


def apply(diagonals: Diagonals, x: Complex) -> Complex:
    """The linear map on numpy slots."""
    total = np.zeros(len(x), dtype=np.complex128)
    for rotation, values in diagonals.items():
        total += np.resize(values, len(x)) * np.roll(x, -rotation)
    return total


def stages(layers: Sequence[int], *, inverse: bool) -> list[Diagonals]:
    """The stages in the order in which they are applied; layers[i] butterfly layers go into stage i of the
    forward direction (coefficients in slots to slots), the smallest strides first."""
    out = []
    half = 1
    for count in layers:
        halves = [half << k for k in range(count)]
        half <<= count
        total: Diagonals = {0: np.ones(1, dtype=np.complex128)}
        for h in reversed(halves) if inverse else halves:
            total = product(layer(h, inverse=inverse), total)
        out.append(total)
    return out[::-1] if inverse else out


def transforms(layers: Sequence[int], *, inverse: bool, slots: int, name: str) -> list[Transform]:
    """The stages as linear maps whose rotations are multiples of the stride from 0 up.

    A stage's rotations go both ways. What it rotates its result by in excess, the next stage takes back: all
    of it ends in the stage with the largest stride, which is cyclic. So both directions use the same steps.

    Args:
        layers: as for `stages`; they sum to log2(slots).
        inverse: from slots to the coefficients' order, divided by `slots`.
        slots: of the map: the ciphertext's, or a power of two that its content repeats after.
        name: prefix of the names.
    """
    if sum(layers) != slots.bit_length() - 1:
        raise ParameterError(f"{sum(layers)} layers of butterflies do not make {slots} slots")
    strides = [1 << sum(layers[:i]) for i in range(len(layers))]
    counts = list(layers)
    if inverse:
        strides, counts = strides[::-1], counts[::-1]
    out = []
    excess = 0
    for i, diagonals in enumerate(stages(layers, inverse=inverse)):
        stride, reach = strides[i], strides[i] << counts[i]
        # Slots wanted: rotate(y, d). Given x = rotate(y, excess): rotate(x, d - excess).
        after = 0
        if inverse:
            after = -stride if i + 1 < len(counts) else 0
        elif i + 1 < len(counts):
            after = reach
        moved: Diagonals = {}
        for rotation, values in diagonals.items():
            steps = (rotation - excess + after) % slots
            moved[steps] = moved.get(steps, 0) + np.roll(np.resize(values, reach), -after)
        excess = after
        rotations = tuple(sorted(moved))
        # A giant step costs several times what a baby step costs: about four giant steps.
        babies = max(1, 1 << (len(rotations) - 1).bit_length() >> 2)
        values = np.stack([moved[r] for r in rotations])
        out.append(Transform(f"{name}-{i}", rotations, values, babies * stride))
    return out
