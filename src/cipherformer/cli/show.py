"""`show` and `report`: what is in a file that another command wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from cipherformer.cli.output import console_for, json_option, print_table, write_json
from cipherformer.errors import FormatError
from cipherformer.plan.plan import Plan
from cipherformer.plan.signature import Signature
from cipherformer.report.compare import compare
from cipherformer.report.plot import plot_breakdown
from cipherformer.report.schema import DemoRecord, read
from cipherformer.report.table import breakdown_table, demo_table, images_table, summary_table
from cipherformer.serve import keys as key_folders

_PATH = click.Path(exists=True, path_type=Path)


@click.command()
@click.argument("path", type=_PATH)
@click.option("--graph", is_flag=True, help="Print the plan's graph, one line a node.")
@click.option("--steps", is_flag=True, help="Print the plan's instructions, one line each.")
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write one HTML page on a plan: where the time of a query goes.",
)
@click.option(
    "--answers",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With --html: what `query --json` wrote for this plan, to be compared with the prediction.",
)
@json_option
def show(
    path: Path, graph: bool, steps: bool, html: Path | None, answers: Path | None, json_path: str | None
) -> None:
    """Summarise a plan, a signature, a folder of keys or a record: PATH says which it is."""
    console = console_for(json_path)
    if html is not None and not (path / "plan.json").exists():
        raise FormatError("no plan to make a page of", where=str(path), fix="give the folder of a plan")
    if path.is_dir() and (path / "plan.json").exists():
        plan = Plan.load(path)
        if graph:
            from cipherformer.graph.text import print_graph

            console.print(print_graph(plan.graph), markup=False, soft_wrap=True)
        if steps:
            console.print(plan.text(), markup=False, soft_wrap=True)
        summary: dict[str, Any] = {"fingerprint": plan.fingerprint, **plan.summary()}
        title = f"Plan {plan.name}"
        if html is not None:
            html.parent.mkdir(parents=True, exist_ok=True)
            html.write_text(_page(plan, summary, answers), encoding="utf-8")
    elif path.is_dir():
        title, summary = f"Keys in {path}", _keys(path)
    elif _is_record(path):
        _show_record(console, path)
        write_json(json.loads(path.read_text()), json_path)
        return
    else:
        title, summary = f"Signature {path}", _signature(Signature.load(path))
    print_table(console, summary_table(title, summary))
    write_json(summary, json_path)


@click.command()
@click.argument("records", type=_PATH, nargs=-1, required=True)
@click.option(
    "--markdown", type=click.Path(dir_okay=False, path_type=Path), help="Write the tables to this file."
)
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw the latency breakdown of a demo record to this .png or .svg file.",
)
@json_option
def report(
    records: tuple[Path, ...], markdown: Path | None, plot: Path | None, json_path: str | None
) -> None:
    """Make tables and plots from record files, side by side.

    RECORDS are files written with `--json` by `cipherformer demo` or by a benchmark.
    """
    console = console_for(json_path)
    tables = compare(records)
    demos = [content for content in map(read, records) if isinstance(content, DemoRecord)]
    if len(records) == 1 and demos:
        tables = [demo_table(demos[0]), images_table(demos[0].images), breakdown_table(demos[0].breakdown)]
    for table in tables:
        print_table(console, table)
    if markdown is not None:
        markdown.parent.mkdir(parents=True, exist_ok=True)
        markdown.write_text("\n".join(table.to_markdown() for table in tables))
    if plot is not None:
        if not demos:
            raise FormatError("no latency breakdown to draw", where=str(plot), fix="give a demo record")
        plot_breakdown(demos[0].breakdown, plot, title="Server time for one image")
    rows = [
        {"title": t.title, "columns": [c.removeprefix(">") for c in t.columns], "rows": t.rows}
        for t in tables
    ]
    write_json(rows, json_path)


def _page(plan: Plan, summary: dict[str, Any], answers: Path | None) -> str:
    """The HTML page of a plan, with the traces of answers if there are any."""
    from cipherformer.plan.estimate import estimate
    from cipherformer.report.page import mean_records, plan_page, predicted_records

    predicted = predicted_records(plan.steps, estimate(plan))
    measured = []
    if answers is not None:
        try:
            record = json.loads(answers.read_text())
            fingerprint, traces = record["plan"], [answer["trace"] for answer in record["answers"]]
            measured = mean_records(traces)
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError("not the record of a query", where=str(answers), why=repr(error)) from error
        if fingerprint != plan.fingerprint:
            raise FormatError("these answers are another plan's", where=str(answers))
    title = f"Plan {plan.name}"
    return plan_page(title, plan.steps, summary_table(title, summary), predicted, measured)


def _keys(path: Path) -> dict[str, Any]:
    folder = key_folders.load(path)
    return {
        "client": folder.manifest.client,
        "evaluation_keys": len(folder.manifest.entries),
        "key_bytes": folder.manifest.size,
        **_signature(Signature.from_json(folder.signature)),
    }


def _signature(signature: Signature) -> dict[str, Any]:
    target = signature.target
    return {
        "plan": signature.fingerprint,
        "model": signature.name,
        "inputs": {i.source: f"{list(i.shape)} in [{i.low:.4g}, {i.high:.4g}]" for i in signature.inputs},
        "outputs": {o.name: str(list(o.shape)) for o in signature.outputs},
        "keys": len(signature.keys),
        "log_n": target.log_n,
        "log_qp": round(target.log_qp),
        "levels": target.levels,
        "security_bits": target.security_bits,
    }


def _is_record(path: Path) -> bool:
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise FormatError("cannot show this file", where=str(path), why=str(error)) from error
    return isinstance(data, list) or (
        isinstance(data, dict) and str(data.get("format", "")).startswith("cipherformer-demo")
    )


def _show_record(console: Any, path: Path) -> None:
    content = read(path)
    if isinstance(content, DemoRecord):
        print_table(console, demo_table(content))
        print_table(console, images_table(content.images))
        print_table(console, breakdown_table(content.breakdown))
    else:
        for table in compare([path]):
            print_table(console, table)
