"""Makes the docs' tables from record files: `python -m benchmarks.tables RECORDS.json... [--into FILE.md]`.

Without `--into` the tables are printed. With it each replaces the text between the lines
`<!-- table: NAME -->` and `<!-- end -->` of the file, where NAME is the suite, or `demo`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cipherformer.report.compare import suite_table
from cipherformer.report.schema import BenchmarkRecord, DemoRecord, read
from cipherformer.report.table import breakdown_table, demo_table


def tables(paths: Sequence[Path]) -> dict[str, str]:
    """Markdown by the name of the block: one table a suite, two for a demonstration."""
    out: dict[str, str] = {}
    measured: list[BenchmarkRecord] = []
    for path in paths:
        content = read(path)
        if isinstance(content, DemoRecord):
            parts = (demo_table(content), breakdown_table(content.breakdown))
            where = provenance(content.date, content.machine)
            out["demo"] = "\n".join([*(part.to_markdown() for part in parts), where])
        else:
            measured += content
    for suite in dict.fromkeys(record.suite for record in measured):
        rows = [record for record in measured if record.suite == suite]
        versions = ", ".join(dict.fromkeys(f"{r.subject} {r.version}" for r in rows))
        places = dict.fromkeys(provenance(r.date, r.machine) for r in rows)
        out[suite] = suite_table(suite, rows).to_markdown() + f"\n{versions}. " + " ".join(places)
    return out


def provenance(date: str, machine: Mapping[str, Any]) -> str:
    """When and on what numbers were measured."""
    vectors = ", ".join(machine["vectors"]) or "no vectors"
    where = f"{machine['processor']} ({vectors}), {machine['cores']} cores, {machine['memory_gib']} GiB"
    return f"Measured {date} on {where}.\n"


def replace(text: str, name: str, body: str) -> str:
    """The document with a block replaced; unchanged if it has none of that name."""
    pattern = re.compile(rf"(<!-- table: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    return pattern.sub(lambda match: match[1] + body + match[2], text)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--into", type=Path, action="append", help="a Markdown file to update")
    options = parser.parse_args()
    made = tables(options.files)
    if options.into is None:
        sys.stdout.write("\n".join(made.values()))
    for path in options.into or ():
        text = path.read_text()
        for name, body in made.items():
            text = replace(text, name, body)
        path.write_text(text)


if __name__ == "__main__":
    main()
