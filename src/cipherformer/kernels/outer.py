"""Products of two matrices whose contracted index is spread over ciphertexts.

out[m, n] = sum_k a[m, k] b[k, n], with (m, n) in the slots of the result. For every pair of values of k one
ciphertext holds a[m, k] + i a[m, k'] in all slots (m, n), another one b[k, n] - i b[k', n]; the real part of
the sum of their products is the result, and the sum is relinearised once. Such ciphertexts are made from one
that holds all of `a`, in at most two stages, each a linear map with few diagonals: the first picks some bits
of k, the second the others; and they are made when they are used, so few exist at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from cipherformer.errors import CompileError
from cipherformer.kernels.algebra import SlotAlgebra, Transform, V
from cipherformer.kernels.linear import rotate_sum

Stages = tuple[tuple[str, ...], ...]
"""Keys of the maps of each stage; every map of a stage is applied to every result of the one before."""


def outer_depth(left: Stages) -> int:
    """Levels of `outer`: one a stage, one for the products."""
    return len(left) + 1


def outer(
    b: SlotAlgebra[V],
    x: V,
    y: V,
    left: Stages,
    right: Stages,
    transforms: Mapping[str, Transform],
    sums: Sequence[int],
    scale: float,
) -> V:
    """The product, at `scale`, of values at one level.

    Args:
        b: the algebra.
        x, y: the operands.
        left, right: maps of their stages, equally many of each.
        transforms: by key.
        sums: rotations of a rotate-and-sum over bits of k that stand in slots.
        scale: of the result.

    Raises:
        CompileError: if the stages differ.
    """
    if [len(s) for s in left] != [len(s) for s in right]:
        raise CompileError("the operands of a product are spread differently")
    wanted = left_scale(scale, b.scale(y), b.modulus(b.level(x) - len(left)))
    total = _total(b, x, y, left, right, transforms, wanted)
    total = b.rescale(total)
    total = b.add(total, b.conjugate(total))
    return rotate_sum(b, b.relabel(total, scale), sums)


def left_scale(scale: float, right: float, modulus: int) -> float:
    """Scale of the left operand in the products: the real part is half of the sum with the conjugate, so this
    sum is read at twice the scale that it has."""
    return scale / 2.0 * modulus / right


def encodings(
    left: Stages, right: Stages, level: int, scales: tuple[float, float], scale: float, moduli: Sequence[int]
) -> Iterator[tuple[str, int, float]]:
    """(key, level, scale) of all maps of `outer`, for operands at a level and two scales."""
    wanted = left_scale(scale, scales[1], moduli[level - len(left)])
    for stages, here, last in ((left, scales[0], wanted), (right, scales[1], scales[1])):
        for k, keys in enumerate(stages):
            goal = last if k + 1 == len(stages) else here
            yield from ((key, level - k, moduli[level - k] * (goal / here)) for key in keys)


def _total(
    b: SlotAlgebra[V],
    x: V,
    y: V,
    left: Stages,
    right: Stages,
    transforms: Mapping[str, Transform],
    wanted: float,
    total: V | None = None,
) -> V:
    """The sum of products below some stage, added to a total; x ends at the scale `wanted`."""
    if not left:
        if total is None:
            return b.multiply(x, y)
        return b.multiply_add(total, x, y)
    last = len(left) == 1
    for one, other in zip(left[0], right[0], strict=True):
        near = _spread(b, x, transforms[one], wanted if last else b.scale(x))
        far = _spread(b, y, transforms[other], b.scale(y))
        total = _total(b, near, far, left[1:], right[1:], transforms, wanted, total)
    assert total is not None
    return total


def _spread(b: SlotAlgebra[V], x: V, transform: Transform, scale: float) -> V:
    """A linear map, one level below and at a scale."""
    encoded = b.modulus(b.level(x)) * (scale / b.scale(x))
    return b.relabel(b.apply(x, transform, encoded, rescale=True), scale)
