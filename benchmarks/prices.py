"""Fits the price table that predictions use to whole primitives, measured here at several levels.

`python -m benchmarks.prices [--out FILE]`: the default is the table of the package, `targets/prices.json`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

import cipherformer.targets.prices as table
from benchmarks.peers.protocol import measure
from cipherformer import _native as native
from cipherformer.kernels.count import Operation
from cipherformer.report.machine import machine, today
from cipherformer.targets.prices import RingPrices, Work, work_of

RINGS = {13: (4, 2, 2), 14: (8, 3, 3), 15: (14, 6, 6), 16: (26, 9, 9)}
"""log2(N) -> limbs, special limbs, limbs of a digit: about what plans on that ring have."""
DIAGONALS, BABY_STEP, PERIOD = 32, 8, 2048
NAMES = ("transform", "product", "conversion", "addition", "call")


@dataclass(frozen=True)
class Sample:
    """A primitive, what it consists of, and its seconds on one and on two threads.

    The fastest of the calls counts: a price is that of an undisturbed machine.
    """

    operation: Operation
    work: Work
    one: float
    two: float


def calls(context: Any, level: int) -> Iterator[tuple[Operation, Callable[[], Any]]]:
    """The primitives at a level."""
    secret, keys, scale = native.SecretKey(context), native.KeySet(context), 2.0**40
    evaluator = native.Evaluator(context, keys)
    values = np.linspace(-1, 1, PERIOD)
    x = secret.encrypt(context.encode(values, level, scale))
    keys.add(secret.relinearisation_key(level))
    keys.add(secret.rotation_key(1, level))
    yield Operation("", "ct-ct product", level), lambda: evaluator.multiply(x, x)
    yield Operation("", "rotation", level), lambda: evaluator.rotate(x, 1)
    yield Operation("", "rescale", level), lambda: evaluator.rescale(x)
    yield Operation("", "add", level), lambda: evaluator.add(x, x)
    rotations = list(range(DIAGONALS))
    transform = context.linear_transform(rotations, np.tile(values, (DIAGONALS, 1)), level, scale, BABY_STEP)
    babies, giants = transform.rotations_needed
    for step in {*babies, *giants} - {0, 1}:
        keys.add(secret.rotation_key(step, level))
    sizes = {"babies": len(set(babies) - {0}), "giants": len(set(giants) - {0}), "period": PERIOD}
    matrix = Operation("", "ct-pt matrix", level, diagonals=DIAGONALS, **sizes)
    yield matrix, lambda: evaluator.apply(transform, x)
    product = context.linear_transform([0], values[None], level, scale, 1)
    yield Operation("", "ct-pt product", level, diagonals=1), lambda: evaluator.apply(product, x)


def processor_time(call: Callable[[], Any], seconds: float) -> list[float]:
    """Processor times of single calls for about so many seconds: what other processes take does not count."""
    times: list[float] = []
    end = time.process_time() + seconds
    while not times or (time.process_time() < end and len(times) < 200):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return times


def samples(log_n: int, seconds: float) -> list[Sample]:
    """Measures everything at one ring degree; the two thread counts alternate.

    One thread by its processor time, two by the clock: only on an idle machine is their quotient right.
    """
    limbs, special, digit = RINGS[log_n]
    primes = native.generate_primes(log_n, [50, *[40] * (limbs - 1), *[45] * special])
    parameters = native.Parameters(log_n, primes[:limbs], primes[limbs:], digit, insecure=True)
    contexts = [native.Context(parameters, threads=threads) for threads in (1, 2)]
    out = []
    for level in sorted({limbs - 1, 3 * limbs // 4, limbs // 2, limbs // 5 + 1}):
        for (operation, one), (_, two) in zip(*(calls(c, level) for c in contexts), strict=True):
            times: tuple[list[float], list[float]] = ([], [])
            for _ in range(3):
                times[0].extend(processor_time(one, seconds))
                times[1].extend(measure(two, seconds))
            out.append(Sample(operation, work_of(operation, special, digit), *map(min, times)))
    return out


def fit(work: NDArray[np.float64], seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Non-negative prices [5] of least relative squares for seconds [n] = work [n, 5] @ prices.

    Tries every set of prices that may be positive; there are thirty-one.
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
        [[s.work.transforms, s.work.products, s.work.conversions, s.work.additions, 1.0] for s in measured]
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
