"""What the engine must reach, and whether a run of `benchmarks.engine` reached it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks import bootstrap
from cipherformer.report.compare import OWN
from cipherformer.report.schema import BenchmarkRecord
from cipherformer.report.table import Table

PEER = "OpenFHE"
Place = tuple[str, str, str]  # case, metric, subject


@dataclass(frozen=True, slots=True)
class Bar:
    """One row: the value found must be at least, or at most, `limit`.

    Args:
        name: of the row.
        cases: whose metrics are added up.
        metric: of the records.
        limit: the bar.
        least: True if more is better.
        over: what the value is divided by: the peer's same metric is divided by ours if it is PEER, and a
            metric's name divides by that; empty for the value alone.
        unit: factor and name that values are shown in.
    """

    name: str
    cases: tuple[str, ...]
    metric: str
    limit: float
    least: bool = False
    over: str = ""
    unit: tuple[float, str] = (1.0, "")


def _ratio(name: str, *cases: str, limit: float = 5.0) -> Bar:
    return Bar(f"{name}: {PEER} / ours", cases, "seconds", limit, least=True, over=PEER)


def _refresh(
    name: str, metric: str, limit: float, *, least: bool = False, over: str = "", unit: str = ""
) -> Bar:
    return Bar(f"bootstrapping: {name}", (bootstrap.CASE,), metric, limit, least, over, (1.0, unit))


BARS = (
    *(
        _ratio(f"{operation}, N = 2^{log_n}, {limbs} primes", f"{operation}-n{log_n}-l{limbs}")
        for operation in ("rotate", "multiply")
        for log_n, limbs in ((15, 15), (16, 26))
    ),
    *(_ratio(f"encode, N = 2^{log_n}", f"encode-n{log_n}") for log_n in (13, 14, 15, 16)),
    *(
        _ratio(
            f"{size} x {size} matrix, encoding included", f"{name}-encode-n15-l8", f"{name}-n15-l8", limit=6.0
        )
        for size, name in ((256, "matvec256"), (768, "matvec768"))
    ),
    _refresh("two threads", "seconds", 4.0, unit="s"),
    _refresh("mean precision", "precision_bits", 18.0, least=True, unit="bits"),
    _refresh("worst precision", "precision_bits_worst", 15.0, least=True, unit="bits"),
    _refresh("levels left", "levels_left", 12.0, least=True),
    Bar(
        "bootstrapping: resident with keys",
        (bootstrap.CASE,),
        "peak_memory_bytes",
        8.0,
        unit=(2.0**30, "GiB"),
    ),
    _refresh("each level left", "seconds_per_level", 0.3, unit="s"),
    _refresh("two threads against one", "speedup_two_threads", 1.6, least=True),
    _refresh(
        "two threads beside a busy core / one thread", "seconds_busy_core", 1.2, over="seconds_one_thread"
    ),
)
"""The last row shows that threads do not collapse: one core's worth of work is left to them."""


def judged(records: Sequence[BenchmarkRecord]) -> list[BenchmarkRecord]:
    """The records that bars are about."""
    cases = {case for bar in BARS for case in bar.cases}
    return [r for r in records if r.case in cases and r.subject in (OWN, PEER)]


def _values(records: Sequence[BenchmarkRecord]) -> Iterator[tuple[Bar, float]]:
    by_place: dict[Place, float] = {(r.case, r.metric, r.subject): r.value for r in records}
    for bar in BARS:
        subject, below = (PEER, bar.metric) if bar.over == PEER else (OWN, bar.over)
        above = [by_place.get((case, bar.metric, subject)) for case in bar.cases]
        under = [by_place.get((case, below, OWN)) for case in bar.cases] if bar.over else [1.0]
        if None not in above and None not in under:
            yield bar, sum(x for x in above if x) / sum(x for x in under if x) / bar.unit[0]


def table(records: Sequence[BenchmarkRecord]) -> Table:
    """A row for each bar that the records say something about."""
    rows = []
    for bar, value in _values(records):
        holds = value >= bar.limit if bar.least else value <= bar.limit
        unit = f" {bar.unit[1]}" if bar.unit[1] else ""
        wanted = f"at {'least' if bar.least else 'most'} {bar.limit:g}{unit}"
        rows.append((bar.name, f"{value:.3g}{unit}", wanted, "yes" if holds else "NO"))
    return Table("Bars", ("", ">measured", ">wanted", "holds"), tuple(rows))
