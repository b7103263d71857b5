"""Makes the docs' tables from record files: `python -m benchmarks.tables RECORDS.json... [--into FILE.md]`.

Without `--into` the tables are printed. With it each replaces the text between the lines
`<!-- table: SUITE -->` and `<!-- end -->` of the file.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import records
from benchmarks.records import Record
from benchmarks.report import OWN, cells


def comparison(rows: Sequence[Record]) -> str:
    """Cases down, subjects across; ours divided by theirs in brackets."""
    subjects = list(dict.fromkeys([OWN, *(r.subject for r in rows)]))
    versions = {r.subject: r.version for r in rows}
    head = ["case", *(f"{name} {versions.get(name, '')}".strip() for name in subjects)]
    return markdown(head, cells(rows, subjects)) + "\n" + provenance(rows)


def metrics(rows: Sequence[Record]) -> str:
    """One line a number: for suites without peers."""
    body = [[r.case, r.metric, f"{r.value:.4g} {r.unit}".removesuffix(" 1"), str(r.threads)] for r in rows]
    return markdown(["case", "metric", "value", "threads"], body) + "\n" + provenance(rows)


def markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table, numbers to the right."""
    rule = [":--", *["--:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *body)) + "\n"


def provenance(rows: Sequence[Record]) -> str:
    """When and on what the records were measured."""
    lines = {
        f"Measured {r.date} on {r.machine['processor']} ({', '.join(r.machine['vectors']) or 'no vectors'}), "
        f"{r.machine['cores']} cores, {r.machine['memory_gib']} GiB."
        for r in rows
    }
    return " ".join(sorted(lines)) + "\n"


def table(suite: str, rows: Sequence[Record]) -> str:
    """The table that fits a suite."""
    return comparison(rows) if suite == "engine" else metrics(rows)


def replace(text: str, suite: str, body: str) -> str:
    """The document with the suite's block replaced; SystemExit if it has none."""
    pattern = re.compile(rf"(<!-- table: {re.escape(suite)} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"no block `<!-- table: {suite} -->` ... `<!-- end -->` in this file")
    return pattern.sub(lambda match: match[1] + body + match[2], text)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--into", type=Path, help="the Markdown file to update")
    options = parser.parse_args()
    rows = [record for path in options.files for record in records.read(path)]
    tables = {s: table(s, [r for r in rows if r.suite == s]) for s in dict.fromkeys(r.suite for r in rows)}
    if options.into is None:
        sys.stdout.write("\n".join(tables.values()))
        return
    text = options.into.read_text()
    for suite, body in tables.items():
        text = replace(text, suite, body)
    options.into.write_text(text)


if __name__ == "__main__":
    main()
