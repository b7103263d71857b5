"""1/x by Goldschmidt iterations with adaptive relaxation over the slot algebra."""

from __future__ import annotations

from collections.abc import Sequence

from cipherformer.errors import CompileError
from cipherformer.kernels.algebra import SlotAlgebra, V


def reciprocal_depth(iterations: int) -> int:
    """Levels of `reciprocal`: the first step of the result is free, so 0 for one iteration, otherwise one
    each."""
    return 0 if iterations == 1 else iterations


def reciprocal(b: SlotAlgebra[V], x: V, high: float, relaxations: Sequence[float]) -> V:
    """1/x for x in (0, high]: x' <- k x' (2 - k x'), y <- k y (2 - k x'), from x' = x/high, y = 1/high.

    Scaling by high and k is a relabelling, so the first step of y costs nothing, and each further step one
    level. The scale of the result follows from the primes; read it with `b.scale`.

    Raises:
        CompileError: if x has too few levels.
    """
    steps = len(relaxations)
    if b.level(x) < reciprocal_depth(steps):
        raise CompileError(
            f"{steps} Goldschmidt steps need {reciprocal_depth(steps)} levels, {b.level(x)} are left"
        )
    x = b.relabel(x, b.scale(x) * high)
    y: V | None = None
    for i, k in enumerate(relaxations):
        kx = b.relabel(x, b.scale(x) / k)
        w = b.negate(b.add_scalar(kx, -2.0))
        if y is None:
            y = b.relabel(w, b.scale(w) * high / k)
        else:
            y = b.rescale(b.multiply(b.relabel(y, b.scale(y) / k), w))
        if i + 1 < steps:
            x = b.rescale(b.multiply(kx, w))
    assert y is not None
    return y
