"""One self-contained HTML page on a plan: what it takes, where the time goes by prediction and, if records of
queries are given, where it went. Bars are SVG; nothing is loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from cipherformer.backends.ckks.trace import TraceRecord
from cipherformer.kernels.step import Step
from cipherformer.plan.estimate import Estimate
from cipherformer.report.categories import categories
from cipherformer.report.plot import COLOURS
from cipherformer.report.table import INPUT_LAYER, Table, show_seconds

WIDTH, ROW = 900, 24
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222 }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100%; font-size: .9rem }
td, th { border-bottom: 1px solid #ddd; padding: .2rem .5rem; text-align: left; vertical-align: top }
.n { text-align: right; font-variant-numeric: tabular-nums }
svg { width: 100%; height: auto } text { font: 12px system-ui, sans-serif }
.key { display: inline-block; width: .8rem; height: .8rem; margin: 0 .3rem 0 1rem }
"""

Split = Mapping[str, float]
"""Seconds by name."""


def predicted_records(steps: Sequence[Step], estimate: Estimate) -> list[TraceRecord]:
    """The prediction in the form of a query's trace."""
    layers = {s.name: s.origin or s.name for s in steps}
    return [
        TraceRecord(layers[step], step, primitive, 1, seconds)
        for (step, primitive), seconds in estimate.by_work.items()
    ]


def mean_records(traces: Sequence[Iterable[Mapping[str, Any]]]) -> list[TraceRecord]:
    """Records {layer, node, primitive, calls, seconds} of several queries as one mean query."""
    return [
        TraceRecord(r["layer"], r["node"], r["primitive"], r["calls"], r["seconds"] / len(traces))
        for trace in traces
        for r in trace
    ]


def plan_page(
    title: str,
    steps: Sequence[Step],
    summary: Table,
    predicted: Sequence[TraceRecord],
    measured: Sequence[TraceRecord] = (),
) -> str:
    """The page.

    Args:
        title: of the page.
        steps: of the plan.
        summary: what the plan takes.
        predicted: see `predicted_records`.
        measured: see `mean_records`; nothing if no query was made.
    """
    kinds = [("predicted", predicted)] + ([("measured", measured)] if measured else [])
    splits = {
        "Categories": {kind: categories(steps, records) for kind, records in kinds},
        "Primitives": {kind: _summed(records, "primitive") for kind, records in kinds},
        "Layers": {kind: _summed(records, "layer") for kind, records in kinds},
    }
    parts = [f"<h1>{escape(title)}</h1>", _table(summary)]
    for heading in ("Categories", "Primitives"):
        parts += [f"<h2>{heading}</h2>", _bars(splits[heading])]
    parts += [_table(_split_table(heading, found)) for heading, found in splits.items()]
    head = f"<title>{escape(title)}</title><meta charset='utf-8'><style>{_STYLE}</style>"
    return f"<!doctype html><html lang='en'><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def _summed(records: Iterable[TraceRecord], field: str) -> dict[str, float]:
    out: dict[str, float] = {}
    for record in records:
        name = getattr(record, field) or INPUT_LAYER
        out[name] = out.get(name, 0.0) + record.seconds
    return out


def _split_table(title: str, splits: Mapping[str, Split]) -> Table:
    """Seconds by name, a column for each kind, the largest first where the order says nothing."""
    names = list(dict.fromkeys(name for split in splits.values() for name in split))
    if title != "Layers":
        names.sort(key=lambda name: -max(split.get(name, 0.0) for split in splits.values()))
    rows = [(name, *(show_seconds(split.get(name, 0.0)) for split in splits.values())) for name in names]
    total = ("total", *(show_seconds(sum(split.values())) for split in splits.values()))
    return Table(title, (title.lower(), *(f">{kind}" for kind in splits)), tuple(rows), total)


def _table(table: Table) -> str:
    classes = [" class='n'" if c.startswith(">") else "" for c in table.columns]

    def row(cells: Sequence[str], tag: str) -> str:
        made = "".join(f"<{tag}{c}>{escape(x)}</{tag}>" for x, c in zip(cells, classes, strict=True))
        return f"<tr>{made}</tr>"

    head = row([c.removeprefix(">") for c in table.columns], "th")
    body = "".join(row(cells, "td") for cells in table.rows)
    foot = row(table.footer, "th") if table.footer else ""
    return f"<h2>{escape(table.title)}</h2><table>{head}{body}{foot}</table>"


def _bars(splits: Mapping[str, Split]) -> str:
    """A bar for each kind, its parts in the order of the first's size, and what the colours mean."""
    names = list(dict.fromkeys(name for split in splits.values() for name in split))
    names.sort(key=lambda name: -sum(split.get(name, 0.0) for split in splits.values()))
    shown = names[: len(COLOURS) - 1]
    unit = (WIDTH - 180) / max(max(sum(split.values()) for split in splits.values()), 1e-9)
    out = []
    for i, (kind, split) in enumerate(splits.items()):
        x, y = 90.0, i * ROW
        out.append(f"<text x='0' y='{y + 16}'>{escape(kind)}</text>")
        rest = sum(seconds for name, seconds in split.items() if name not in shown)
        for colour, name in zip(COLOURS, [*shown, "others"], strict=False):
            seconds = rest if name == "others" else split.get(name, 0.0)
            label = f"<title>{escape(name)}: {show_seconds(seconds)}</title>"
            place = f"x='{x:.1f}' y='{y + 2}' width='{seconds * unit:.1f}' height='18'"
            out.append(f"<rect {place} fill='{colour}'>{label}</rect>")
            x += seconds * unit
        out.append(f"<text x='{x + 6:.1f}' y='{y + 16}'>{show_seconds(sum(split.values()))}</text>")
    legend = [*shown, *(["others"] if len(names) > len(shown) else [])]
    keys = "".join(
        f"<span class='key' style='background:{colour}'></span>{escape(name)}"
        for colour, name in zip(COLOURS, legend, strict=False)
    )
    height = ROW * len(splits)
    return f"<svg viewBox='0 0 {WIDTH} {height}' role='img'>{''.join(out)}</svg><p>{keys}</p>"
