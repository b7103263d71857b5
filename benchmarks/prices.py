"""Fits the price table that predictions use to whole primitives, measured here at several levels.

`python -m benchmarks.prices [--out FILE]`: the default is the table of the package, `targets/prices.json`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

import cipherformer.targets.prices as table
from cipherformer import _native as native
from cipherformer.kernels.count import Operation
from cipherformer.report.machine import machine, today
from cipherformer.targets.prices import RingPrices, Work, work_of

RINGS = {13: (4, 2, 2), 14: (8, 3, 3), 15: (14, 6, 6), 16: (29, 9, 10)}
"""log2(N) -> limbs, special limbs, limbs of a digit: about what plans on that ring have."""
PERIOD = 2048
"""Of plaintexts."""
MATRICES = ((32, 8, 2048), (64, 16, 128), (32, 8, 0))
"""Diagonals, baby step, and the diagonals' period (0: all slots) of the matrices that are measured."""
NAMES = ("transform", "product", "conversion", "addition", "read", "call")
CACHE_BYTES = 1 << 27
"""More than caches hold: read before every call, since operands of a plan have left the caches."""


@dataclass(frozen=True)
class Sample:
    """A primitive, what it consists of, and its seconds on one and on two threads.

    The median of the calls counts.
    """

    operation: Operation
    work: Work
    one: float
    two: float


Call = Callable[[Any], Any]
"""A primitive on an evaluator."""


def primitives(
    context: Any, keep: Callable[[Any], None], log_n: int, level: int
) -> Iterator[tuple[Operation, Call]]:
    """The primitives at a level; their keys are given to `keep`."""
    secret, scale = native.SecretKey(context), 2.0**40
    values = np.linspace(-1, 1, PERIOD)
    x, y = (secret.encrypt(context.encode(values, level, scale)) for _ in range(2))
    keep(secret.relinearisation_key(level))
    keep(secret.rotation_key(1, level))
    yield Operation("", "ct-ct product", level), lambda evaluator: evaluator.multiply(x, y)
    yield Operation("", "rotation", level), lambda evaluator: evaluator.rotate(x, 1)
    yield Operation("", "rescale", level), lambda evaluator: evaluator.rescale(x)
    yield Operation("", "add", level), lambda evaluator: evaluator.add(x, y)
    for diagonals, step, shape in MATRICES:
        period = shape or 1 << (log_n - 1)
        rows = np.tile(np.linspace(-1, 1, period), (diagonals, 1))
        transform = context.linear_transform(list(range(diagonals)), rows, level, scale, step)
        babies, giants = (sorted(set(moved) - {0}) for moved in transform.rotations_needed)
        for rotation in {*babies, *giants} - {1}:
            keep(secret.rotation_key(rotation, level))
        counts = {"babies": len(babies), "giants": len(giants), "period": period}
        matrix = Operation("", "ct-pt matrix", level, diagonals=diagonals, **counts)
        yield matrix, partial(_applied, transform, x)
    product = context.linear_transform([0], values[None], level, scale, 1)
    single = Operation("", "ct-pt product", level, diagonals=1, period=PERIOD)
    yield single, partial(_applied, product, x)


def _applied(transform: Any, x: Any, evaluator: Any) -> Any:
    return evaluator.apply(transform, x)


def cold_times(call: Call, evaluator: Any, clock: Callable[[], float], seconds: float) -> list[float]:
    """Times of single calls for about so many seconds, each with empty caches."""
    other = np.zeros(CACHE_BYTES // 8)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or (time.perf_counter() < end and len(times) < 200):
        other += 1.0
        start = clock()
        call(evaluator)
        times.append(clock() - start)
    return times


def samples(log_n: int, seconds: float) -> list[Sample]:
    """Measures everything at one ring degree; the two thread counts alternate.

    One thread by its processor time, two by the clock: only on an idle machine is their quotient right.
    """
    limbs, special, digit = RINGS[log_n]
    primes = native.generate_primes(log_n, [50, *[40] * (limbs - 1), *[50] * special])
    parameters = native.Parameters(log_n, primes[:limbs], primes[limbs:], digit, insecure=True)
    contexts = [native.Context(parameters, threads=threads) for threads in (1, 2)]
    out = []
    for level in sorted({limbs - 1, 3 * limbs // 4, limbs // 2, limbs // 5 + 1}):
        sets = [native.KeySet(context) for context in contexts]
        evaluators = [native.Evaluator(*both) for both in zip(contexts, sets, strict=True)]

        def keep(key: Any, sets: list[Any] = sets) -> None:
            for keys in sets:
                keys.add(key)

        for operation, call in primitives(contexts[1], keep, log_n, level):
            times: tuple[list[float], list[float]] = ([], [])
            for _ in range(3):
                times[0].extend(cold_times(call, evaluators[0], time.process_time, seconds))
                times[1].extend(cold_times(call, evaluators[1], time.perf_counter, seconds))
            work = work_of(operation, special, digit, log_n)
            out.append(Sample(operation, work, median(times[0]), median(times[1])))
    return out


def fit(work: NDArray[np.float64], seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Non-negative prices [6] of least relative squares for seconds [n] = work [n, 6] @ prices.

    Tries every set of prices that may be positive; there are sixty-three.
    """
    relative = work / seconds[:, None]
    best, least = np.zeros(work.shape[1]), np.inf
    for count in range(1, work.shape[1] + 1):
        for chosen in combinations(range(work.shape[1]), count):
            prices = np.zeros(work.shape[1])
            prices[list(chosen)] = np.linalg.lstsq(relative[:, chosen], np.ones(len(work)), rcond=None)[0]
            error = float(np.square(relative @ prices - 1).sum())
            if (prices >= 0).all() and error < least:
                best, least = prices, error
    return best


def prices_of(log_n: int, seconds: float, known: float, console: Console) -> dict[str, float]:
    """Measures and fits one ring degree; `known` is the ratio of two threads to one, 0 to measure it."""
    measured = samples(log_n, seconds)
    work = np.array(
        [
            [w.transforms, w.products, w.conversions, w.additions, w.reads, 1.0]
            for w in (s.work for s in measured)
        ]
    )
    prices = fit(work, np.array([s.one for s in measured]))
    record = {name: float(f"{price:.4g}") for name, price in zip(NAMES, prices, strict=True)}
    weight = np.array([s.one for s in measured])
    ratio = known or sum(s.two for s in measured) / weight.sum()
    record["two_threads"] = float(f"{ratio:.3g}")
    predicted = RingPrices(**record)
    for s in measured:
        console.print(
            f"2^{log_n} {s.operation.primitive:14} level {s.operation.level:2}: {s.one * 1e3:8.3f} ms, "
            f"predicted / measured {predicted.seconds(s.work, 1) / s.one:.2f}, "
            f"two threads / one {s.two / s.one:.2f}"
        )
    return record


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prices", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(table.__file__).with_name(table.PRICES_FILE))
    parser.add_argument("--seconds", type=float, default=0.1, help="time for a primitive and round")
    parser.add_argument(
        "--two-threads",
        type=float,
        default=0.0,
        help="ratio of two threads to one, measured before: for a machine that is busy now",
    )
    options, console = parser.parse_args(), Console(highlight=False)
    where = machine()
    record = {
        "machine": f"{where['processor']} ({', '.join(where['vectors'])}), {where['cores']} cores",
        "date": today(),
        "rings": {
            str(log_n): prices_of(log_n, options.seconds, options.two_threads, console) for log_n in RINGS
        },
    }
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    console.print(f"{options.out.name}: {record}")


if __name__ == "__main__":
    main()
