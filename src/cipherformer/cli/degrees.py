"""`degrees`: what approximations of a model's sites would cost, and how well they would do."""

from __future__ import annotations

from pathlib import Path

import click

from cipherformer.cli import model as models
from cipherformer.cli.convert import data_options, read_training_data
from cipherformer.cli.output import console_for, json_option, print_table, write_json
from cipherformer.report.trade import plot_trade, trade_table


@click.command(help=f"Degrees of polynomials against predicted cost, before training.\n\n{models.HELP}")
@click.argument("model")
@click.option("-r", "--recipe", "recipe_name", default="default", show_default=True, help="Whose forms.")
@data_options
@click.option("--budget", type=click.FloatRange(0.0, min_open=True), help="Largest error.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Also draw to FILE.")
@json_option
def degrees(
    model: str,
    recipe_name: str,
    data_reference: str,
    text_column: tuple[str, ...],
    label_column: str,
    budget: float | None,
    plot: Path | None,
    shape: tuple[int, ...] | None,
    tokens: int,
    json_path: str | None,
) -> None:
    """Measures where arguments lie and prints the best choices, from the cheapest to the most precise."""
    console = console_for(json_path)
    loaded = models.load_model(model, shape=shape, tokens=tokens)
    from cipherformer.train.convert import measuring
    from cipherformer.train.lift import lift
    from cipherformer.train.recipes import recipe
    from cipherformer.train.trade import trade

    conversion = recipe(recipe_name)
    data = read_training_data(model, data_reference, tokens, (text_column, label_column))
    lifted = lift(loaded.module, *loaded.example_inputs).eval()
    with console.status("ranges, fits and prices"):
        found = trade(lifted, conversion, measuring(data.train)(lifted)).as_json(budget)
    print_table(console, trade_table(found))
    if plot is not None:
        plot_trade(found, plot, title=f"{loaded.name}, forms of {conversion.name}")
    write_json(found, json_path)
