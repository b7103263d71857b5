"""Functions on an interval as short sums of sines and cosines, and these in integers.

The period is a power of two wider than the interval, so that a fixed-point number can be reduced by it by
dropping high bits. The coefficients are a least-squares fit with a small ridge, which keeps them, and so the
noise of fixed-point factors, small. (Fourier extension: Huybrechs, SIAM J. Numer. Anal. 47, 2010.)

The integer cosines are made with integer operations only, so that every machine has the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from math import ceil, log2
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.errors import LimitError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MOST_TERMS = 48
TABLE_BITS = 30
PUBLIC_BITS, SECRET_BITS = 15, 16
RESULT_BITS = PUBLIC_BITS + SECRET_BITS
"""Fraction bits of factors of what is public, of those of the mask, and of sums of their products."""

_COEFFICIENT_BITS = 16
_RIDGE = 1e-11
_POINTS = 1500


@dataclass(frozen=True, slots=True)
class Waves:
    """constant + sum_k cosines[k-1] cos(2 pi k x / P) + sines[k-1] sin(2 pi k x / P), P = 2^log_period.

    Args:
        log_period: log2 of the period.
        constant: term 0.
        cosines: terms 1 to K.
        sines: likewise, or empty.
        error: largest on the interval.
    """

    log_period: int
    constant: float
    cosines: tuple[float, ...]
    sines: tuple[float, ...]
    error: float


def fit(
    function: Callable[[Floats], Floats], low: float, high: float, error: float, *, even: bool = False
) -> Waves:
    """The shortest sum within `error` on [low, high].

    Args:
        function: smooth on the interval.
        low: left end.
        high: right end.
        error: largest absolute error.
        even: use cosines only.

    Raises:
        LimitError: if `MOST_TERMS` terms do not do.
    """
    reach = max(abs(low), abs(high), 2.0**-6)
    log_period = ceil(log2(2.2 * reach))
    x = np.concatenate(
        [np.linspace(low, high, _POINTS), low + (high - low) * (1 - np.cos(np.linspace(0, np.pi, 301))) / 2]
    )
    wanted = function(x)
    best = np.inf
    for terms in range(2, MOST_TERMS + 1):
        angles = (2.0 * np.pi / 2.0**log_period) * np.outer(x, np.arange(1, terms + 1))
        parts = [np.ones((len(x), 1)), np.cos(angles)] + ([] if even else [np.sin(angles)])
        basis = np.concatenate(parts, axis=1)
        ridge = np.sqrt(_RIDGE * len(x)) * np.eye(basis.shape[1])
        target = np.concatenate([wanted, np.zeros(basis.shape[1])])
        found = np.linalg.lstsq(np.concatenate([basis, ridge]), target, rcond=None)[0]
        worst = float(np.max(np.abs(basis @ found - wanted)))
        best = min(best, worst)
        if worst <= error:
            numbers = [float(v) for v in found]
            return Waves(
                log_period, numbers[0], tuple(numbers[1 : terms + 1]), tuple(numbers[terms + 1 :]), worst
            )
    raise LimitError(
        f"a function on [{low:.4g}, {high:.4g}] needs more than {MOST_TERMS} waves",
        why=f"they leave an error of {best:.3g}, not {error:.3g}",
        fix="shrink the interval with a range loss, or allow a larger error",
    )


@cache
def integer_cosines(log_size: int) -> Integers:
    """round(2^30 cos(2 pi i / 2^log_size)) for i < 2^log_size, four units off at most; integers only."""
    if log_size < 3:
        raise ValueError("a table has at least 8 entries")
    eighth = 1 << (log_size - 3)
    two_pi = 6746518852  # round(2^30 2 pi)
    angle = (np.arange(eighth + 1, dtype=np.int64) * two_pi) >> log_size  # at most pi / 4
    square = (angle * angle) >> TABLE_BITS
    cosine = _series(square, (1, -2, 24, -720, 40320, -3628800))
    sine = (angle * _series(square, (1, -6, 120, -5040, 362880, -39916800)) + (1 << 29)) >> TABLE_BITS
    quarter = np.concatenate([cosine, sine[-2::-1]])
    half = np.concatenate([quarter, -quarter[-2::-1]])
    out = np.concatenate([half, half[-2:0:-1]])
    out.setflags(write=False)
    return out


@cache
def public_cosines(log_size: int) -> Integers:
    """`integer_cosines` rounded to `PUBLIC_BITS`."""
    drop = TABLE_BITS - PUBLIC_BITS
    out = np.asarray((integer_cosines(log_size) + (1 << (drop - 1))) >> drop)
    out.setflags(write=False)
    return out


def _series(square: Integers, divisors: tuple[int, ...]) -> Integers:
    """sum_j x^(2j) / divisors[j] by Horner's rule, 30 fraction bits."""
    out = np.zeros_like(square)
    for divisor in reversed(divisors):
        out = ((out * square) >> TABLE_BITS) + ((1 << TABLE_BITS) + abs(divisor) // 2) // divisor
    return out


@dataclass(frozen=True, slots=True)
class IntegerWaves:
    """Waves on integers with `frac_bits` fraction bits, evaluated at x^ = x + r from factors of x^ and of r.

    Args:
        waves: the real function.
        frac_bits: of x.
    """

    waves: Waves
    frac_bits: int

    @property
    def log_size(self) -> int:
        """Bits of x that matter."""
        return self.waves.log_period + self.frac_bits

    def factors(self, masked: NDArray[np.uint64]) -> Iterator[Integers]:
        """cos and sin of k x^ in turn for each k, rounded to `PUBLIC_BITS`."""
        return self._waves(masked, public_cosines(self.log_size))

    def _waves(self, value: NDArray[np.uint64], table: Integers) -> Iterator[Integers]:
        size = 1 << self.log_size
        position = (value & np.uint64(size - 1)).astype(np.int64)
        for k in range(1, len(self.waves.cosines) + 1):
            at = position * k
            yield table[at & (size - 1)]
            yield table[(at - size // 4) & (size - 1)]

    def secrets(self, mask: NDArray[np.uint64]) -> Integers:
        """[2K, ...]: a_k cos(k r) - b_k sin(k r) and a_k sin(k r) + b_k cos(k r), in turn for each k."""
        found = self._waves(mask, integer_cosines(self.log_size))
        out = np.empty((2 * len(self.waves.cosines), *mask.shape), dtype=np.int64)
        drop = TABLE_BITS + _COEFFICIENT_BITS - SECRET_BITS
        half = 1 << (drop - 1)
        sines = self.waves.sines or (0.0,) * len(self.waves.cosines)
        for k, (a, b) in enumerate(zip(self.waves.cosines, sines, strict=True)):
            u, v = (round(c * 2.0**_COEFFICIENT_BITS) for c in (a, b))
            cosine, sine = next(found), next(found)
            out[2 * k] = (u * cosine - v * sine + half) >> drop
            out[2 * k + 1] = (u * sine + v * cosine + half) >> drop
        return out

    @property
    def constant(self) -> int:
        """Term 0 in the result's scale."""
        return round(self.waves.constant * 2.0**RESULT_BITS)

    def evaluate(self, value: Integers, mask: NDArray[np.uint64]) -> Integers:
        """The integers that a protocol with this mask computes."""
        masked = value.astype(np.uint64) + mask
        out = np.full(value.shape, self.constant, dtype=np.int64)
        for factor, secret in zip(self.factors(masked), self.secrets(mask), strict=True):
            out += factor * secret
        return out


def integer_waves(attrs: Mapping[str, Any], frac_bits: int) -> IntegerWaves:
    """The function of an op's attributes, on operands with these fraction bits."""
    numbers = (attrs["log_period"], float(attrs["constant"]), attrs["cosines"], attrs["sines"])
    return IntegerWaves(Waves(*numbers, 0.0), frac_bits)
