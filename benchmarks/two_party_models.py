"""Published weights on real data between two parties: agreement with the plaintext float model, and cost.

`python -m benchmarks.two_party_models --data FOLDER [--case CASE ...] [--count N] [--json FILE]`. Each case
asks N questions in one session: dealer, server and client are processes, every question has randomness of its
own. Ranges come from inputs that are not asked.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.real_models import CASES, Case
from cipherformer import __version__
from cipherformer.backends import exact
from cipherformer.backends.mpc2.build import build
from cipherformer.backends.mpc2.protocols import cost
from cipherformer.report.machine import machine, today
from cipherformer.report.schema import BenchmarkRecord, write
from cipherformer.serve.two_party.local import LocalRun, run_locally

MARGINS = {"babyllama105": 0.5}
"""By which calibrated ranges are widened where a quarter is too little."""
MARGIN = 0.25
SILENCE_S = 60.0
UNITS = {"seconds": "s", "bytes": "B"}


def agreement(case: Case, outputs: list[NDArray[np.float64]]) -> dict[str, float]:
    """Answers against the captured model in float64, the last output's largest entries against labels."""
    same, plain, private, errors = [], [], [], []
    cosines: list[float] = []
    for i, sample in enumerate(case.samples):
        wanted = exact.run(case.graph, sample)
        for name, found in zip(case.graph.outputs, outputs, strict=True):
            a, b = found[i], wanted[name][0]
            errors.append(float(np.max(np.abs(a - b))))
            cosines.append(float(np.vdot(a, b) / np.linalg.norm(a) / np.linalg.norm(b)))
        ours, theirs = (v.argmax(axis=-1) for v in (outputs[-1][i], wanted[case.graph.outputs[-1]][0]))
        same.append(np.mean(ours == theirs))
        private.append(np.mean(ours == case.labels[i]))
        plain.append(np.mean(theirs == case.labels[i]))
    return {
        "top1_agreement": float(np.mean(same)),
        "accuracy_private": float(np.mean(private)),
        "accuracy_plaintext": float(np.mean(plain)),
        "cosine_smallest": min(cosines),
        "largest_error": max(errors),
    }


def measured(run: LocalRun) -> dict[str, float]:
    """Medians by question, and what a session costs once."""
    client, server, dealer = (run.reports[role] for role in ("client", "server", "dealer"))
    return {
        "online_seconds": float(np.median(client["online_s"])),
        "online_bytes_server": float(np.median(server["online_bytes"])),
        "online_bytes_client": float(np.median(client["online_bytes"])),
        "offline_seconds": float(np.median(server["offline_s"])),
        "offline_bytes": float(np.median(dealer["dealt_bytes"])),
        "setup_seconds": server["setup_s"],
        "setup_bytes": server["setup_bytes"],
    }


def metrics(name: str, case: Case) -> dict[str, float]:
    """One session that asks every sample."""
    built = build(case.graph, case.calibration, margin=MARGINS.get(name, MARGIN))
    inputs = {node.name: np.concatenate([s[node.name] for s in case.samples]) for node in case.graph.inputs}
    with tempfile.TemporaryDirectory() as folder:
        run = run_locally(built.compiled, inputs, Path(folder), silence_s=SILENCE_S)
    rounds = float(cost(built.compiled.program).rounds)
    return {"questions": len(case.samples), **agreement(case, run.outputs), "rounds": rounds, **measured(run)}


def records(cases: list[str], data: Path, count: int) -> Iterator[BenchmarkRecord]:
    """Everything measured, case by case."""
    for name in cases:
        case = CASES[name](data, count)
        parameters = {**case.parameters, "margin": MARGINS.get(name, MARGIN), "processes": 3}
        for metric, value in metrics(name, case).items():
            yield _record(name, metric, value, parameters)


def _record(case: str, metric: str, value: float, parameters: dict[str, Any]) -> BenchmarkRecord:
    unit = next((unit for word, unit in UNITS.items() if word in metric), "1")
    return BenchmarkRecord(
        suite="two_party_models", case=case, subject="cipherformer", version=__version__, metric=metric,
        value=value, unit=unit, threads=1, parameters=parameters, machine=machine(), date=today(),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of weights and data")
    parser.add_argument("--case", action="append", choices=list(CASES), help="default: all")
    parser.add_argument("--count", type=int, default=200, help="questions a case")
    parser.add_argument("--json", type=Path, help="write the records to a file")
    options = parser.parse_args()
    found = []
    for record in records(options.case or list(CASES), options.data, options.count):
        print(f"{record.case:14} {record.metric:22} {record.value:14.6g} {record.unit}", flush=True)
        found.append(record)
    if options.json:
        write(options.json, found)


if __name__ == "__main__":
    main()
