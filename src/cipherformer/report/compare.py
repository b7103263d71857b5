"""Tables from record files, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from cipherformer.errors import DataError
from cipherformer.report.schema import BenchmarkRecord, DemoRecord, read
from cipherformer.report.table import Table, show_bytes, show_seconds

OWN = "cipherformer"


def compare(paths: Sequence[Path]) -> list[Table]:
    """Reads record files: one table a benchmark suite, and one for demo records with a column a file.

    Raises:
        FormatError: if a file is not a record file.
        DataError: if there is nothing in them.
    """
    demos: dict[str, DemoRecord] = {}
    measured: list[BenchmarkRecord] = []
    for path in paths:
        content = read(path)
        if isinstance(content, DemoRecord):
            demos[path.stem if path.stem not in demos else str(path)] = content
        else:
            measured += content
    tables = [_demos(demos)] if demos else []
    for suite in dict.fromkeys(record.suite for record in measured):
        tables.append(suite_table(suite, [record for record in measured if record.suite == suite]))
    if not tables:
        raise DataError("no records in these files", where=", ".join(map(str, paths)))
    return tables


def _demos(demos: Mapping[str, DemoRecord]) -> Table:
    names = [
        name
        for name, value in asdict(next(iter(demos.values()))).items()
        if isinstance(value, (int, float, str)) and name != "format"
    ]
    rows = [(name, *(_value(name, getattr(record, name)) for record in demos.values())) for name in names]
    return Table("Demonstrations", ("", *(f">{name}" for name in demos)), tuple(rows))


def suite_table(suite: str, records: Sequence[BenchmarkRecord]) -> Table:
    """A row a case and metric, a column a subject, for each peer its value divided by ours; `-` for none."""
    subjects = list(dict.fromkeys(record.subject for record in records))
    peers = [name for name in subjects if name != OWN] if OWN in subjects else []
    by_place = {(r.case, r.metric, r.subject): r for r in records}  # the last record of a case counts
    rows = []
    for case, metric in dict.fromkeys((record.case, record.metric) for record in records):
        found = [by_place.get((case, metric, subject)) for subject in subjects]
        own = by_place.get((case, metric, OWN))
        ratios = []
        for peer in peers:
            other = by_place.get((case, metric, peer))
            ratios.append(f"{other.value / own.value:.2f}" if other and own and own.value else "-")
        texts = [
            _value(metric, r.value) if r and r.unit in ("s", "B") else f"{r.value:.4g}" if r else "-"
            for r in found
        ]
        rows.append((case, metric, *texts, *ratios))
    heads = (*(f">{name}" for name in subjects), *(f">{name} / ours" for name in peers))
    metrics = list(dict.fromkeys(record.metric for record in records))
    if len(metrics) == 1:
        short = tuple((case, *cells) for case, _, *cells in rows)
        return Table(f"Benchmark {suite}: {metrics[0]}", ("case", *heads), short)
    return Table(f"Benchmark {suite}", ("case", "metric", *heads), tuple(rows))


def _value(name: str, value: float | str) -> str:
    if isinstance(value, str):
        return value
    if "bytes" in name:
        return show_bytes(value)
    if "seconds" in name:
        return show_seconds(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
