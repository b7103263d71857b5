"""`convert`: a checkpoint to its private form."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.console import Console

from cipherformer.cli import model as models
from cipherformer.cli.build import Shape
from cipherformer.cli.output import console_for, json_option, print_table, progress_bar, write_json
from cipherformer.errors import DataError, ModelError
from cipherformer.report import conversion as tables
from cipherformer.report.plot_conversion import plot_conversion

if TYPE_CHECKING:
    from cipherformer.train.convert import Watch
    from cipherformer.train.data import Data
    from cipherformer.train.stage import Conversion

DATA_HELP = (
    "A .npz file with `inputs` and `labels`, or `tokens` [n, L + 1]; the same names with `_test` are scored,"
    " else a fifth is held out. Rows of texts or images: a .csv, .tsv, .jsonl or .parquet file, a folder with"
    " train and test of these or saved by `datasets`, or hub:NAME[:CONFIGURATION]. A text (.txt) for a"
    " language model. Or a Python reference whose factory returns cipherformer.train.Data."
)


F = TypeVar("F", bound=Callable[..., Any])


def data_options(command: F) -> F:
    """The options for training data and for the shape of what the model takes."""
    for option in reversed(_DATA_OPTIONS):
        command = option(command)
    return command


_DATA_OPTIONS = (
    click.option("-d", "--data", "data_reference", required=True, help=DATA_HELP),
    click.option("--text-column", multiple=True, help="Of rows: the texts; twice for pairs."),
    click.option("--label-column", default="", help="Of rows: the labels."),
    click.option("--shape", type=Shape(), help="Shape of one input, if the factory gives no example input."),
    click.option(
        "--tokens", type=click.IntRange(1, 4096), default=16, show_default=True, help="Length of a text."
    ),
)


@click.command(help=f"Convert MODEL to its private form and train it back.\n\n{models.HELP}")
@click.argument("model")
@click.option("-r", "--recipe", "recipe_name", default="default", show_default=True, help="By name.")
@data_options
@click.option("--metric", multiple=True, help="Also score by f1, matthews, pearson, .., or glue:TASK.")
@click.option(
    "-o",
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder for everything; the same command goes on where a killed one was.",
)
@click.option(
    "--epochs", type=click.FloatRange(0.0), default=1.0, show_default=True, help="Times the recipe's."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of shuffling and the like.")
@click.option("--relaxed", is_flag=True, help="Report a broken contract instead of failing.")
@click.option("--price/--no-price", default=True, show_default=True, help="Predict costs before and after.")
@json_option
def convert(
    model: str,
    recipe_name: str,
    data_reference: str,
    text_column: tuple[str, ...],
    label_column: str,
    metric: tuple[str, ...],
    out: Path,
    epochs: float,
    seed: int,
    relaxed: bool,
    price: bool,
    shape: tuple[int, ...] | None,
    tokens: int,
    json_path: str | None,
) -> None:
    """Says what it will replace, trains in stages, scores, predicts and writes everything to OUT."""
    console = console_for(json_path)
    loaded = models.load_model(model, shape=shape, tokens=tokens)
    from cipherformer.train import convert as conversions
    from cipherformer.train.ranges import refuse
    from cipherformer.train.recipes import recipe
    from cipherformer.train.result import write_result

    chosen = _lengthened(recipe(recipe_name), epochs)
    data = read_training_data(model, data_reference, tokens, (text_column, label_column))
    data = replace(data, metrics=(*data.metrics, *metric))
    console.print(f"{chosen.name} ({chosen.source}): {chosen.about}")
    with _watch(console) as watch:
        done = conversions.convert(
            loaded.module,
            data,
            chosen,
            out,
            example_inputs=loaded.example_inputs,
            seed=seed,
            relaxed=True,
            watch=watch,
        )
    reference = {"model": model, "shape": shape, "tokens": tokens}
    with console.status("ranges and predicted costs"):
        report = write_result(out, done, data, chosen, reference=reference, price=price)
    shown = [tables.stages_table, tables.ranges_table, tables.contract_table]
    for table in [*shown, tables.costs_table] if price else shown:
        print_table(console, table(report))
    plot_conversion(report, out / "report.png", title=f"{loaded.name}, {chosen.name}")
    console.print(
        f"weights, recipe, ranges, report and plot: {out}; `cipherformer compile {out} ...` takes it"
    )
    write_json(report, json_path)
    if not relaxed:
        refuse(report["contract"]["problems"])


def _lengthened(chosen: Conversion, epochs: float) -> Conversion:
    if epochs == 1.0:
        return chosen
    stages = tuple(replace(stage, epochs=stage.epochs * epochs) for stage in chosen.stages)
    return replace(chosen, stages=stages)


def read_training_data(model: str, reference: str, tokens: int, columns: tuple[tuple[str, ...], str]) -> Data:
    """What `--data` names, see `DATA_HELP`; `columns` are those of texts and of labels.

    Raises:
        DataError: nothing that can be read.
        ModelError: a factory that fails, or texts for a model without a tokenizer.
    """
    from cipherformer.train import rows
    from cipherformer.train.data import Data, from_arrays, from_file

    path = Path(reference)
    if path.suffix == ".npz":
        return from_file(path)
    if path.suffix == ".txt":
        return from_arrays(models.read_data(model, path, tokens=tokens, count=1 << 20), where=reference)
    if rows.known(reference):
        parts, named = rows.read_rows(reference), rows.Names(*columns)
        tokenizer = rows.tokenizer_of(Path(model), parts, named)
        return rows.from_rows(parts, tokenizer, length=tokens, names=named, where=reference)
    if ":" not in reference:
        raise DataError(
            "neither a file of a known kind nor a Python reference",
            where=reference,
            fix="see --help for --data",
        )
    found: Any = models.call_reference(reference, "data")
    if not isinstance(found, Data):
        raise ModelError(
            "the factory of the data did not return cipherformer.train.Data",
            where=reference,
            why=f"it returned a {type(found).__name__}",
        )
    return found


@contextmanager
def _watch(console: Console) -> Iterator[Watch]:
    from cipherformer.train.build import REASONS
    from cipherformer.train.convert import Watch

    with progress_bar(console) as progress:
        tasks: dict[str, Any] = {}

        def sites(found: tuple[Any, ...], left: list[str]) -> None:
            rows = [(site.name, site.kind, site.before, site.after) for site in found]
            print_table(console, tables.sites_table(rows, {str(k): v for k, v in REASONS.items()}))
            if left:
                console.print(f"kept, and not for encryption: {', '.join(left[:4])} ({len(left)} in all)")

        def step(now: Any) -> None:
            if now.stage not in tasks:
                tasks[now.stage] = progress.add_task(now.stage, total=now.steps)
            progress.update(
                tasks[now.stage], completed=now.step, description=f"{now.stage}, loss {now.loss:.3f}"
            )

        def stage(record: dict[str, Any]) -> None:
            console.print(f"after {record['stage']!r}: {tables.score_text(record)}")

        yield Watch(sites=sites, step=step, stage=stage)
