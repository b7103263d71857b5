"""Several values with few slots in one refresh.

A value that repeats every s slots is a polynomial in X^(N/2s): after slots to coefficients, all but one in
N/2s of its coefficients are 0. The j-th value is multiplied by X^j and added to the others, which fills the
ring and costs nothing. After the refresh value j stands in one block of s slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from cipherformer.errors import CompileError
from cipherformer.kernels import bootstrap, dft
from cipherformer.kernels.algebra import SlotAlgebra, Transform, V
from cipherformer.kernels.bootstrap import Bootstrap
from cipherformer.targets.bootstrap import BootstrapSet


@dataclass(frozen=True, eq=False, slots=True)
class SparseBootstrap:
    """What a refresh of values of one period takes beside the full one.

    Args:
        period: slots after which a value repeats.
        full: the refresh of a whole ring; its map to coefficients is that of the period.
        shifts: multiplication by X^j, as a product of slots.
        masks: 1 in the block of value j, 0 elsewhere.
    """

    period: int
    full: Bootstrap
    shifts: tuple[Transform, ...]
    masks: tuple[Transform, ...]

    @property
    def capacity(self) -> int:
        """Complex values, or pairs of real ones, in one call."""
        return len(self.shifts)


@lru_cache(maxsize=4)
def prepare_sparse(settings: BootstrapSet, period: int) -> SparseBootstrap:
    """For values that repeat every `period` slots, a power of two."""
    full, slots = bootstrap.prepare(settings), 1 << (settings.log_n - 1)
    blocks = slots // period
    name = f"{settings.name}-{period}"
    layers = bootstrap.split_layers(period.bit_length() - 1, settings.stc_levels)
    maps = dft.transforms(layers, inverse=False, slots=period, name=f"{name}-stc")
    root = np.exp(2j * np.pi * dft.powers_of_five(slots) / (4 * slots))
    shifts = [Transform(f"{name}-shift-{j}", (0,), root[None] ** j, 1) for j in range(blocks)]
    masks = []
    for j in range(blocks):
        mask = np.zeros((1, blocks, period))
        mask[0, reversed_bits(j, blocks)] = 1.0
        masks.append(Transform(f"{name}-mask-{j}", (0,), mask.reshape(1, -1), 1))
    return SparseBootstrap(period, replace(full, to_coefficients=tuple(maps)), tuple(shifts), tuple(masks))


def reversed_bits(index: int, count: int) -> int:
    """The index with its log2(count) bits reversed.

    >>> reversed_bits(1, 8)
    4
    """
    bits = count.bit_length() - 1
    return int(f"{index:0{bits}b}"[::-1], 2) if bits else 0


def refresh_sparse(
    b: SlotAlgebra[V], sparse: SparseBootstrap, values: Sequence[V], level: int, scale: float
) -> list[V]:
    """Real values, |x| <= 1, that repeat every `sparse.period` slots, at `level` and `scale`.

    Values 2j and 2j + 1 travel as real and imaginary part. Taking the values apart costs one level, unless
    there are at most two.

    Raises:
        CompileError: too many values, or levels that this set does not have.
    """
    boot = sparse.full
    if not 1 <= len(values) <= 2 * sparse.capacity:
        raise CompileError(f"{len(values)} values of period {sparse.period} in one refresh")
    alone = len(values) <= 2
    if level > boot.output_level - (not alone):
        raise CompileError(f"a refresh of {len(values)} values of period {sparse.period} to level {level}")
    merged: V | None = None
    for j in range(0, len(values), 2):
        x = bootstrap.slots_to_coefficients(b, boot, values[j : j + 2])
        if j:
            x = b.apply(x, sparse.shifts[j // 2], 1.0)
        merged = x if merged is None else b.add(merged, x)
    assert merged is not None
    x = bootstrap.coefficients_to_slots(b, boot, b.raise_modulus(merged))
    halves = bootstrap.remove_multiples(b, boot, x, scale, imaginary=len(values) > 1)
    out = []
    for i in range(len(values)):
        y = b.drop(halves[i % 2], level if alone else level + 1)
        if not alone:
            y = b.rescale(b.apply(y, sparse.masks[i // 2], float(b.modulus(b.level(y)))))
            y = b.relabel(y, scale)
        steps = sparse.period
        while steps < b.slots:
            y = b.add(y, b.rotate(y, steps))
            steps *= 2
        out.append(y)
    return out
