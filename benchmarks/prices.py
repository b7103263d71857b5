"""Fits the price table that predictions use to whole primitives, measured here at several levels.

`python -m benchmarks.prices [--out FILE]`: the default is the table of the package, `targets/prices.json`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

import cipherformer.targets.prices as table
from benchmarks.peers.protocol import measure
from cipherformer import _native as native
from cipherformer.kernels.count import Operation
from cipherformer.report.machine import machine, today
from cipherformer.targets.prices import PriceTable, Work, work_of

LOG_N, LIMBS, SPECIAL, DIGIT = 16, 26, 9, 9
LEVELS = (4, 12, 20, 25)
DIAGONALS, BABY_STEP, PERIOD = 64, 8, 4096
NAMES = ("transform", "product", "conversion")


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
    rotations = list(range(DIAGONALS))
    transform = context.linear_transform(rotations, np.tile(values, (DIAGONALS, 1)), level, scale, BABY_STEP)
    babies, giants = transform.rotations_needed
    for step in {*babies, *giants} - {0, 1}:
        keys.add(secret.rotation_key(step, level))
    sizes = {"babies": len(set(babies) - {0}), "giants": len(set(giants) - {0}), "period": PERIOD}
    matrix = Operation("", "ct-pt matrix", level, diagonals=DIAGONALS, **sizes)
    yield matrix, lambda: evaluator.apply(transform, x)


def samples(seconds: float) -> list[Sample]:
    """Measures everything; the two thread counts alternate."""
    bits = [50, *[40] * (LIMBS - 1), *[45] * SPECIAL]
    primes = native.generate_primes(LOG_N, bits)
    parameters = native.Parameters(LOG_N, primes[:LIMBS], primes[LIMBS:], DIGIT)
    contexts = [native.Context(parameters, threads=threads) for threads in (1, 2)]
    out = []
    for level in LEVELS:
        for (operation, one), (_, two) in zip(*(calls(c, level) for c in contexts), strict=True):
            times: tuple[list[float], list[float]] = ([], [])
            for _ in range(3):
                times[0].extend(measure(one, seconds))
                times[1].extend(measure(two, seconds))
            out.append(Sample(operation, work_of(operation, SPECIAL, DIGIT), *map(min, times)))
    return out


def fit(work: NDArray[np.float64], seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Non-negative prices [3] of least relative squares for seconds [n] = work [n, 3] @ prices.

    Tries every set of prices that may be positive; there are seven.
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


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prices", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(table.__file__).with_name(table.PRICES_FILE))
    parser.add_argument("--seconds", type=float, default=0.5, help="time for a primitive and round")
    options, console = parser.parse_args(), Console(highlight=False)
    measured = samples(options.seconds)
    work = np.array([[s.work.transforms, s.work.products, s.work.conversions] for s in measured])
    prices = fit(work, np.array([s.one for s in measured]))
    threads = median(s.two / s.one for s in measured)
    where = machine()
    record = {
        **{name: float(f"{price:.4g}") for name, price in zip(NAMES, prices, strict=True)},
        "two_threads": float(f"{threads:.3g}"),
        "machine": f"{where['processor']} ({', '.join(where['vectors'])}), {where['cores']} cores",
        "date": today(),
    }
    predicted = PriceTable.from_dict(record)
    for s in measured:
        ratio = predicted.seconds(s.work, LOG_N) / s.one
        console.print(
            f"{s.operation.primitive:14} level {s.operation.level:2}: {s.one * 1e3:8.2f} ms, "
            f"predicted / measured {ratio:.2f}, two threads / one {s.two / s.one:.2f}"
        )
    options.out.write_text(json.dumps(record) + "\n")
    console.print(f"{options.out.name}: {record}")


if __name__ == "__main__":
    main()
