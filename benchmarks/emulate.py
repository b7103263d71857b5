"""Published weights on real data in fixed point: `python -m benchmarks.emulate --case kwt1 [--json FILE]`.

Cases: kwt1, minilm, stories260k, babyllama105, resnet20 (see `benchmarks/real_models.py`), each in
one or more rings `WIDTH/FRACTION`. Ranges come from 24 inputs that are not scored. Metrics:
`top1_agreement` (share of rows whose largest entry is that of float64), `accuracy_float` and
`accuracy_emulated`, for texts
`perplexity_float` and `perplexity_emulated`, `largest_error` and `rms_error` of the scores, `overflows`
(inputs with a value that left the ring), `inputs`, `seconds_per_input`; for embeddings `cosine` (the least)
and `nearest_agreement`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

import cipherformer as cf
from benchmarks.real_models import CASES, Case
from cipherformer.backends import exact
from cipherformer.backends.emulate import score
from cipherformer.backends.prepared import Prepared
from cipherformer.cli.output import print_table
from cipherformer.passes.ring import RingGraph, to_ring
from cipherformer.passes.truncate import place
from cipherformer.report import schema
from cipherformer.report.compare import suite_table
from cipherformer.report.machine import machine, today
from cipherformer.targets.ring import RingTarget

Floats = NDArray[np.float64]
TEXTS = ("stories260k", "babyllama105")
RINGS = dict.fromkeys(TEXTS, ("64/16", "64/12", "48/12", "40/10", "32/8"))
GUARD_BITS = 2


@dataclass
class Runs:
    """Outputs of float64 and of the ring, a row an input."""

    wanted: list[list[Floats]] = field(default_factory=list)
    got: list[list[Floats]] = field(default_factory=list)
    overflows: int = 0
    seconds: float = 0.0


def emulated(case: Case, ring: RingGraph, target: RingTarget, floats: list[list[Floats]], end: float) -> Runs:
    """Run inputs until they, or the time, are used up; `floats` holds float64's answers as far as known."""
    prepared, runs = Prepared(place(ring.graph, target)), Runs()
    prepared.encode()
    for i, sample in enumerate(case.samples):
        if i and time.perf_counter() > end:
            break
        if i == len(floats):
            values = exact.run(case.graph, sample)
            floats.append([values[name] for name in case.graph.outputs])
        start = time.perf_counter()
        result = prepared.run(sample, wrap=True)
        runs.seconds += time.perf_counter() - start
        runs.wanted.append(floats[i])
        runs.got.append([result.values[name] for name in prepared.placement.graph.outputs])
        runs.overflows += bool(result.overflows)
    return runs


def metrics(case: Case, runs: Runs) -> dict[str, tuple[float, str]]:
    """Metrics with their units."""
    labels = case.labels[: len(runs.got)]
    wanted, got = (np.concatenate([row[-1] for row in rows]) for rows in (runs.wanted, runs.got))
    difference = got - wanted
    out = {
        "top1_agreement": (float(np.mean(wanted.argmax(-1) == got.argmax(-1))), "1"),
        "largest_error": (float(np.abs(difference).max()), "1"),
        "rms_error": (float(np.sqrt(np.mean(difference**2))), "1"),
        "overflows": (float(runs.overflows), "1"),
        "inputs": (float(len(got)), "1"),
        "seconds_per_input": (runs.seconds / len(got), "s"),
    }
    for name, logits in (("float", wanted), ("emulated", got)):
        accuracy, perplexity = score(logits, labels)
        out[f"accuracy_{name}"] = (accuracy, "1")
        if labels.ndim == 2:
            out[f"perplexity_{name}"] = (perplexity, "1")
    if len(runs.got[0]) == 2:
        pairs = [np.concatenate([row[0] for row in rows]) for rows in (runs.wanted, runs.got)]
        out |= similarity(*(e / np.linalg.norm(e, axis=1, keepdims=True) for e in pairs))
    return out


def similarity(wanted: Floats, got: Floats) -> dict[str, tuple[float, str]]:
    """Of unit embeddings: the smallest cosine of a pair, and how often the nearest other one is the same."""

    def nearest(e: Floats) -> NDArray[np.int64]:
        return (e @ e.T - 2.0 * np.eye(len(e))).argmax(1)

    return {
        "cosine": (float((wanted * got).sum(1).min()), "1"),
        "nearest_agreement": (float(np.mean(nearest(wanted) == nearest(got))), "1"),
    }


def parse_ring(text: str) -> RingTarget:
    width, frac_bits = map(int, text.split("/"))
    return RingTarget(width, frac_bits, GUARD_BITS)


def records(
    name: str, case: Case, rings: Sequence[str], minutes: float, margin: float
) -> list[schema.BenchmarkRecord]:
    """A record a ring and metric."""
    ring, floats = to_ring(case.graph, case.calibration, margin=margin), list[list[Floats]]()
    out = []
    for text in rings:
        runs = emulated(case, ring, parse_ring(text), floats, time.perf_counter() + 60.0 * minutes)
        for metric, (value, unit) in metrics(case, runs).items():
            out.append(
                schema.BenchmarkRecord(
                    suite="emulate",
                    case=f"{name} {text}",
                    subject="cipherformer",
                    version=cf.__version__,
                    metric=metric,
                    value=value,
                    unit=unit,
                    threads=1,
                    parameters={**case.parameters, "guard_bits": GUARD_BITS, "margin": margin},
                    machine=machine(),
                    date=today(),
                )
            )
    return out


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.emulate", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the real data")
    parser.add_argument("--case", action="append", choices=sorted(CASES), help="default: all")
    parser.add_argument(
        "--ring", action="append", metavar="WIDTH/FRACTION", help="default: 64/16; texts more"
    )
    parser.add_argument("--count", type=int, default=200, help="inputs at most (default 200)")
    parser.add_argument("--minutes", type=float, default=10.0, help="for one ring, at most (default 10)")
    parser.add_argument(
        "--margin",
        type=float,
        default=0.1,
        help="part of its width by which a range is widened (default 0.1)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the records to FILE")
    options, console = parser.parse_args(), Console(highlight=False)
    torch.set_num_threads(1)
    found: list[schema.BenchmarkRecord] = []
    for name in options.case or CASES:
        try:
            case = CASES[name](options.data, options.count)
        except FileNotFoundError as error:
            console.print(f"{name}: left out, {error}")
            continue
        found += records(
            name, case, options.ring or RINGS.get(name, ("64/16",)), options.minutes, options.margin
        )
    if found:
        print_table(console, suite_table("emulate", found))
    if options.json and found:
        schema.write(options.json, found)


if __name__ == "__main__":
    main()
