"""How a runner talks to `benchmarks.engine`: one JSON line each way. Runs on Python 3.10, needs numpy only.

The runner gets its setting as the first argument, checks every operation's result against numpy, prints
`{"version", "parameters", "operations", "missing"}`, then answers `{"operation", "seconds"}` by `{"times"}`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

Operation = Callable[[], Any]


class Library:
    """What a runner fills in.

    `operations` maps a name to a call, `missing` to the reason why it cannot be timed; `decrypt` gives the
    slots of what a call returned (of the last where it returns several).
    """

    version: str
    parameters: dict[str, Any]
    operations: dict[str, Operation]
    missing: dict[str, str]

    def decrypt(self, result: Any) -> np.ndarray:
        raise NotImplementedError


class Inputs:
    """The same slots for every subject: x, y and w in [-1, 1], a matrix of float32, a vector tiled over the
    slots.

    A size that is no power of two lies twice in a row in a block that is one, so that no rotation wraps.
    """

    def __init__(self, setting: dict[str, Any]) -> None:
        slots, size = 1 << (setting["log_n"] - 1), setting["matrix_size"]
        draw = np.random.default_rng(2026)
        self.x, self.y, self.w = draw.uniform(-1, 1, (3, slots))
        self.matrix = (draw.uniform(-1, 1, (size, size)) / size).astype(np.float32)
        self.block = size if size & (size - 1) == 0 else 1 << (2 * size - 1).bit_length()
        once = draw.uniform(-1, 1, size)
        block = np.zeros(self.block)
        block[:size] = once
        if self.block > size:
            block[size : 2 * size] = once
        self.vector = np.tile(block, slots // self.block)

    def diagonals(self) -> np.ndarray:
        """Row d holds matrix[i, (i + d) mod size], then zeros up to the block."""
        size = len(self.matrix)
        i = np.arange(size)
        rows = np.zeros((size, self.block))
        for d in range(size):
            rows[d, :size] = self.matrix[i, (i + d) % size]
        return rows

    def expected(self, setting: dict[str, Any]) -> dict[str, np.ndarray]:
        """Slots of each operation's result (the last one where it gives several)."""
        size = setting["matrix_size"]
        product = np.zeros(self.block)
        product[:size] = self.matrix.astype(np.float64) @ self.vector[:size]
        return {
            "encrypt": self.x,
            "add": self.x + self.y,
            "multiply-plain": self.x * self.w,
            "multiply": self.x * self.y,
            "rescale": self.x * self.w,
            "rotate": np.roll(self.x, -1),
            "rotate-hoisted": np.roll(self.x, -setting["hoisted"]),
            f"matvec{size}": np.tile(product, len(self.x) // self.block),
        }


def serve(make: Callable[[dict[str, Any], Inputs], Library]) -> None:
    """Prepares the library and answers requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not reach the answers
    setting = json.loads(sys.argv[1])
    inputs = Inputs(setting)
    library = make(setting, inputs)
    operations = {n: c for n, c in library.operations.items() if n in setting["operations"]}
    _check(library, operations, inputs.expected(setting))
    say(answers, version=library.version, parameters=library.parameters, operations=list(operations),
        missing=library.missing)  # fmt: skip
    for line in sys.stdin:
        request = json.loads(line)
        parts = setting["hoisted"] if request["operation"] == "rotate-hoisted" else 1
        times = measure(operations[request["operation"]], request["seconds"])
        say(answers, times=[t / parts for t in times])


def measure(call: Operation, seconds: float) -> list[float]:
    """Times single calls for about so many seconds, at least one call, at most 200."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 200:
        start = time.perf_counter()
        result = call()
        stop = time.perf_counter()
        del result
        times.append(stop - start)
        if stop > end:
            break
    return times


def say(stream: Any, **fields: Any) -> None:
    """Writes one JSON line."""
    stream.write(json.dumps(fields) + "\n")
    stream.flush()


def _check(library: Library, operations: dict[str, Operation], expected: dict[str, np.ndarray]) -> None:
    for name, call in operations.items():
        result = call()
        if name not in expected:
            continue
        error = np.abs(library.decrypt(result)[: len(expected[name])] - expected[name]).max()
        if not error < 1e-4:
            raise SystemExit(f"{name}: the result is off by {error:.3g}, so timing it would mean nothing")
