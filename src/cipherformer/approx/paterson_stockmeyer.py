"""Splitting a Chebyshev series so that it takes the least depth, and then the fewest products of two secrets.

With m a power of two, p = q T_m + r: T_(m+i) = 2 T_m T_i - T_(m-i) gives q and r from p's coefficients. The
quotient is split further until it is affine, which keeps the depth at ceil(log2(degree + 1)). A remainder has
levels to spare: it is summed directly from T_1 .. T_(baby-1) as soon as it is short enough. Source: Paterson
and Stockmeyer, SIAM J. Computing 2 (1973), in the Chebyshev basis as in Bossuat et al., EUROCRYPT 2021,
section 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cipherformer.errors import ParameterError


@dataclass(frozen=True, slots=True)
class Split:
    """How to evaluate a series.

    Args:
        degree: of the series.
        baby: remainders of at most this many coefficients are summed directly; a power of two.
        depth: multiplicative depth, products with coefficients included.
        products: multiplications of two secrets, those of the basis included.
    """

    degree: int
    baby: int
    depth: int
    products: int


def plan(degree: int) -> Split:
    """The split of least depth with the fewest products.

    >>> plan(31)
    Split(degree=31, baby=4, depth=5, products=13)
    """
    if degree < 1:
        raise ParameterError(f"a series of degree {degree} is a constant", fix="fold it into a bias")
    depth = degree.bit_length()
    candidates = []
    for log_baby in range(1, depth + 1):
        basis: set[int] = set()
        splits = _count(degree + 1, depth, 1 << log_baby, basis)
        candidates.append(Split(degree, 1 << log_baby, depth, splits + len(_closure(basis)) - 1))
    return min(candidates, key=lambda s: (s.products, s.baby))


def is_leaf(count: int, depth: int, baby: int) -> bool:
    """A block of `count` coefficients is summed directly if T_(count-1) leaves a level for them."""
    return count <= 2 or (count <= baby and (count - 2).bit_length() + 1 <= depth)


def half_of(count: int) -> int:
    """The largest power of two below `count`: the m of p = q T_m + r."""
    return 1 << ((count - 1).bit_length() - 1)


def _count(count: int, depth: int, baby: int, basis: set[int]) -> int:
    """Products that join blocks; fills in which T_k they need."""
    if is_leaf(count, depth, baby):
        basis.update(range(1, count))
        return 0
    half = half_of(count)
    basis.add(half)
    quotient = 0 if count - half == 1 else 1 + _count(count - half, depth - 1, baby, basis)
    return quotient + _count(half, depth, baby, basis)


def _closure(basis: set[int]) -> set[int]:
    """The T_k that must be computed for these: T_k needs T_ceil(k/2), T_floor(k/2), and T_1."""
    needed, found = [*basis, 1], set[int]()
    while needed:
        k = needed.pop()
        if k not in found:
            found.add(k)
            if k > 1:
                needed += [k // 2, k - k // 2]
    return found


class Value(Protocol):
    """What a series can be evaluated on: numbers, arrays, or something that counts."""

    def __mul__(self, other: Any, /) -> Any:
        """Product with a number or another value."""
        ...

    def __add__(self, other: Any, /) -> Any:
        """Sum with a number or another value."""
        ...


def evaluate(split: Split, coefficients: Sequence[float], t: Value) -> Any:
    """The series at t in [-1, 1], following the split: the steps that an encrypted evaluation takes."""
    if len(coefficients) != split.degree + 1:
        raise ParameterError(f"{len(coefficients)} coefficients do not fit degree {split.degree}")
    return _evaluate(list(coefficients), split.depth, split.baby, {1: t})


def _basis(k: int, known: dict[int, Any]) -> Any:
    """T_(a+b) = 2 T_a T_b - T_(a-b) with a - b in {0, 1}."""
    if k not in known:
        a, b = k - k // 2, k // 2
        product = _basis(a, known) * _basis(b, known)
        known[k] = product + product + (-1.0 if a == b else known[1] * -1.0)
    return known[k]


def _evaluate(c: list[float], depth: int, baby: int, known: dict[int, Any]) -> Any:
    if is_leaf(len(c), depth, baby):
        total: Any = c[0]
        for k in range(1, len(c)):
            total = _basis(k, known) * c[k] + total
        return total
    m = half_of(len(c))
    quotient = [c[m], *(2.0 * value for value in c[m + 1 :])]
    rest = list(c[:m])
    for i in range(1, len(c) - m):
        rest[m - i] -= c[m + i]
    factor = quotient[0] if len(quotient) == 1 else _evaluate(quotient, depth - 1, baby, known)
    return _basis(m, known) * factor + _evaluate(rest, depth, baby, known)
