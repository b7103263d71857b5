"""Exact sums and products of matrices of integers, by float64 products of their limbs.

float64 is exact as long as every partial sum stays below 2^53, in whatever order BLAS adds. A bound proves
it: the largest |x| times the largest sum of |w| over what is added up. Where it fails, an operand is cut into
limbs, and the partial results are put together in int64, modulo 2^64, or in pairs of words, modulo 2^128; the
bound, or a float64 estimate with its error, proves that nothing was lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, prod

import numpy as np

from cipherformer.backends import pairs
from cipherformer.backends.integers import Carrier, largest
from cipherformer.ops.spec import Array

EXACT, WORD, PAIR = 1 << 53, 1 << 63, 1 << 127
_HALF = 16
_MOST_TERMS = 1 << (53 - 2 * _HALF)

Multiply = Callable[[Array, Array], Array]


@dataclass(frozen=True, slots=True)
class Value:
    """Exact integers.

    Args:
        array: float64, int64 or pairs.
        bound: at least the largest |value|.
    """

    array: Array
    bound: int


def known(array: Array) -> Value:
    """With the tightest bound."""
    return Value(array, (1 << pairs.bit_length(array)) - 1 if pairs.is_pairs(array) else largest(array))


def carried(array: Array, carrier: Carrier, bound: int) -> Array:
    """In the fastest allowed arithmetic that holds everything up to `bound`."""
    if bound < EXACT and carrier is Carrier.FLOAT64:
        return words(array).astype(np.float64, copy=False)
    if bound < WORD and carrier <= Carrier.INT64:
        return words(array)
    return pairs.to_pairs(array)


def words(array: Array) -> Array:
    """float64 as it is; pairs, which must fit, as int64."""
    if pairs.is_pairs(array):
        return array["low"].view(np.int64)
    return array if array.dtype != object else array.astype(np.int64)


def product(
    multiply: Multiply, a: Value, b: Value, terms: int, weight: int, carrier: Carrier
) -> Value | None:
    """a b, exactly; None if pairs cannot hold it.

    Args:
        multiply: bilinear, of float64 arrays.
        a: left factor.
        b: right factor.
        terms: products in one element of the result.
        weight: at least the sum of |b| over what one element of the result adds up.
        carrier: the fastest arithmetic allowed.
    """
    weight = max(1, min(weight, terms * b.bound))
    if max(a.bound, 1) * weight < EXACT and b.bound < EXACT:
        out = multiply(_real(a.array), _real(b.array))
        peak = largest(out)
        return Value(carried(_whole(out), carrier, 0) if carrier else out, peak)
    if terms >= _MOST_TERMS:
        return None
    left, right = _cut(a, b, terms, weight)
    parts = [(multiply(x, y), i + j) for x, i in left for y, j in right]
    return _joined(parts, a.bound * weight, carrier)


def _whole(value: Array) -> Array:
    return value.astype(np.int64)


def _real(value: Array) -> Array:
    return words(value).astype(np.float64, copy=False)


Limbs = list[tuple[Array, int]]


def _cut(a: Value, b: Value, terms: int, weight: int) -> tuple[Limbs, Limbs]:
    """Limbs, with their shifts, whose products are exact: of one factor if that can be, else of both."""
    options = []
    if b.bound < EXACT and (size := 53 - weight.bit_length()) >= _HALF:
        options.append((ceil(a.bound.bit_length() / size), 0, size))
    if a.bound < EXACT and (size := 53 - (terms * max(a.bound, 1)).bit_length()) >= _HALF:
        options.append((ceil(b.bound.bit_length() / size), 1, size))
    if not options:
        return limbs(a, _HALF), limbs(b, _HALF)
    _, which, size = min(options)
    if which == 0:
        return limbs(a, size), [(_real(b.array), 0)]
    return [(_real(a.array), 0)], limbs(b, size)


def limbs(value: Value, bits: int) -> Limbs:
    """float64 arrays and shifts with value = sum_k limb_k 2^shift_k; limbs below 2^bits, 16 bits or more."""
    if pairs.is_pairs(value.array) and value.bound >= WORD:
        return _pair_limbs(value, pairs.LIMB if bits >= pairs.LIMB else _HALF)
    rest = _whole(words(value.array))
    found: Limbs = []
    for shift in range(0, max(1, value.bound.bit_length()), bits):
        last = shift + bits >= value.bound.bit_length()
        found.append(((rest if last else rest & ((1 << bits) - 1)).astype(np.float64), shift))
        rest = rest >> bits
    return found


def _pair_limbs(value: Value, bits: int) -> Limbs:
    found: Limbs = []
    for k, limb in enumerate(pairs.limbs(value.array)):
        shift = pairs.LIMB * k
        if bits == pairs.LIMB:
            found.append((limb.astype(np.float64), shift))
        else:
            found.append(((limb & ((1 << bits) - 1)).astype(np.float64), shift))
            found.append(((limb >> bits).astype(np.float64), shift + bits))
    return found


def _joined(parts: Limbs, bound: int, carrier: Carrier) -> Value | None:
    """sum_k part_k 2^(shift k) of exact float64 arrays."""
    if carrier <= Carrier.INT64 and _below(parts, bound, WORD):
        total = np.zeros(parts[0][0].shape, dtype=np.int64)
        for part, shift in parts:
            if shift < 64:
                total += _whole(part) << shift
        value = known(total)
        return Value(carried(value.array, carrier, value.bound), value.bound)
    if not _below(parts, bound, PAIR):
        return None
    wide = np.zeros(parts[0][0].shape, dtype=pairs.PAIR)
    for part, shift in parts:
        if shift < 128:
            pairs.add_shifted(wide, _whole(part), shift)
    value = known(wide)
    return Value(carried(wide, carrier, value.bound), value.bound)


def _below(parts: Limbs, bound: int, limit: int) -> bool:
    """Whether the sum is proven to stay below the limit: by the bound, or by an estimate and its error."""
    if bound < limit:
        return True
    estimate = np.zeros(parts[0][0].shape)
    size = np.zeros_like(estimate)
    for part, shift in parts:
        term = part * 2.0**shift
        estimate += term
        size += np.abs(term)
    worst = np.abs(estimate) + size * (2.0**-52 * len(parts))
    return not worst.size or float(worst.max()) < limit * (1 - 2.0**-50)


def total(value: Value, axes: tuple[int, ...], keepdims: bool, carrier: Carrier) -> Value | None:
    """The sum over axes, exactly; None if pairs cannot hold it."""
    terms = max(1, prod(value.array.shape[axis] for axis in axes))
    bound = value.bound * terms
    plain = not pairs.is_pairs(value.array)
    if plain and bound < EXACT:
        out = np.asarray(_real(value.array).sum(axis=axes, keepdims=keepdims))
        return Value(carried(_whole(out), carrier, 0) if carrier else out, largest(out))
    if bound < WORD and plain:
        return known(np.asarray(_whole(value.array).sum(axis=axes, keepdims=keepdims)))
    if bound >= PAIR:
        return None
    joined: Array | None = None
    for k, limb in enumerate(pairs.limbs(pairs.to_pairs(value.array))):
        part = np.asarray(limb.sum(axis=axes, keepdims=keepdims))
        joined = np.zeros(part.shape, dtype=pairs.PAIR) if joined is None else joined
        pairs.add_shifted(joined, part, pairs.LIMB * k)
    assert joined is not None
    found = known(joined)
    return Value(carried(joined, carrier, found.bound), found.bound)
