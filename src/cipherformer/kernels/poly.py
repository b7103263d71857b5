"""Powers and Chebyshev polynomials over the slot algebra, in the least depth, with exact scales."""

from __future__ import annotations

from collections.abc import Sequence

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
    b: SlotAlgebra[V], x: V, coefficients: Sequence[float], low: float, high: float, scale: float
) -> V:
    """sum_k c_k T_k(u), u = (2x - low - high) / (high - low), at `scale`, `chebyshev_depth` levels below x.

    Paterson-Stockmeyer on the Chebyshev basis (Bossuat et al., EUROCRYPT 2021, section 5): p = q T_m + r with
    m = 2^(k-1), down to degree 1. The target scale is handed down the recursion, so every sum adds equal
    scales and no level is spent on aligning them. The map to [-1, 1] is a relabelling and an addition: no
    level.

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
    basis = {1: u}
    for k in range(1, depth):
        basis[1 << k] = _double_angle(b, basis[1 << (k - 1)])
    bottom = b.level(x) - depth + 1
    padded = [*coefficients, *[0.0] * ((1 << depth) - len(coefficients))]
    return b.rescale(_evaluate(b, padded, basis, bottom, scale * b.modulus(bottom)))


def _double_angle(b: SlotAlgebra[V], t: V) -> V:
    """T_2n = 2 T_n^2 - 1."""
    square = b.rescale(b.multiply(t, t))
    return b.add_scalar(b.add(square, square), -1.0)


def _evaluate(b: SlotAlgebra[V], c: list[float], basis: dict[int, V], level: int, scale: float) -> V:
    """The polynomial with 2^k coefficients, not rescaled, at `level` and `scale`."""
    if len(c) == 2:
        u = b.drop(basis[1], level)
        return b.add_scalar(b.mul_scalar(u, c[1], scale / b.scale(u)), c[0])
    m = len(c) // 2
    # T_{m+i} = 2 T_m T_i - T_{m-i}: the upper half divided by T_m leaves q, and takes its mirror image from
    # the rest.
    q = [c[m], *[2 * value for value in c[m + 1 :]]]
    rest = [c[0], *[c[i] - c[2 * m - i] for i in range(1, m)]]
    if not any(q):
        return _evaluate(b, rest, basis, level, scale)
    giant = b.drop(basis[m], level)
    if not any(q[1:]):
        product = b.mul_scalar(giant, q[0], scale / b.scale(giant))
    else:
        wanted = scale / b.scale(giant)
        quotient = b.rescale(_evaluate(b, q, basis, level + 1, wanted * b.modulus(level + 1)))
        product = b.multiply(quotient, giant)
        product = b.relabel(product, scale)
    if not any(rest):
        return product
    if not any(rest[1:]):
        return b.add_scalar(product, rest[0])
    return b.add(product, _evaluate(b, rest, basis, level, scale))
