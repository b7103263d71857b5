"""What primitives cost, measured: the only source of seconds in predictions.

Times of ring operations are written as a x transforms + b x limb products + c x limb conversions, with a, b,
c fitted to measurements of whole primitives at several levels (`python -m benchmarks.prices`). The counts
below follow the algorithms of the engine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from math import ceil
from typing import Any

from cipherformer.kernels.count import Operation

PRICES_FILE = "prices.json"


@dataclass(frozen=True, slots=True)
class Work:
    """Counts of kernels over one limb of N residues: transforms, products, conversions of one limb into
    another."""

    transforms: float = 0.0
    products: float = 0.0
    conversions: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(
            self.transforms + other.transforms,
            self.products + other.products,
            self.conversions + other.conversions,
        )

    def times(self, k: float) -> Work:
        """k times as much."""
        return Work(self.transforms * k, self.products * k, self.conversions * k)


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Seconds of one kernel over one limb at N = 2^16, on one thread; other N scale with N log N and N.

    Args:
        transform, product, conversion: seconds.
        two_threads: seconds on two threads over seconds on one.
        machine, date: where and when it was measured.
    """

    transform: float
    product: float
    conversion: float
    two_threads: float
    machine: str
    date: str

    @staticmethod
    def default() -> PriceTable:
        """The table that comes with the package."""
        text = resources.files("cipherformer.targets").joinpath(PRICES_FILE).read_text()
        return PriceTable.from_dict(json.loads(text))

    @staticmethod
    def from_dict(d: Mapping[str, Any]) -> PriceTable:
        """From JSON values."""
        numbers = {k: float(d[k]) for k in ("transform", "product", "conversion", "two_threads")}
        return PriceTable(**numbers, machine=str(d["machine"]), date=str(d["date"]))

    def seconds(self, work: Work, log_n: int, threads: int = 1) -> float:
        """Predicted time of some work."""
        share = 2.0 ** (log_n - 16)
        one = share * (
            self.transform * work.transforms * log_n / 16
            + self.product * work.products
            + self.conversion * work.conversions
        )
        return one * (self.two_threads if threads > 1 else 1.0)


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
        return Work(products=2 * self.digits * (self.limbs + self.special))

    def mod_down(self, polynomials: int = 2) -> Work:
        """Division by P."""
        return Work(self.special + self.limbs, 2 * self.limbs, self.special * self.limbs).times(polynomials)

    def key_switch(self) -> Work:
        """All three."""
        return self.decompose() + self.inner() + self.mod_down()


def work_of(op: Operation, special: int, digit: int) -> Work:
    """Kernels that one operation runs."""
    limbs = op.level + 1
    shape = Shape(limbs, special, digit)
    match op.primitive:
        case "ct-ct product":
            return Work(products=4 * limbs) + shape.key_switch()
        case "rotation":
            return Work(products=limbs) + shape.key_switch()
        case "rescale":
            return Work(2 * limbs, 2 * limbs)
        case "ct-pt product":
            return Work(products=2 * limbs * op.diagonals)
        case "ct-pt matrix":
            extended = limbs + special
            baby = shape.inner().times(op.babies) + (shape.decompose() if op.babies else Work())
            multiply = Work(products=2 * extended * op.diagonals)
            giant = (shape.mod_down(1) + shape.decompose() + shape.inner()).times(op.giants)
            return baby + multiply + giant + shape.mod_down()
        case "add" | "ct-scalar product":
            return Work(products=limbs)
        case "ct-pt add":
            return Work(products=limbs)
    return Work()
