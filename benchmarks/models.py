"""Times whole plans in one process: `python -m benchmarks.models --plan FOLDER --input FILE.npy [...]`.

`--plan` and `--input` may be repeated, in pairs. Metrics of each plan: `seconds_per_image` (the server's
evaluation, median), `seconds_processor` (the same in processor time, which other processes on the machine
hardly change; compare it with the prediction at `--threads 1`), `seconds_predicted`, `seconds_encrypt`,
`seconds_decrypt`, `weight_bytes` (encoded weights in memory, the largest kept compact beyond
`--max-weight-gb`), `agreement` (share of inputs whose largest output is that of the plaintext polynomial
model), `max_error` against that model.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

import cipherformer as cf
from cipherformer.cli.output import print_table
from cipherformer.plan.estimate import estimate
from cipherformer.report import schema
from cipherformer.report.compare import suite_table
from cipherformer.report.machine import machine, today

T = TypeVar("T")


def timed(call: Callable[[], T]) -> tuple[T, float]:
    """A result and the seconds it took."""
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def measure(
    plan: cf.Plan, inputs: NDArray[np.float64], threads: int, max_weight_bytes: int
) -> dict[str, tuple[float, str]]:
    """Metrics with their units. The first evaluation encodes the weights and is not counted."""
    keys = cf.generate_keys(plan.signature, threads=threads)
    server = cf.Evaluation(plan, threads=threads, max_weight_bytes=max_weight_bytes)
    for name, key in keys.evaluation_keys():
        server.add_key(name, key)
    server.run(keys.encrypt(inputs[:1]))
    times: dict[str, list[float]] = {"seconds_encrypt": [], "seconds_per_image": [], "seconds_decrypt": []}
    errors, equal, processor = [], [], []
    for x in inputs:
        query, encrypt = timed(lambda x=x: keys.encrypt(x[None]))
        start = time.process_time()
        (answer, _), run = timed(lambda query=query: server.run(query))
        processor.append(time.process_time() - start)
        found, decrypt = timed(lambda answer=answer: keys.decrypt(answer))
        for name, seconds in zip(times, (encrypt, run, decrypt), strict=True):
            times[name].append(seconds)
        expected = cf.reference(plan, x[None])
        errors.append(float(np.abs(found - expected).max()))
        equal.append(int(found.argmax()) == int(expected.argmax()))
    return {
        **{name: (median(values), "s") for name, values in times.items()},
        "seconds_processor": (median(processor), "s"),
        "seconds_predicted": (estimate(plan, threads=threads).seconds, "s"),
        "weight_bytes": (float(server.encoded.memory_bytes), "B"),
        "agreement": (float(np.mean(equal)), "1"),
        "max_error": (max(errors), "1"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.models", description=__doc__)
    parser.add_argument("--plan", action="append", type=Path, required=True, help="folder of a plan")
    parser.add_argument("--input", action="append", type=Path, required=True, help=".npy file [n, ...]")
    parser.add_argument("--count", type=int, default=10, help="inputs to ask about (default 10)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-weight-gb", type=float, default=2.0, help="of encoded weights (default 2)")
    parser.add_argument("--case", action="append", metavar="NAME", help="only the plan of this name")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the records to FILE")
    options = parser.parse_args()
    if len(options.plan) != len(options.input):
        parser.error("as many --input as --plan")
    records: list[schema.BenchmarkRecord] = []
    for folder, file in zip(options.plan, options.input, strict=True):
        plan = cf.Plan.load(folder)
        if options.case and plan.name not in options.case:
            continue
        inputs = np.load(file, allow_pickle=False)[: options.count]
        parameters: dict[str, Any] = {
            "inputs": len(inputs),
            "levels": plan.levels,
            "log_n": plan.target.log_n,
        }
        found = measure(plan, inputs, options.threads, int(options.max_weight_gb * 1e9))
        for metric, (value, unit) in found.items():
            records.append(
                schema.BenchmarkRecord(
                    suite="models",
                    case=plan.name,
                    subject="cipherformer",
                    version=cf.__version__,
                    metric=metric,
                    value=value,
                    unit=unit,
                    threads=options.threads,
                    parameters=parameters,
                    machine=machine(),
                    date=today(),
                )
            )
    print_table(Console(), suite_table("models", records))
    if options.json:
        schema.write(options.json, records)


if __name__ == "__main__":
    main()
