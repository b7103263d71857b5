"""The record that every benchmark writes, and the description of the machine it ran on."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FLAGS = ("avx2", "avx512ifma")


@dataclass(frozen=True)
class Record:
    """One measured number.

    Args:
        suite: the program that measured it, e.g. `engine`.
        case: what was measured, e.g. `rotate-n15-l15`.
        subject: `cipherformer`, or the peer's name.
        version: version of the subject.
        metric: what the number means, e.g. `seconds` (median) or `accuracy`.
        value: the number.
        unit: its unit; `s` for seconds, `1` for ratios.
        threads: threads the subject was allowed.
        parameters: what the case leaves open (sizes of moduli, number of samples).
        machine: see `machine`.
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


def machine() -> dict[str, Any]:
    """Processor, vector extensions, cores and memory; nothing that names the host or its owner."""
    model, flags = platform.machine(), set()
    info = Path("/proc/cpuinfo")
    if info.exists():
        rows = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
        fields = {key.strip(): text.strip() for key, text in rows.items()}
        model, flags = fields.get("model name", model), set(fields.get("flags", "").split())
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": model,
        "vectors": [flag for flag in FLAGS if flag in flags],
        "cores": os.cpu_count(),
        "memory_gib": round(pages / 2**30),
    }


def today() -> str:
    """UTC day in ISO 8601."""
    return datetime.now(UTC).date().isoformat()


def write(path: Path, records: Iterable[Record]) -> None:
    """Writes records as a JSON list."""
    path.write_text(json.dumps([asdict(record) for record in records], indent=1) + "\n")


def read(path: Path) -> list[Record]:
    """Reads a file that `write` made; raises TypeError if a record has other fields."""
    return [Record(**row) for row in json.loads(path.read_text())]
