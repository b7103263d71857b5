"""Makes the docs' tables from record files: `python -m benchmarks.tables RECORDS.json... [--into FILE.md]`.

Without `--into` the tables are printed. With it each replaces the text between the lines
`<!-- table: NAME -->` and `<!-- end -->` of the file, where NAME is the suite, `demo` or `bars` (what
`benchmarks.engine` must reach). A second word keeps only the cases that contain it: `<!-- table: engine n15
-->`; without one, bootstrapping is left out.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import bars
from cipherformer.report.compare import suite_table
from cipherformer.report.schema import BenchmarkRecord, DemoRecord, read
from cipherformer.report.table import breakdown_table, demo_table

BLOCK = re.compile(r"<!-- table: (\w+) ?(\S*) -->\n.*?<!-- end -->", re.DOTALL)


def demo(record: DemoRecord) -> str:
    """Figures and breakdown of a demonstration."""
    parts = (demo_table(record), breakdown_table(record.breakdown))
    return "\n".join([*(part.to_markdown() for part in parts), provenance(record.date, record.machine)])


COLUMNS = {
    "emulate": {
        "inputs": "inputs",
        "top1_agreement": "same top entry",
        "accuracy_float": "accuracy, float",
        "accuracy_emulated": "emulated",
        "perplexity_float": "perplexity, float",
        "perplexity_emulated": "emulated",
        "rms_error": "rms error",
        "overflows": "overflows",
    },
    "emulation_speed": {
        "emulation_over_float32": "emulation over float32",
        "seconds": "seconds",
        "seconds_float32": "float32",
        "float64_share": "in float64",
        "relative_error": "relative error",
        "blocks": "blocks",
        "peak_memory_bytes": "peak memory, bytes",
    },
    "two_party": {
        "rounds": "rounds",
        "online_bytes_per_party": "sent by each, MB",
        "online_seconds": "online, s",
        "offline_bytes": "dealt, MB",
        "offline_seconds": "offline, s",
        "truncated_elements": "truncated elements",
        "largest_error": "largest error",
    },
}
"""Suites with a row a case, and their columns: metric to heading. A heading in MB divides bytes."""


def rows_of(name: str, records: Sequence[BenchmarkRecord]) -> str:
    """A table with a row a case and a column a metric; those that no record has are left out."""
    found = {(r.case, r.metric): r.value for r in records}
    metrics = [m for m in COLUMNS[name] if any((r.case, m) in found for r in records)]
    lines = [
        "| case | " + " | ".join(COLUMNS[name][m] for m in metrics) + " |",
        "|---" + "|--:" * len(metrics) + "|",
    ]
    for case in dict.fromkeys(r.case for r in records):
        cells = [shown(m, COLUMNS[name][m], found.get((case, m))) for m in metrics]
        lines.append(f"| {case} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def shown(metric: str, heading: str, value: float | None) -> str:
    """A cell; empty without a value."""
    if value is None:
        return ""
    if metric.endswith("_elements"):
        return f"{value / 1e6:.2f} million"
    return f"{value / 1e6:.1f}" if heading.endswith("MB") else f"{value:.4g}"


def suite(name: str, records: Sequence[BenchmarkRecord]) -> str:
    """A suite's table, the versions, and where and when it was measured."""
    body = rows_of(name, records) if name in COLUMNS else suite_table(name, records).to_markdown()
    return body + origin(records)


def origin(records: Sequence[BenchmarkRecord]) -> str:
    """The line below a table: versions, and where and when it was measured."""
    versions = ", ".join(dict.fromkeys(f"{r.subject} {r.version}" for r in records))
    return f"\n{versions}. " + " ".join(dict.fromkeys(provenance(r.date, r.machine) for r in records))


def provenance(date: str, machine: Mapping[str, Any]) -> str:
    """When and on what numbers were measured."""
    vectors = ", ".join(machine["vectors"]) or "no vectors"
    where = f"{machine['processor']} ({vectors}), {machine['cores']} cores, {machine['memory_gib']} GiB"
    return f"Measured {date} on {where}.\n"


def filled(block: re.Match[str], body: str | None) -> str:
    """The block with a new body, or as it was where there is none."""
    if body is None:
        return block[0]
    first, last = block[0].splitlines()[0], block[0].splitlines()[-1]
    return f"{first}\n{body}{last}"


def made(
    name: str, part: str, measured: Sequence[BenchmarkRecord], demos: Sequence[DemoRecord]
) -> str | None:
    """The body of one block; None where no record belongs into it."""
    if name == "demo":
        return demo(demos[-1]) if demos else None
    if name == "bars":
        judged = bars.table(measured)
        return judged.to_markdown() + origin(bars.judged(measured)) if judged.rows else None
    chosen = [r for r in measured if r.suite == name]
    rows = [r for r in chosen if (part in r.case if part else not r.case.startswith("bootstrap"))]
    return suite(name, rows) if rows else None


def update(path: Path, measured: Sequence[BenchmarkRecord], demos: Sequence[DemoRecord] = ()) -> None:
    """Replaces the tables of a Markdown file that there are records for."""
    text = path.read_text()
    path.write_text(BLOCK.sub(lambda block: filled(block, made(block[1], block[2], measured, demos)), text))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--into", type=Path, action="append", help="a Markdown file to update")
    options = parser.parse_args()
    demos: list[DemoRecord] = []
    measured: list[BenchmarkRecord] = []
    for content in map(read, options.files):
        if isinstance(content, DemoRecord):
            demos.append(content)
        else:
            measured += content

    if options.into is None:
        names = dict.fromkeys([*(r.suite for r in measured), *(["demo"] if demos else [])])
        sys.stdout.write("\n".join(made(name, "", measured, demos) or "" for name in names))
    for path in options.into or ():
        update(path, measured, demos)


if __name__ == "__main__":
    main()
