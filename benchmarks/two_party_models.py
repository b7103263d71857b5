"""Published weights on real data between two parties: agreement with the plaintext float model, and cost.

`python -m benchmarks.two_party_models --data FOLDER [--case CASE ...] [--count N] [--asked M]
[--network MS,MBIT] [--json FILE]`. Each case asks M of its N questions in one session: dealer, server and
client are processes, every question has randomness of its own. The others are computed by `fixed`, which
repeats such runs bit for bit (but for the roundings' randomness). Ranges come from inputs that are not asked.

With a network (round trip in ms, Mbit/s) between client and server the same questions are asked once more,
and `network_over_expected` is their time over: that without it, a one-way delay a round, and the bytes'.
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
from cipherformer.backends.mpc2.compile import Compiled
from cipherformer.backends.mpc2.protocols import cost
from cipherformer.backends.prepared import Prepared
from cipherformer.report.machine import machine, today
from cipherformer.report.schema import BenchmarkRecord, replace_cases
from cipherformer.serve.two_party.local import LocalRun, run_locally
from cipherformer.serve.two_party.relay import Shape

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


def metrics(name: str, case: Case, asked: int, network: Shape | None) -> dict[str, float]:
    """One session that asks the first samples; `fixed` for the others."""
    built = build(case.graph, case.calibration, margin=MARGINS.get(name, MARGIN))
    asked = min(asked, len(case.samples))
    inputs = {
        node.name: np.concatenate([s[node.name] for s in case.samples[:asked]]) for node in case.graph.inputs
    }
    with tempfile.TemporaryDirectory() as folder:
        run = run_locally(built.compiled, inputs, Path(folder), silence_s=SILENCE_S)
    outputs, names = run.outputs, built.placement.graph.outputs
    if asked < len(case.samples):
        emulated = Prepared(built.placement)
        rest = [emulated.run(s, seed=i).values for i, s in enumerate(case.samples[asked:])]
        outputs = [
            np.concatenate([found, *(values[name] for values in rest)])
            for found, name in zip(outputs, names, strict=True)
        ]
    rounds = cost(built.compiled.program).rounds
    found = {"questions": len(case.samples), "questions_two_party": asked, **agreement(case, outputs)}
    found |= {"rounds": float(rounds), **measured(run)}
    if network is not None:
        found |= distant(built.compiled, inputs, network, rounds, found)
    return found


def distant(
    compiled: Compiled, inputs: dict[str, Any], network: Shape, rounds: int, near: dict[str, float]
) -> dict[str, float]:
    """The same questions over a slow and distant network."""
    with tempfile.TemporaryDirectory() as folder:
        run = run_locally(compiled, inputs, Path(folder), silence_s=SILENCE_S, network=network)
    sent = max(near["online_bytes_server"], near["online_bytes_client"])
    expected = near["online_seconds"] + rounds * network.delay_s + sent / network.bytes_per_s
    found = measured(run)["online_seconds"]
    return {
        "network_online_seconds": found,
        "network_expected_seconds": expected,
        "network_over_expected": found / expected,
    }


def records(
    cases: list[str], data: Path, count: int, asked: int, network: str | None
) -> Iterator[BenchmarkRecord]:
    """Everything measured, case by case."""
    for name in cases:
        case = CASES[name](data, count)
        parameters = {**case.parameters, "margin": MARGINS.get(name, MARGIN), "processes": 3}
        if network:
            parameters["network_ms_mbit"] = network
        for metric, value in metrics(name, case, asked, shaped(network)).items():
            yield _record(name, metric, value, parameters)


def shaped(network: str | None) -> Shape | None:
    """`80,100` as what a connection is like."""
    if network is None:
        return None
    milliseconds, megabits = map(float, network.split(","))
    return Shape(milliseconds / 2000.0, megabits * 125_000.0)


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
    parser.add_argument("--asked", type=int, default=200, help="of them between two parties, the first ones")
    parser.add_argument("--network", help="ask once more over one: round trip in ms and Mbit/s, e.g. 80,100")
    parser.add_argument("--json", type=Path, help="write the records to a file; other cases there stay")
    options = parser.parse_args()
    found = []
    cases = options.case or list(CASES)
    for record in records(cases, options.data, options.count, options.asked, options.network):
        print(f"{record.case:14} {record.metric:24} {record.value:14.6g} {record.unit}", flush=True)
        found.append(record)
    if options.json:
        replace_cases(options.json, found)


if __name__ == "__main__":
    main()
