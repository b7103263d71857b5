"""Kernels on stacks: lists of ciphertexts of one level and scale, one coordinate of a tensor each.

The slots of every ciphertext hold that coordinate for all inputs of a batch, and for all indices of one axis
of the tensor (the tokens), if the plan has such an axis: slot = token x batch + input. A map of the other
axes is a matrix of numbers times the stack, without a rotation. Only products that mix tokens rotate.

Scores of queries and keys are kept by diagonals. With r = key - query (mod tokens) = g B + b, entry (g, b) of
a head holds, at token i, the score of query i - g B and key i + b: then queries are rotated by -g B and keys
by b only (baby steps and giant steps; Halevi and Shoup, CRYPTO 2018), and products with the values are
rotated once for each g after their sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log2

import numpy as np
from numpy.typing import NDArray

from cipherformer.errors import CompileError
from cipherformer.kernels.algebra import SlotAlgebra, V
from cipherformer.kernels.step import Diagonals, Step

Array = NDArray[np.float64]

MIXED = 2.0**28
"""Largest sum of the absolute integer weights of a row of `mix`."""


def integers(weights: Array, scale: float) -> tuple[Array, float]:
    """(rounded weights, factor): factor times rounded weights is about scale times weights, the factor a
    power of two that keeps every row within `MIXED`."""
    largest = float(np.abs(weights).sum(axis=1).max(initial=0.0)) * scale
    room = MIXED - weights.shape[1]  # each rounding adds at most a half
    factor = 2.0 ** max(0, ceil(log2(largest / room))) if largest > 0 else 1.0
    return np.rint(weights * (scale / factor)), factor


def mix(b: SlotAlgebra[V], step: Step, x: Sequence[Sequence[V]], weights: Sequence[Array]) -> list[V]:
    """Sum of matrices times stacks, one level below and at the scale of the step; then sums of groups of
    rotated results (`step.sums`, one rotation for each member of a group), and sums over tokens
    (`step.terms[0].post`)."""
    common = b.scale(x[0][0])
    values = [b.relabel(v, common) for stack in x for v in stack]
    matrix = np.concatenate(
        [w * (common / b.scale(stack[0])) for w, stack in zip(weights, x, strict=True)], axis=1
    )
    wanted = step.scale * b.modulus(step.level_in)
    out = [b.relabel(v, step.scale) for v in b.mix(values, matrix, wanted / common)]
    if step.sums:
        size = len(step.sums)
        groups = [out[i : i + size] for i in range(0, len(out), size)]
        out = [
            _total(b, [b.rotate(v, r) if r else v for v, r in zip(group, step.sums, strict=True)])
            for group in groups
        ]
    for rotation in step.terms[0].post:
        out = [b.add(v, b.rotate(v, rotation)) for v in out]
    return out


def with_bias(b: SlotAlgebra[V], x: Sequence[V], bias: Array) -> list[V]:
    """Add row r of the bias to ciphertext r: one number, or one for each token."""
    repeats = b.slots // bias.shape[1]
    if bias.shape[1] == 1:
        return [b.add_scalar(v, float(row[0])) for v, row in zip(x, bias, strict=True)]
    return [b.add_plain(v, np.repeat(row, repeats)) for v, row in zip(x, bias, strict=True)]


def products(b: SlotAlgebra[V], x: Sequence[V], y: Sequence[V], pairs: Array) -> list[V]:
    """For each result r the sum over k of x[pairs[r, k, 0]] y[pairs[r, k, 1]], one level below."""
    index = pairs.astype(np.int64)
    return [b.rescale(b.dot([x[i] for i in row[:, 0]], [y[j] for j in row[:, 1]])) for row in index]


def scores(b: SlotAlgebra[V], queries: Sequence[V], keys: Sequence[V], d: Diagonals) -> list[V]:
    """Scores by diagonals, [heads, giants, babies]: queries and keys [heads, features].

    Two features are one complex number, (q - i q')(k + i k'), the real part of which is the sum of both
    products; the sum with its conjugate is read at twice the scale.
    """
    out: dict[tuple[int, int, int], V] = {}
    width = len(queries) // d.heads
    for h in range(d.heads):
        part = slice(h * width, (h + 1) * width)
        near, still = (_merged(b, x[part], negative=n) for x, n in ((queries, True), (keys, False)))
        for start in range(0, d.babies, d.held):
            far = [b.rotations(k, d.baby_steps[start : start + d.held]) for k in still]
            for g, steps in enumerate(d.giant_steps):
                moved = [b.rotate(q, -steps) if steps else q for q in near]
                for i in range(d.held):
                    product = b.rescale(b.dot(moved, [k[i] for k in far]))
                    both = b.add(product, b.conjugate(product))
                    out[h, g, start + i] = b.relabel(both, 2 * b.scale(both))
            del far
    return [out[key] for key in sorted(out)]


def attended(b: SlotAlgebra[V], weights: Sequence[V], values: Sequence[V], d: Diagonals) -> list[V]:
    """Scores by diagonals times values, [heads, features]; two features are one complex number."""
    out: list[V] = []
    width = len(values) // d.heads
    for h in range(d.heads):
        mine = weights[h * d.tokens : (h + 1) * d.tokens]
        near = [b.rotations(v, d.baby_steps) for v in _merged(b, values[h * width : (h + 1) * width])]
        for p, rotated in enumerate(near):
            parts = []
            for g, steps in enumerate(d.giant_steps):
                product = b.rescale(b.dot(mine[g * d.babies : (g + 1) * d.babies], rotated))
                parts.append(b.rotate(product, steps) if steps else product)
            whole = _total(b, parts)
            mirrored = b.conjugate(whole)
            found = [b.add(whole, mirrored), b.times_i(b.sub(mirrored, whole))]
            out += [b.relabel(v, 2 * b.scale(v)) for v in found[: min(2, width - 2 * p)]]
    return out


def _merged(b: SlotAlgebra[V], x: Sequence[V], *, negative: bool = False) -> list[V]:
    """x[0] + i x[1], x[2] + i x[3], ... (or minus); the last alone if their number is odd."""
    out = []
    for i in range(0, len(x), 2):
        if i + 1 == len(x):
            out.append(x[i])
        else:
            second = b.times_i(x[i + 1])
            out.append(b.sub(x[i], second) if negative else b.add(x[i], second))
    return out


def _total(b: SlotAlgebra[V], x: Sequence[V]) -> V:
    if not x:
        raise CompileError("a sum of nothing")
    total = x[0]
    for v in x[1:]:
        total = b.add(total, v)
    return total
