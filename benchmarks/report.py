"""Records as a table with ratios, and a roofline for the key switch."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from rich.table import Table

from benchmarks.records import Record
from benchmarks.sets import SETTINGS

OWN = "cipherformer"


def duration(seconds: float) -> str:
    """Three digits in the unit that fits."""
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def cells(records: Sequence[Record], subjects: Sequence[str]) -> list[list[str]]:
    """One row a case: its name, our time, and every peer's time with ours divided by it."""
    values = {(r.case, r.subject): r.value for r in records}
    rows = []
    for case in dict.fromkeys(r.case for r in records):
        own = values.get((case, OWN))
        row = [case, duration(own) if own else "-"]
        for peer in subjects[1:]:
            other = values.get((case, peer))
            ratio = f" ({own / other:.2f})" if own and other else ""
            row.append(duration(other) + ratio if other else "-")
        rows.append(row)
    return rows


def table(records: Sequence[Record], subjects: Sequence[str]) -> Table:
    """The table for a terminal."""
    grid = Table(title="median time of one call (in brackets: ours divided by it)")
    for index, name in enumerate(["case", *subjects]):
        grid.add_column(name, justify="left" if index == 0 else "right", no_wrap=index == 0)
    for row in cells(records, subjects):
        grid.add_row(*row)
    return grid


def bandwidth() -> float:
    """Bytes a second that one thread reads from memory: numpy sums 256 MiB, the best of five."""
    data = np.ones(1 << 25)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        data.sum()
        times.append(time.perf_counter() - start)
    return data.nbytes / min(times)


def roofline(records: Sequence[Record]) -> list[str]:
    """How far a key switch is from the time that reading its key from memory takes at least.

    The key holds 2 * dnum polynomials of `limbs + special` residues of 8 bytes.
    """
    own = {r.case: r.value for r in records if r.subject == OWN}
    rows = [(s, s.case(op)) for s in SETTINGS for op in ("rotate", "multiply") if s.case(op) in own]
    if not rows:
        return []
    speed = bandwidth()
    lines = [f"roofline: one thread reads {speed / 1e9:.1f} GB/s here"]
    for setting, case in rows:
        size = 2 * setting.dnum * (setting.limbs + len(setting.special)) * (8 << setting.log_n)
        floor = size / speed
        share = floor / own[case]
        lines.append(
            f"  {case}: key {size / 1e6:.1f} MB, read in {duration(floor)}, {share:.0%} of the call; "
            f"the rest is arithmetic"
        )
    return lines
