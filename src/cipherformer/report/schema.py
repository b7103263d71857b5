"""The records that commands write: one demonstration, or one measured number of a benchmark."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from cipherformer.errors import FormatError

DEMO_FORMAT = "cipherformer-demo-1"
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkRecord:
    """One measured number.

    Args:
        suite: the program that measured it, e.g. `engine`.
        case: what was measured, e.g. `rotate-n15-l15`.
        subject: `cipherformer`, or the peer's name.
        version: of the subject.
        metric: what the number means, e.g. `seconds` (median) or `accuracy`.
        value: the number.
        unit: its unit; `s` for seconds, `1` for ratios.
        threads: threads the subject was allowed.
        parameters: what the case leaves open.
        machine: see `cipherformer.report.machine`.
        date: UTC day of the measurement, ISO 8601.
    """

    suite: str
    case: str
    subject: str
    version: str
    metric: str
    value: float
    unit: str
    threads: int
    parameters: Mapping[str, Any]
    machine: Mapping[str, Any]
    date: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoRecord:
    """One run of the demonstration.

    Args:
        format: `cipherformer-demo-1`.
        version: of cipherformer.
        date: UTC day, ISO 8601.
        machine: see `cipherformer.report.machine`.
        threads: that the server computed with.
        plan: summary of the compiled plan: levels, keys, security, predictions.
        accuracy_private: of the private network on the held-out split, in the clear, 0 to 1.
        accuracy_baseline: of the same network with softmax and GELU.
        agreement: fraction of the images on which encrypted and plaintext predictions are equal.
        max_logit_error: largest absolute difference of encrypted and plaintext logits.
        rms_logit_error: root mean square of these differences.
        precision_bits: log2(largest absolute plaintext logit / max_logit_error).
        seconds_per_image: mean, from encryption to decryption, as the client sees it.
        seconds_server_per_image: of that, computing on the server.
        seconds_total: of the whole demonstration.
        security_bits: estimate for the parameters.
        bytes_up: sent for one image, mean.
        bytes_down: received for one image, mean.
        key_bytes: evaluation keys, sent once.
        peak_memory_client_bytes: largest resident size of the client process.
        peak_memory_server_bytes: of the server process.
        images: for each image {index, label, encrypted, plaintext, max_error, seconds, logits}.
        breakdown: mean seconds and calls for one image, {layer, primitive, calls, seconds}.
    """

    format: str = DEMO_FORMAT
    version: str
    date: str
    machine: Mapping[str, Any]
    threads: int
    plan: Mapping[str, Any]
    accuracy_private: float
    accuracy_baseline: float
    agreement: float
    max_logit_error: float
    rms_logit_error: float
    precision_bits: float
    seconds_per_image: float
    seconds_server_per_image: float
    seconds_total: float
    security_bits: int
    bytes_up: int
    bytes_down: int
    key_bytes: int
    peak_memory_client_bytes: int
    peak_memory_server_bytes: int
    images: Sequence[Mapping[str, Any]]
    breakdown: Sequence[Mapping[str, Any]]


def breakdown(trace: Iterable[Mapping[str, Any]], runs: int = 1) -> list[dict[str, Any]]:
    """Sums trace records by (layer, primitive), in order of appearance, and divides by the number of runs.

    Args:
        trace: records {layer, primitive, calls, seconds} of one or more runs.
        runs: how many runs they come from.
    """
    calls: dict[tuple[str, str], int] = {}
    seconds: dict[tuple[str, str], float] = {}
    for item in trace:
        key = (item["layer"], item["primitive"])
        calls[key] = calls.get(key, 0) + item["calls"]
        seconds[key] = seconds.get(key, 0.0) + item["seconds"]
    return [
        {
            "layer": layer,
            "primitive": primitive,
            "calls": round(n / runs),
            "seconds": seconds[layer, primitive] / runs,
        }
        for (layer, primitive), n in calls.items()
    ]


def write(path: Path, record: DemoRecord | Sequence[BenchmarkRecord]) -> None:
    """Writes one demo record as an object, or benchmark records as a list."""
    data = asdict(record) if isinstance(record, DemoRecord) else [asdict(item) for item in record]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1) + "\n")


def replace_cases(path: Path, records: Sequence[BenchmarkRecord]) -> None:
    """Writes benchmark records into a file in which those of other cases stay.

    Raises:
        FormatError: if the file holds something else.
    """
    old = read(path) if path.exists() else []
    if isinstance(old, DemoRecord):
        raise FormatError("this is the record of a demo", where=str(path))
    cases = {record.case for record in records}
    write(path, [*(record for record in old if record.case not in cases), *records])


def read(path: Path) -> DemoRecord | list[BenchmarkRecord]:
    """Reads what `write` wrote.

    Raises:
        FormatError: if the file is not a record, or lacks fields.
    """
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise FormatError("this is not a record file", where=str(path), why=str(error)) from error
    if isinstance(data, list):
        return [_build(BenchmarkRecord, row, path) for row in data]
    if not isinstance(data, dict) or data.get("format") != DEMO_FORMAT:
        raise FormatError(
            "this is not a record file",
            where=str(path),
            why=f"neither a list of benchmark records nor a {DEMO_FORMAT} record",
            fix="give a file written by `cipherformer demo --json` or by a benchmark",
        )
    return _build(DemoRecord, data, path)


def _build(cls: type[R], row: Any, path: Path) -> R:
    names = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    if not isinstance(row, dict) or set(row) != set(names):
        given = set(row) if isinstance(row, dict) else set()
        wrong = ", ".join(sorted(set(names) ^ given))
        raise FormatError("a record with missing or unknown fields", where=str(path), why=wrong)
    for name, kind in get_type_hints(cls).items():
        plain: tuple[type, ...] = {str: (str,), int: (int,), float: (int, float)}.get(kind, (object,))
        if not isinstance(row[name], plain):
            raise FormatError("a record with an ill-typed field", where=f"{path}: {name}")
    return cls(**row)
