"""What primitives cost, measured: the only source of seconds in predictions.

Times of ring operations are written as a x transforms + b x limb products + c x limb conversions + d x limb
additions + e x limbs read from memory + f, with a to f fitted for each ring degree to measurements of whole
primitives at several levels, none of whose operands is in a cache (`python -m benchmarks.prices`). The counts
below follow the algorithms of the engine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from math import ceil
from typing import Any

from cipherformer.kernels.count import Operation

MIXED, SUMMED = 0.25, 0.5
"""Cost of a term of `mix`, and of a sum of products, against a product that is stored."""

PRICES_FILE = "prices.json"


@dataclass(frozen=True, slots=True)
class Work:
    """Counts of kernels over one limb of N residues: transforms, products, conversions of one limb into
    another, additions, and limbs of keys and diagonals that are read once."""

    transforms: float = 0.0
    products: float = 0.0
    conversions: float = 0.0
    additions: float = 0.0
    reads: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(
            self.transforms + other.transforms,
            self.products + other.products,
            self.conversions + other.conversions,
            self.additions + other.additions,
            self.reads + other.reads,
        )

    def times(self, k: float) -> Work:
        """k times as much."""
        return Work(
            self.transforms * k, self.products * k, self.conversions * k, self.additions * k, self.reads * k
        )


@dataclass(frozen=True, slots=True)
class RingPrices:
    """Seconds of one kernel over one limb on one thread, for one ring degree.

    Args:
        transform, product, conversion, addition, read: of a limb.
        call: of an operation, whatever its size.
        two_threads: seconds on two threads over seconds on one.
    """

    transform: float
    product: float
    conversion: float
    addition: float
    read: float
    call: float
    two_threads: float

    def seconds(self, work: Work, threads: int) -> float:
        """Predicted time of one operation."""
        one = (
            self.transform * work.transforms
            + self.product * work.products
            + self.conversion * work.conversions
            + self.addition * work.additions
            + self.read * work.reads
            + self.call
        )
        return one * (self.two_threads if threads > 1 else 1.0)

    def scaled(self, log_n: int, other: int) -> RingPrices:
        """An estimate for another ring: transforms grow with N log N, the rest with N."""
        share = 2.0 ** (other - log_n)
        return RingPrices(
            self.transform * share * other / log_n,
            self.product * share,
            self.conversion * share,
            self.addition * share,
            self.read * share,
            self.call,
            self.two_threads,
        )


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Prices by log2 of the ring degree.

    Args:
        rings: measured prices.
        machine, date: where and when they were measured.
    """

    rings: Mapping[int, RingPrices]
    machine: str
    date: str

    @staticmethod
    def default() -> PriceTable:
        """The table that comes with the package."""
        return _default()

    @staticmethod
    def from_dict(d: Mapping[str, Any]) -> PriceTable:
        """From JSON values."""
        rings = {
            int(log_n): RingPrices(**{f.name: float(prices[f.name]) for f in fields(RingPrices)})
            for log_n, prices in d["rings"].items()
        }
        return PriceTable(rings, machine=str(d["machine"]), date=str(d["date"]))

    def ring(self, log_n: int) -> RingPrices:
        """Prices of a ring; of the nearest one that was measured, scaled, if it was not."""
        near = min(self.rings, key=lambda known: abs(known - log_n))
        return self.rings[near] if near == log_n else self.rings[near].scaled(near, log_n)

    def seconds(self, work: Work, log_n: int, threads: int = 1) -> float:
        """Predicted time of one operation."""
        return self.ring(log_n).seconds(work, threads)


@cache
def _default() -> PriceTable:
    text = resources.files("cipherformer.targets").joinpath(PRICES_FILE).read_text()
    return PriceTable.from_dict(json.loads(text))


@dataclass(frozen=True, slots=True)
class Shape:
    """Limbs that a key switch works on: of the ciphertext, of P, and in a digit."""

    limbs: int
    special: int
    digit: int

    @property
    def digits(self) -> int:
        """Digits of the ciphertext."""
        return ceil(self.limbs / self.digit)

    def decompose(self) -> Work:
        """Inverse transform, conversion of every digit to all other primes, transforms."""
        extended = self.limbs + self.special
        new = self.digits * extended - self.limbs
        return Work(self.limbs + new, self.limbs, self.limbs * (extended - self.digit))

    def inner(self) -> Work:
        """Sum over digits of digit times key, two polynomials."""
        key = 2 * self.digits * (self.limbs + self.special)
        return Work(products=key, reads=key)

    def mod_down(self, polynomials: int = 2) -> Work:
        """Division by P."""
        return Work(self.special + self.limbs, 2 * self.limbs, self.special * self.limbs).times(polynomials)

    def key_switch(self) -> Work:
        """All three."""
        return self.decompose() + self.inner() + self.mod_down()


def work_of(op: Operation, special: int, digit: int, log_n: int) -> Work:
    """Kernels that one operation runs."""
    limbs = op.level + 1
    shape = Shape(limbs, special, digit)
    diagonals = op.diagonals * min(1.0, 2 * op.period / 2**log_n)  # in limbs, each that is read
    match op.primitive:
        case "ct-ct product":
            return Work(products=4 * limbs) + shape.key_switch()
        case "ct-ct sum":
            return Work(products=4 * SUMMED * limbs * op.diagonals) + shape.key_switch()
        case "mix":
            return Work(products=2 * MIXED * limbs * op.diagonals * op.giants)
        case "rotations":
            each = shape.inner() + shape.mod_down() + Work(products=limbs)
            return shape.decompose() + each.times(op.babies) if op.babies else Work()
        case "ct-ct term":
            return Work(products=4 * limbs, additions=3 * limbs)
        case "rotation":
            return Work(products=limbs) + shape.key_switch()
        case "rescale":
            return Work(2 * limbs, 2 * limbs)
        case "ct-pt product":
            return Work(products=2 * limbs * op.diagonals, additions=2 * limbs, reads=limbs * diagonals)
        case "ct-pt matrix":
            extended = limbs + special
            baby = shape.inner().times(op.babies) + (shape.decompose() if op.babies else Work())
            moved = 2 * extended * (op.babies + op.giants)
            multiply = Work(products=2 * extended * op.diagonals, additions=moved, reads=extended * diagonals)
            giant = (shape.mod_down(1) + shape.decompose() + shape.inner()).times(op.giants)
            return baby + multiply + giant + shape.mod_down()
        case "add":
            return Work(additions=2 * limbs)
        case "ct-scalar product":
            return Work(products=2 * limbs)
        case "ct-pt add":
            return Work(additions=limbs)
        case "raise":
            # Two key switches of one digit and one special limb, the second at the level that is reached.
            once = Shape(limbs, 1, limbs)
            return once.inner() + once.mod_down() + Work(2 * limbs, limbs, limbs)
    return Work()
