"""The machine that numbers were measured on, without anything that names the host or its owner."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FLAGS = ("avx2", "avx512f", "avx512ifma")


def machine() -> dict[str, Any]:
    """Processor, vector extensions, cores and memory (GiB)."""
    model, flags = platform.machine(), set[str]()
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
