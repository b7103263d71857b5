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
_BLOCK = 1 << 13
_HALF = 1 << (TABLE_BITS - 2)
_RIDGE = 1e-11
_POINTS = 1500
_POINTS_BEYOND = 100
_REACH = 0.5
"""Of the interval's length: as far beyond its ends the function counts, faintly."""
_FREE = 0.45
"""Of what a period has beyond the interval: as much on each side, at most."""
_FAINT, _TAIL = 1e-3, 1e-2
"""Weight of errors there; the second where only the left side counts: many tails of exponentials are summed.
A term or two buy a hundredth of the error."""


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
    function: Callable[[Floats], Floats],
    low: float,
    high: float,
    error: float,
    *,
    even: bool = False,
    right: bool = True,
) -> Waves:
    """The shortest sum within `error` on [low, high], which stays near the function beyond the ends, too.

    Args:
        function: smooth on the interval, finite for half its length beyond.
        low: left end.
        high: right end.
        error: largest absolute error.
        even: use cosines only.
        right: whether values may lie beyond the right end.

    Raises:
        LimitError: if `MOST_TERMS` terms do not do.
    """
    reach = max(abs(low), abs(high), 2.0**-6)
    log_period = ceil(log2(2.2 * reach))
    x = np.concatenate(
        [np.linspace(low, high, _POINTS), low + (high - low) * (1 - np.cos(np.linspace(0, np.pi, 301))) / 2]
    )
    count = len(x)
    x = np.concatenate([x, _beyond(low, high, 2.0**log_period, right=right)])
    wanted = function(x)
    weight = np.where(
        np.arange(len(x)) < count, 1.0, (_FAINT if right else _TAIL) * np.sqrt(count / max(len(x) - count, 1))
    )
    best = np.inf
    for terms in range(2, MOST_TERMS + 1):
        angles = (2.0 * np.pi / 2.0**log_period) * np.outer(x, np.arange(1, terms + 1))
        parts = [np.ones((len(x), 1)), np.cos(angles)] + ([] if even else [np.sin(angles)])
        basis = np.concatenate(parts, axis=1)
        ridge = np.sqrt(_RIDGE * count) * np.eye(basis.shape[1])
        target = np.concatenate([wanted * weight, np.zeros(basis.shape[1])])
        rows = np.concatenate([basis * weight[:, None], ridge])
        found = np.linalg.lstsq(rows, target, rcond=None)[0]
        worst = float(np.max(np.abs(basis @ found - wanted)[:count]))
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


def _beyond(low: float, high: float, period: float, *, right: bool) -> Floats:
    """Points on both sides of an interval, as far as the sum need not repeat itself."""
    far = min(_REACH * (high - low), _FREE * (period - high + low))
    steps = np.linspace(0.0, far, _POINTS_BEYOND + 1)[1:]
    return np.concatenate([low - steps, high + steps]) if right else low - steps


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


def _blocks(count: int) -> Iterator[slice]:
    """Parts small enough for the cache."""
    return (slice(start, start + _BLOCK) for start in range(0, count, _BLOCK))


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
        drop = TABLE_BITS - PUBLIC_BITS
        for wave in self._waves(masked):
            yield (wave + (1 << (drop - 1))) >> drop

    def _waves(self, value: NDArray[np.uint64]) -> Iterator[Integers]:
        """cos and sin of k x in turn, 30 fraction bits: the first from the table, then by recurrence.

        f_(k+1) = 2 cos(x) f_k - f_(k-1), whose rounding adds up to k^2 units at most.
        """
        table, size = integer_cosines(self.log_size), 1 << self.log_size
        position = (value & np.uint64(size - 1)).astype(np.int64)
        first = table[position]
        cosine, sine = first, table[(position - size // 4) & (size - 1)]
        before = np.full_like(cosine, 1 << TABLE_BITS), np.zeros_like(sine)
        for _ in self.waves.cosines:
            yield cosine
            yield sine
            after = [
                ((first * now + _HALF) >> (TABLE_BITS - 1)) - old
                for now, old in zip((cosine, sine), before, strict=True)
            ]
            before = cosine, sine
            cosine, sine = after

    def weighted(self, masked: NDArray[np.uint64], secrets: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """The sum of `factors` times shares [2K, ...] of `secrets`, modulo 2^64."""
        flat, rows = masked.reshape(-1), secrets.reshape(len(secrets), -1)
        out = np.empty(flat.shape, np.uint64)
        for part in _blocks(flat.size):
            total = np.zeros(len(flat[part]), np.uint64)
            for factor, row in zip(self.factors(flat[part]), rows, strict=True):
                total += factor.view(np.uint64) * row[part]
            out[part] = total
        return out.reshape(masked.shape)

    def secrets(self, mask: NDArray[np.uint64]) -> Integers:
        """[2K, ...]: a_k cos(k r) - b_k sin(k r) and a_k sin(k r) + b_k cos(k r), in turn for each k."""
        flat, count = mask.reshape(-1), len(self.waves.cosines)
        out = np.empty((2 * count, flat.size), dtype=np.int64)
        drop = TABLE_BITS + _COEFFICIENT_BITS - SECRET_BITS
        half = 1 << (drop - 1)
        for part in _blocks(flat.size):
            found = self._waves(flat[part])
            for k, (u, v) in enumerate(self.coefficients.tolist()):
                cosine, sine = next(found), next(found)
                out[2 * k, part] = (u * cosine - v * sine + half if v else u * cosine + half) >> drop
                out[2 * k + 1, part] = (u * sine + v * cosine + half if v else u * sine + half) >> drop
        return out.reshape(2 * count, *mask.shape)

    @property
    def coefficients(self) -> Integers:
        """[K, 2]: those of cosines and sines, 16 fraction bits."""
        sines = self.waves.sines or (0.0,) * len(self.waves.cosines)
        pairs = np.stack([self.waves.cosines, sines], axis=1)
        return np.rint(pairs * 2.0**_COEFFICIENT_BITS).astype(np.int64)

    @property
    def constant(self) -> int:
        """Term 0 in the result's scale."""
        return round(self.waves.constant * 2.0**RESULT_BITS)

    def evaluate(self, value: Integers, mask: NDArray[np.uint64]) -> Integers:
        """The integers that a protocol with this mask computes."""
        masked = value.astype(np.uint64) + mask
        shares = self.secrets(mask).view(np.uint64)
        return np.asarray(self.weighted(masked, shares).view(np.int64) + self.constant)


def integer_waves(attrs: Mapping[str, Any], frac_bits: int) -> IntegerWaves:
    """The function of an op's attributes, on operands with these fraction bits."""
    numbers = (attrs["log_period"], float(attrs["constant"]), attrs["cosines"], attrs["sines"])
    return IntegerWaves(Waves(*numbers, 0.0), frac_bits)
