"""Arrays of exact integers in three carriers, chosen by proven bounds.

float64 holds integers exactly up to 2^53, int64 up to 2^63, Python's integers (dtype object) any.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from cipherformer.ops.spec import Array


class Carrier(IntEnum):
    """The fastest arithmetic allowed."""

    FLOAT64 = 0
    INT64 = 1
    WIDE = 2


_EXACT, _WORD = 1 << 53, 1 << 63


def largest(value: Array) -> int:
    """Largest absolute value."""
    if not value.size:
        return 0
    return max(abs(int(value.max())), abs(int(value.min())))


def normal(value: Array, bound: int, carrier: Carrier = Carrier.FLOAT64) -> Array:
    """The same integers in the fastest carrier that holds everything up to `bound`."""
    if bound < _EXACT and carrier is Carrier.FLOAT64:
        return value.astype(np.float64, copy=False)
    if bound < _WORD and carrier <= Carrier.INT64:
        return value.astype(np.int64, copy=False)
    return _wide(value)


def _wide(value: Array) -> Array:
    if value.dtype == object:
        return value
    return np.asarray(value.astype(np.int64).astype(object))  # both narrower carriers fit int64


def scaled(value: NDArray[np.float64], bits: int) -> Array:
    """round(value 2^bits), half to even."""
    exact: Array = np.asarray(np.rint(np.asarray(value, dtype=np.float64) * 2.0**bits))
    if not exact.size or float(np.max(np.abs(exact))) < _EXACT:
        return exact
    return np.asarray(np.vectorize(int, otypes=[object])(exact))


def shifted(value: Array, bits: int) -> NDArray[np.float64]:
    """The real values: value 2^-bits, rounded to float64."""
    if value.dtype == object:
        return np.asarray(np.vectorize(lambda v: v / 2**bits, otypes=[np.float64])(value))
    return np.asarray(value.astype(np.float64) * 2.0**-bits)


def divided(value: Array, bits: int, offset: Array | int) -> Array:
    """floor((value + offset) / 2^bits)."""
    bound = largest(value) + (1 << bits)
    if bound < _EXACT and value.dtype == np.float64:
        return np.asarray(np.floor((value + offset) * 2.0**-bits))
    carried = normal(value, bound, Carrier.INT64)
    total: Array = np.asarray(carried + offset)
    out: Array = np.right_shift(total, bits)
    return normal(out, largest(out))


def wrapped(value: Array, width: int) -> Array:
    """The representative in [-2^(width-1), 2^(width-1))."""
    half = 1 << (width - 1)
    out = (_wide(value) + half) % (2 * half) - half
    return normal(out, largest(out))


Bilinear = Callable[[Array, Array], Array]


def bilinear(function: Bilinear, a: Array, b: Array, terms: int, carrier: Carrier = Carrier.FLOAT64) -> Array:
    """A product of integer arrays, exactly.

    Args:
        function: bilinear, sums of `terms` products.
        a: left factor.
        b: right factor.
        terms: most products in one element of the result.
        carrier: the fastest arithmetic allowed.
    """
    x, y = largest(a), largest(b)
    bound = max(x * y * terms, x, y)
    if bound < _EXACT and carrier is Carrier.FLOAT64:
        return function(a.astype(np.float64, copy=False), b.astype(np.float64, copy=False))
    if bound < _WORD and carrier <= Carrier.INT64:
        if terms == 1 or carrier is Carrier.INT64:
            return function(a.astype(np.int64, copy=False), b.astype(np.int64, copy=False))
        return _by_halves(function, a.astype(np.int64), b.astype(np.int64), terms)
    return _wide_product(function, a, b)


def _by_halves(function: Bilinear, a: Array, b: Array, terms: int) -> Array:
    """The larger factor is cut in halves until float64 products are exact; their sum fits int64."""
    x, y = largest(a), largest(b)
    if x * y * terms < _EXACT:
        return function(a.astype(np.float64), b.astype(np.float64)).astype(np.int64)
    if y > x:
        return _by_halves(lambda p, q: function(q, p), b, a, terms)
    bits = x.bit_length() // 2
    high = a >> bits
    low = a - (high << bits)
    return (_by_halves(function, high, b, terms) << bits) + _by_halves(function, low, b, terms)


def _wide_product(function: Bilinear, a: Array, b: Array) -> Array:
    return function(_wide(a), _wide(b))
