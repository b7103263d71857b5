"""The slot algebra: what a kernel may do with a ciphertext.

A kernel is written once against this protocol and runs on ciphertexts (`backends.ckks`), on numpy slots with
a model of the noise (`backends.ckks_sim`), and on bare levels and scales (`kernels.count`).

Conventions. A value has a level (rescalings left) and a scale. Products are *not* rescaled: a kernel says
when. `add` and `sub` bring both operands to the lower level; their scales must agree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

V = TypeVar("V")


@dataclass(frozen=True, eq=False, slots=True)
class Transform:
    """A linear map of slots as a sum of rotated inputs times diagonals: y = sum_d diagonal_d * rotate(x,
    rotation_d).

    Args:
        name: unique in its plan (backends cache encoded diagonals under it).
        rotations: left rotations, distinct, in [-slots/2, slots/2).
        diagonals: [len(rotations), period], real or complex; a row is repeated to fill the slots.
        baby_step: rotations are split into a multiple of it (giant) and a rest (baby), the rests being
            hoisted.
    """

    name: str
    rotations: tuple[int, ...]
    diagonals: NDArray[Any]
    baby_step: int

    @property
    def babies(self) -> tuple[int, ...]:
        """Distinct baby rotations."""
        return tuple(sorted({r % self.baby_step for r in self.rotations}))

    @property
    def giants(self) -> tuple[int, ...]:
        """Distinct giant rotations."""
        return tuple(sorted({r - r % self.baby_step for r in self.rotations}))


class SlotAlgebra(Protocol[V]):
    """Operations on values of one backend."""

    @property
    def slots(self) -> int:
        """Slots of a value."""

    def modulus(self, level: int) -> int:
        """The prime that a rescaling from `level` divides by."""

    def level(self, a: V) -> int:
        """Level of a value."""

    def scale(self, a: V) -> float:
        """Scale of a value."""

    def add(self, a: V, b: V) -> V:
        """Sum."""

    def sub(self, a: V, b: V) -> V:
        """Difference."""

    def negate(self, a: V) -> V:
        """Negation."""

    def add_plain(self, a: V, values: NDArray[Any]) -> V:
        """Add a public vector (its length divides the slots)."""

    def add_scalar(self, a: V, value: float) -> V:
        """Add a public number to every slot."""

    def mul_scalar(self, a: V, value: float, scale: float) -> V:
        """Multiply by a public number encoded at `scale`; the scale of the result is the product."""

    def multiply(self, a: V, b: V) -> V:
        """Product of two ciphertexts, relinearised, at the product of their scales."""

    def multiply_add(self, total: V, a: V, b: V) -> V:
        """total + a b, where total is a sum of products: they are relinearised together."""

    def dot(self, a: Sequence[V], b: Sequence[V]) -> V:
        """The sum of the products of two lists, relinearised once."""

    def mix(self, values: Sequence[V], weights: NDArray[np.float64], scale: float) -> list[V]:
        """A matrix of numbers, encoded at `scale`, times values of one level and scale, rescaled."""

    def apply(self, a: V, transform: Transform, scale: float, rescale: bool = False) -> V:
        """A linear map whose diagonals are encoded at `scale`; the scale of the result is the product. With
        `rescale` it is rescaled in the same step, which is cheaper."""

    def rescale(self, a: V) -> V:
        """Divide by the modulus of the level: one level and that factor of scale less."""

    def drop(self, a: V, level: int) -> V:
        """The same value at a lower level and the same scale."""

    def relabel(self, a: V, scale: float) -> V:
        """The same ciphertext read at another scale: multiplies the value by old scale / new scale, for
        free."""

    def rotate(self, a: V, steps: int) -> V:
        """Left rotation: slot i of the result is slot i + steps."""

    def rotations(self, a: V, steps: Sequence[int]) -> list[V]:
        """Several left rotations of one value, which share work."""

    def conjugate(self, a: V) -> V:
        """The complex conjugate of every slot."""

    def times_i(self, a: V) -> V:
        """Every slot times the imaginary unit, exactly."""

    def raise_modulus(self, a: V) -> V:
        """From level 0 to the highest; small multiples of q_0 join the coefficients of the plaintext."""

    def each(self, kernel: Callable[[SlotAlgebra[V], V], V], values: Sequence[V]) -> list[V]:
        """The kernel on every value, side by side where threads are at hand."""

    def refresh(self, values: Sequence[V], level: int, scale: float) -> list[V]:
        """The same values, at most 1 in absolute value, at a higher level: one bootstrapping call."""
