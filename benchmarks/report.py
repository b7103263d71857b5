"""A roofline for the key switch: how far it is from the time that its memory traffic alone takes."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from benchmarks.sets import SETTINGS
from cipherformer.report.compare import OWN
from cipherformer.report.schema import BenchmarkRecord
from cipherformer.report.table import show_bytes, show_seconds


def bandwidth() -> float:
    """Bytes a second that one thread reads from memory: numpy sums 256 MiB, the best of five."""
    data = np.ones(1 << 25)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        data.sum()
        times.append(time.perf_counter() - start)
    return data.nbytes / min(times)


def roofline(records: Sequence[BenchmarkRecord]) -> list[str]:
    """A line for each rotation and product that was measured.

    The key holds 2 * dnum polynomials of `limbs + special` residues of 8 bytes, and every call reads it once.
    """
    own = {r.case: r.value for r in records if r.subject == OWN}
    rows = [(s, s.case(op)) for s in SETTINGS for op in ("rotate", "multiply") if s.case(op) in own]
    if not rows:
        return []
    speed = bandwidth()
    lines = [f"roofline: one thread reads {show_bytes(speed)}/s here"]
    for setting, case in rows:
        size = 2 * setting.dnum * (setting.limbs + len(setting.special)) * (8 << setting.log_n)
        share = size / speed / own[case]
        lines.append(f"  {case}: reading its key ({show_bytes(size)}) takes {show_seconds(size / speed)}, "
                     f"{share:.0%} of the call; the rest is arithmetic")  # fmt: skip
    return lines
