"""Affine maps that act locally, such as convolutions: their non-zeros, found with few inputs.

A map is local along (axis of the source, axis of the result) if what one index of the source reaches is a
short range of the result's indices. Indices of the source whose ranges do not meet are probed together, as
the teeth of a comb: a 3 x 3 convolution over 16 channels takes 16 x 3 x 3 inputs whatever the size of the
image, and its matrix has as many non-zeros as the image has pixels times 9 x 16 x 16. Ranges are found from
values: of one random input, all but one index of an axis is set to 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod

import numpy as np
from numpy.typing import NDArray

from cipherformer.kernels.linear import Triplets
from cipherformer.passes.carried import Linear, only_index

SAVES = 4
"""A map is local if a comb probes at least so many elements at once."""


def local_entries(linear: Linear, source: Sequence[int], result: Sequence[int]) -> Triplets | None:
    """The non-zeros of a linear map of tensors, over flat indices; None if it is not local.

    Args:
        linear: the map, from an array of shape `source` to one of shape `result`.
        source, result: shapes.
    """
    combs = _combs(linear, source, result)
    steps = [comb[1] if comb else size for comb, size in zip(combs, source, strict=True)]
    if prod(steps) * SAVES > prod(source):
        return None
    rows, columns, weights = [], [], []
    for first in product(*map(range, steps)):
        teeth = np.zeros(source)
        teeth[tuple(slice(f, None, s) for f, s in zip(first, steps, strict=True))] = 1.0
        out = linear(teeth)
        row = np.flatnonzero(out)
        where = np.unravel_index(row, tuple(result))
        column = np.zeros(len(row), dtype=np.int64)
        for comb, f, size in zip(combs, first, source, strict=True):
            index = comb[2][f][where[comb[0]]] if comb else np.full(len(row), f)
            column = column * size + index
        rows.append(row)
        columns.append(column)
        weights.append(out.reshape(-1)[row])
    parts = (np.concatenate(p) for p in (rows, columns, weights))
    return Triplets.from_entries((prod(result), prod(source)), *parts)


_Comb = tuple[int, int, NDArray[np.int64]]
"""(axis of the result, distance of the teeth, [distance, size of that axis] the tooth that reaches it)."""


def _combs(linear: Linear, source: Sequence[int], result: Sequence[int]) -> list[_Comb | None]:
    """How each axis of the source is probed; None for one index at a time."""
    x = np.random.default_rng(3).standard_normal(source)
    found: list[_Comb | None] = []
    taken: set[int] = set()
    for axis, size in enumerate(source):
        best: _Comb | None = None
        reached = [linear(only_index(x, axis, i)) != 0.0 for i in range(size)] if size > 1 else []
        for b, extent in enumerate(result if reached else ()):
            others = tuple(i for i in range(len(result)) if i != b)
            reach = np.stack([r.any(axis=others) for r in reached])
            step = _distance(reach) if extent > 1 and b not in taken else size
            if step < size and (best is None or step < best[1]):
                owner = [
                    [(reach[f::step, i].argmax() * step + f) for i in range(extent)] for f in range(step)
                ]
                best = (b, step, np.array(owner, dtype=np.int64))
        if best is not None:
            taken.add(best[0])
        found.append(best)
    return found


def _distance(reach: NDArray[np.bool_]) -> int:
    """The smallest s such that no index of the result is reached from two of i, i + s, i + 2 s and so on."""
    size = len(reach)
    return next(
        s for s in range(1, size + 1) if all(reach[f::s].sum(axis=0).max() <= 1 for f in range(min(s, size)))
    )
