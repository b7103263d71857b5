"""Times whole plans in one process: `python -m benchmarks.models --plan FOLDER --input FILE.npy [...]`, or
models of real size: `python -m benchmarks.models --case bert-tiny-128 [--case ...]`.

`--plan` and `--input` may be repeated, in pairs. Metrics of each plan: `seconds_per_image` (the server's
evaluation, median), `seconds_processor` (the same in processor time, which other processes on the machine
hardly change; compare it with the prediction at `--threads 1`), `seconds_predicted`, `seconds_encrypt`,
`seconds_decrypt`, `weight_bytes` (encoded weights in memory, the largest kept compact beyond
`--max-weight-gb`), `agreement` (share of inputs whose largest output is that of the plaintext polynomial
model), `max_error` against that model.

A case (`benchmarks.encrypted`) is compiled, run once to encode its weights, and then on `--count` inputs.
Metrics: `seconds`, `predicted_seconds`, `seconds_processor`, `peak_memory_bytes` (of the process that holds
client and server), `max_logit_error`, `agreement`, `seconds_keys`, `key_bytes`, `seconds: CATEGORY` (mean
of a query) and `predicted_seconds: CATEGORY`. A case of throughput mode (`benchmarks.batches`) is asked
about one batch, and `seconds_per_input` is the share of one input.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

import cipherformer as cf
from benchmarks.batches import bert_batch, measure_batch
from benchmarks.encrypted import CASES as LATENCY
from benchmarks.encrypted import Asked, Limits, held, measure_case, ready
from cipherformer.cli.output import print_table
from cipherformer.plan.estimate import estimate
from cipherformer.report import schema
from cipherformer.report.compare import suite_table
from cipherformer.report.machine import machine, today

CASES = {**LATENCY, "bert-tiny-128-throughput": bert_batch}

T = TypeVar("T")


def timed(call: Callable[[], T]) -> tuple[T, float]:
    """A result and the seconds it took."""
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def measure(plan: cf.Plan, inputs: NDArray[np.float64], limits: Limits) -> dict[str, tuple[float, str]]:
    """Metrics with their units. The first evaluation encodes the weights and is not counted."""
    keys, server = ready(plan, limits)
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
        "seconds_predicted": (estimate(plan, threads=limits.threads).seconds, "s"),
        **held(server, len(inputs) + 1),
        "agreement": (float(np.mean(equal)), "1"),
        "max_error": (max(errors), "1"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.models", description=__doc__)
    parser.add_argument("--plan", action="append", type=Path, default=[], help="folder of a plan")
    parser.add_argument("--input", action="append", type=Path, default=[], help=".npy file [n, ...]")
    parser.add_argument("--count", type=int, default=0, help="inputs to ask about (default 10, of a case 1)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-weight-gb", type=float, default=2.0, help="of encoded weights (default 2)")
    parser.add_argument(
        "--max-key-memory-gb", type=float, help="of evaluation keys; others are read when they are needed"
    )
    parser.add_argument(
        "--case", action="append", metavar="NAME", default=[], help="a case, or a plan's name"
    )
    parser.add_argument("--bootstrap", default="auto", help="set of the cases (default auto)")
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="folder of the real data, for cases"
    )
    parser.add_argument(
        "--converted",
        type=Path,
        default=Path("out/training"),
        help="folder of conversions (python -m benchmarks.training); missing ones are made, shortly trained",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the records to FILE")
    options = parser.parse_args()
    if len(options.plan) != len(options.input):
        parser.error("as many --input as --plan")
    named = [name for name in options.case if name in CASES]
    if not (options.plan or named):
        parser.error(f"give --plan, or --case with one of: {', '.join(CASES)}")
    records: list[schema.BenchmarkRecord] = []

    def record(plan: cf.Plan, count: int, found: dict[str, tuple[float, str]]) -> None:
        parameters: dict[str, Any] = {"inputs": count, "levels": plan.levels, "log_n": plan.target.log_n}
        if plan.bootstrap is not None:
            parameters["bootstrap"] = plan.bootstrap.name
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

    with tempfile.TemporaryDirectory() as temporary:
        keys = options.max_key_memory_gb
        limits = Limits(
            options.threads,
            int(options.max_weight_gb * 1e9),
            None if keys is None else int(keys * 1e9),
            Path(temporary),
        )
        for name in named:
            count = options.count or 1
            plan, data = CASES[name](Asked(count, options.bootstrap, options.data, options.converted))
            if plan.batch > 1:
                record(plan, plan.batch, measure_batch(plan, data, limits))
            else:
                record(plan, count, measure_case(plan, data, limits))
        for folder, file in zip(options.plan, options.input, strict=True):
            plan = cf.Plan.load(folder)
            if options.case and plan.name not in options.case:
                continue
            inputs = np.load(file, allow_pickle=False)[: options.count or 10]
            record(plan, len(inputs), measure(plan, inputs, limits))
    print_table(Console(), suite_table("models", records))
    if options.json:
        schema.write(options.json, records)


if __name__ == "__main__":
    main()
