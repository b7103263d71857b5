"""The ring that fixed-point values live in: integers modulo 2^width, of which some bits are fraction."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cipherformer.errors import ParameterError


class Truncation(Enum):
    """What the protocol's truncation by t bits computes from the integer v.

    EXACT rounds to the nearest: floor(v / 2^t + 1/2). PROBABILISTIC is floor(v / 2^t) plus a bit that is one
    with probability frac(v / 2^t): at most one unit off, and right on average. TRUNCATE_REDUCE gives the
    same values without interaction in a ring that is t bits narrower (both the public masked value and the
    mask are shifted); a re-extension to the full ring follows and needs |v| < 2^(n - 2) of the narrow one.
    """

    EXACT = "exact"
    PROBABILISTIC = "probabilistic"
    TRUNCATE_REDUCE = "truncate-reduce"


NARROWEST, WIDEST = 16, 128


@dataclass(frozen=True, slots=True)
class RingTarget:
    """A ring and how values stand in it: real x is the integer round(x 2^s), s its fraction bits.

    A value of magnitude |x| < 2^m fits if `s + m + 1 + guard_bits <= width`: one bit is the sign.

    Args:
        width: bits of the ring, of the widest one if there are several.
        frac_bits: fraction bits of inputs and of every value after a truncation.
        guard_bits: bits kept free below the ring's bound; 0 is right for the three truncations here, about 40
            would be needed by one that fails with probability 2^-guard_bits.
        truncation: what a truncation computes.
        narrower: widths of other rings that the policy `optimal` may use.

    Raises:
        ParameterError: a width outside 16 to 128, or no room for an integer part.

    >>> RingTarget(64, 16).fits(32, 31)
    True
    """

    width: int = 64
    frac_bits: int = 16
    guard_bits: int = 0
    truncation: Truncation = Truncation.EXACT
    narrower: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if any(not NARROWEST <= w < self.width for w in self.narrower):
            raise ParameterError(
                f"narrower rings of {list(self.narrower)} bits",
                why=f"they must be below {self.width} and at least {NARROWEST}",
            )
        if not NARROWEST <= self.width <= WIDEST:
            raise ParameterError(
                f"a ring of {self.width} bits", why=f"the widths are {NARROWEST} to {WIDEST}", fix="use 64"
            )
        if self.guard_bits < 0 or not 1 <= self.frac_bits <= self.width - self.guard_bits - 2:
            raise ParameterError(
                f"{self.frac_bits} fraction bits and {self.guard_bits} guard bits in a ring of {self.width}",
                why="a sign and an integer bit must fit beside them",
                fix="use fewer fraction bits, or a wider ring",
            )

    @property
    def widths(self) -> tuple[int, ...]:
        """Of all rings, the narrowest first."""
        return tuple(sorted({self.width, *self.narrower}))

    @property
    def room(self) -> int:
        """Largest s + m of a value that fits the widest ring."""
        return self.room_in(self.width)

    def room_in(self, width: int) -> int:
        """Largest s + m of a value that fits; re-extension, from any narrower ring, takes one bit more."""
        extension = 1 if self.truncation is Truncation.TRUNCATE_REDUCE or self.narrower else 0
        return width - 1 - self.guard_bits - extension

    def fits(self, frac_bits: int, magnitude: int, width: int | None = None) -> bool:
        """Whether |x| < 2^magnitude with these fraction bits keeps the invariant."""
        return frac_bits + magnitude <= self.room_in(width or self.width)
