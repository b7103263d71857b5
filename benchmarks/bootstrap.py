"""The cases `bootstrap-n16-full` and `bootstrap-n16-sparse`: one ciphertext of 2^15 complex slots, N = 2^16.

It is refreshed, in the first under a uniform ternary secret, in the second (ours only) under one of 192
non-zeros.

Every subject runs alone in a process of its own, whose largest resident size counts, keys and transforms
included. Precision is -log2 of the mean and of the largest |error|, for slots whose real and imaginary parts
are uniform in [-1, 1]. Levels left are those between two refreshes, slots to coefficients not among them.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

from benchmarks.peers.environments import FOLDER, Subject
from cipherformer.report import schema
from cipherformer.report.machine import machine, today

CASE = "bootstrap-n16-full"
CASES = {CASE: "n16-dense", "bootstrap-n16-sparse": "n16-sparse"}
UNITS = {"seconds": "s", "bytes": "B", "bits": "bits"}

OPENFHE = {
    "log_n": 16,
    "secret": "SPARSE_ENCAPSULATED",
    "depth": 22,  # of which 6 are left; the most that 128 bits allow with primes of 59 bits
    "scale_bits": 59,
    "first_bits": 60,
    "dnum": 4,
}
PEER_SETTINGS: dict[str, list[dict[str, Any]]] = {
    "OpenFHE": [{**OPENFHE, "slots_first": True}, {**OPENFHE, "slots_first": False}],
}


class BootstrapError(Exception):
    """A subject that stopped; carries the last line of what it said."""


def run_alone(python: str, script: str, setting: dict[str, Any]) -> dict[str, Any]:
    """One subject's answer."""
    environment = os.environ | {"OMP_NUM_THREADS": str(setting["threads"]), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [python, str(FOLDER / script), json.dumps(setting)],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise BootstrapError(said[-1])
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def own_records(python: str, case: str, repeat: int) -> Iterator[schema.BenchmarkRecord]:
    """Two threads, alone and beside a process that keeps a core busy; and one thread: in turn."""
    setting = {"set": CASES[case], "threads": 2, "repeat": repeat}
    answer = run_alone(python, "cipherformer_bootstrap.py", setting)
    metrics = answer["metrics"]
    metrics["speedup_two_threads"] = metrics["seconds_one_thread"] / metrics["seconds"]
    metrics["seconds_per_level"] = metrics["seconds"] / metrics["levels_left"]
    for metric, value in metrics.items():
        yield _record(case, "cipherformer", answer, metric, value, 1 if "one_thread" in metric else 2)


def peer_records(subject: Subject, threads: int) -> Iterator[schema.BenchmarkRecord]:
    """Each variant that the peer offers.

    Raises:
        BootstrapError: if the peer stops.
    """
    for setting in PEER_SETTINGS.get(subject.name, []):
        answer = run_alone(
            subject.python or "",
            f"{subject.name.lower()}_bootstrap.py",
            setting | {"threads": threads, "repeat": 1},
        )
        metrics = answer["metrics"]
        metrics["seconds_per_level"] = metrics["seconds"] / max(metrics["levels_left"], 1)
        name = subject.name + ("" if setting["slots_first"] else ", modulus raise first")
        for metric, value in metrics.items():
            yield _record(CASE, name, answer, metric, value, threads)


def _record(
    case: str, subject: str, answer: dict[str, Any], metric: str, value: float, threads: int
) -> schema.BenchmarkRecord:
    unit = next((unit for word, unit in UNITS.items() if word in metric), "1")
    return schema.BenchmarkRecord(
        suite="engine", case=case, subject=subject, version=answer["version"], metric=metric, value=value,
        unit="1" if "speedup" in metric else unit, threads=threads, parameters=answer["parameters"],
        machine=machine(), date=today(),
    )  # fmt: skip
