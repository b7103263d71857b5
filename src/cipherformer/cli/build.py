"""`check` and `compile`: from a model to a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cipherformer.cli import model as models
from cipherformer.cli.output import console_for, json_option, print_table, write_json
from cipherformer.plan.estimate import summarise
from cipherformer.report.table import Table, summary_table

OBSTACLES_FOUND = 1
SIGNATURE_FILE = "signature.json"


class Shape(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """`1,1,28,28` as a tuple of sizes."""

    name = "N,N,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Reads the text."""
        if isinstance(value, tuple):
            return value
        parts = str(value).replace("x", ",").split(",")
        if not all(part.strip().isdigit() and int(part) > 0 for part in parts):
            self.fail(f"{value!r} is not a list of sizes such as 1,1,28,28", param, ctx)
        return tuple(int(part) for part in parts)


def _model_options(command: Any) -> Any:
    shape_help = "Shape of one input, batch axis included, if the factory gives no example input."
    command = click.option("--shape", type=Shape(), help=shape_help)(command)
    tokens_help = "Length of the sequence, for a text model in a folder."
    return click.option(
        "--tokens", type=click.IntRange(1, 4096), default=16, show_default=True, help=tokens_help
    )(command)


@click.command(help=f"List every obstacle between MODEL and an encrypted run.\n\n{models.HELP}")
@click.argument("model")
@_model_options
@json_option
@click.pass_context
def check(
    ctx: click.Context, model: str, shape: tuple[int, ...] | None, tokens: int, json_path: str | None
) -> None:
    """Prints one row an obstacle; the exit code is 0 if there is none and 1 otherwise."""
    console = console_for(json_path)
    loaded = models.load_model(model, shape=shape, tokens=tokens)
    from cipherformer.capture import check as find_obstacles

    obstacles = find_obstacles(loaded.module, loaded.example_inputs)
    names = ("where", "what", "why", "fix")
    rows = [{name: getattr(item, name) for name in names} for item in obstacles]
    write_json({"model": model, "obstacles": rows}, json_path)
    if not rows:
        console.print(f"[green]no obstacles[/green]: {model} can be compiled")
        return
    cells = tuple(tuple(row[name] for name in names) for row in rows)
    print_table(
        console, Table(f"{len(rows)} obstacles in {model}", ("where", "what", "why", "what to do"), cells)
    )
    ctx.exit(OBSTACLES_FOUND)


@click.command(
    "compile", help=f"Compile MODEL to a plan: everything decided, nothing encrypted.\n\n{models.HELP}"
)
@click.argument("model")
@click.option(
    "-s",
    "--samples",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="Typical inputs: a .npy file [n, ...], or a .npz file with one array an input.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder for the plan.",
)
@click.option(
    "-t",
    "--threads",
    type=click.IntRange(1, 256),
    default=2,
    show_default=True,
    help="Of the server, for the prediction.",
)
@click.option(
    "-b",
    "--bootstrap",
    default="auto",
    show_default=True,
    help="`auto`: where it is needed and pays; `never`; or the name of a bootstrapping set.",
)
@click.option(
    "--mode",
    type=click.Choice(["latency", "throughput"]),
    default="latency",
    show_default=True,
    help="`latency`: a query is one input. `throughput`: a query is a batch that fills the slots.",
)
@click.option(
    "--flood-bits",
    type=click.IntRange(0, 48),
    help="Hide the weights from clients: re-randomise answers under an error of this size (see SECURITY.md).",
)
@_model_options
@json_option
def compile_(
    model: str,
    samples: Path,
    out: Path,
    threads: int,
    bootstrap: str,
    mode: str,
    flood_bits: int | None,
    shape: tuple[int, ...] | None,
    tokens: int,
    json_path: str | None,
) -> None:
    """Captures, calibrates, compiles, saves and summarises."""
    console = console_for(json_path)
    loaded = models.load_model(model, shape=shape, tokens=tokens)
    from cipherformer.capture import capture
    from cipherformer.compiler import Options, compile_graph

    with console.status(f"compiling {model}"):
        graph = capture(loaded.module, loaded.example_inputs, name=loaded.name)
        shapes = {node.name: node.type.shape for node in graph.inputs}
        calibration = models.read_samples(samples, shapes)
        flood = -1 if flood_bits is None else flood_bits
        options = Options(threads=threads, bootstrap=bootstrap, flood_bits=flood, mode=mode)
        plan = compile_graph(graph, calibration, options)
        plan.save(out)
        plan.signature.save(out / SIGNATURE_FILE)
    summary = {"fingerprint": plan.fingerprint, **summarise(plan, threads)}
    print_table(
        console, summary_table(f"Plan {plan.name}, calibrated on {len(calibration)} samples", summary)
    )
    console.print(f"saved to {out}; clients need only {out / SIGNATURE_FILE}")
    write_json(summary, json_path)
