"""Powers and Chebyshev polynomials over the slot algebra, in the least depth, with exact scales."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from cipherformer.approx.paterson_stockmeyer import half_of, is_leaf, plan
from cipherformer.errors import CompileError
from cipherformer.kernels.algebra import SlotAlgebra, V


def power_depth(exponent: int) -> int:
    """Levels that x^exponent takes: ceil(log2(exponent))."""
    return (exponent - 1).bit_length()


def power(b: SlotAlgebra[V], x: V, exponent: int) -> V:
    """x^exponent by square and multiply, exponent >= 1, in `power_depth` levels."""
    result: V | None = None
    square = x
    while True:
        if exponent & 1:
            result = square if result is None else b.rescale(b.multiply(result, square))
        exponent >>= 1
        if not exponent:
            assert result is not None
            return result
        square = b.rescale(b.multiply(square, square))


def chebyshev_depth(degree: int) -> int:
    """Levels of a Chebyshev sum of this degree: ceil(log2(degree + 1))."""
    return max(1, degree.bit_length())


def chebyshev(
    b: SlotAlgebra[V],
    x: V,
    coefficients: Sequence[float],
    low: float,
    high: float,
    scale: float,
    known: Mapping[int, V] | None = None,
) -> V:
    """sum_k c_k T_k(u), u = (2x - low - high) / (high - low), at `scale`, `chebyshev_depth` levels below x.

    The split is `approx.paterson_stockmeyer.plan`'s. The target scale is handed down the recursion (Bossuat
    et al., EUROCRYPT 2021, section 5), so every sum adds equal scales and no level is spent on aligning
    them. The map to [-1, 1] is a relabelling and an addition: no level. T_k with coefficient 0 are not
    computed. `known` holds T_k(u) that the caller has at hand; if its T_2 is several levels below x, that
    many primes count as one level.

    Raises:
        CompileError: if x has too few levels.
    """
    degree = len(coefficients) - 1
    depth = chebyshev_depth(degree)
    if b.level(x) < depth:
        raise CompileError(f"a polynomial of degree {degree} needs {depth} levels, {b.level(x)} are left")
    half, middle = (high - low) / 2, (high + low) / 2
    u = b.relabel(x, b.scale(x) * half)
    if middle:
        u = b.add_scalar(u, -middle / half)
    basis = {1: u, **(known or {})}
    top = b.level(basis[2]) + 1 if 2 in basis else b.level(u)
    series = _Series(b, basis, top, plan(max(degree, 1)).baby)
    bottom = series.top - depth + 1
    padded = [*coefficients, *[0.0] * (2 - len(coefficients))]
    return b.rescale(series.sum(padded, depth, bottom, scale * b.modulus(bottom)))


@dataclass(frozen=True, slots=True)
class _Series:
    """One evaluation: the T_k known so far, the level above that of T_2, and the length up to which a block
    is summed directly."""

    b: SlotAlgebra[Any]
    known: dict[int, Any]
    top: int
    baby: int

    def basis(self, k: int) -> Any:
        """T_k, from T_(i+j) = 2 T_i T_j - T_(i-j) with i - j in {0, 1}."""
        if k not in self.known:
            b, i, j = self.b, k - k // 2, k // 2
            product = b.multiply(self.basis(i), self.basis(j))
            product = b.add(product, product)
            if i != j:
                one = b.drop(self.known[1], b.level(product))
                product = b.sub(product, b.mul_scalar(one, 1.0, b.scale(product) / b.scale(one)))
            product = b.rescale(product)
            self.known[k] = b.add_scalar(product, -1.0) if i == j else product
        return self.known[k]

    def sum(self, c: list[float], depth: int, level: int, scale: float) -> Any:
        """The series with coefficients c, not rescaled, at `level` and `scale`, in `depth` levels."""
        if is_leaf(len(c), depth, self.baby):
            return self._direct(c, level, scale)
        b, m = self.b, half_of(len(c))
        quotient = [c[m], *(2.0 * value for value in c[m + 1 :])]
        rest = c[:m]
        for i in range(1, len(c) - m):
            rest[m - i] -= c[m + i]
        if not any(quotient):
            return self.sum(rest, depth, level, scale)
        giant = b.drop(self.basis(m), level)
        if not any(quotient[1:]):
            product = b.mul_scalar(giant, quotient[0], scale / b.scale(giant))
        else:
            above = b.level(self.known[1]) if level + 1 == self.top else level + 1
            primes = prod(b.modulus(i) for i in range(level + 1, above + 1))
            factor = self.sum(quotient, depth - 1, above, scale / b.scale(giant) * primes)
            while b.level(factor) > level:
                factor = b.rescale(factor)
            product = b.relabel(b.multiply(factor, giant), scale)
        if not any(rest[1:]):
            return b.add_scalar(product, rest[0]) if rest[0] else product
        return b.add(product, self.sum(rest, depth, level, scale))

    def _direct(self, c: list[float], level: int, scale: float) -> Any:
        b = self.b
        total = None
        for k in [k for k in range(1, len(c)) if c[k]] or [1]:
            t = b.drop(self.basis(k), level)
            term = b.mul_scalar(t, c[k], scale / b.scale(t))
            total = term if total is None else b.add(total, term)
        return b.add_scalar(total, c[0]) if c[0] else total
