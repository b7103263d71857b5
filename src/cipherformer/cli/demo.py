"""`demo`: the whole story on one page."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from cipherformer.cli.output import console_for, json_option, print_table, write_json
from cipherformer.errors import ModelError


@click.command()
@click.option(
    "-o",
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out/demo"),
    show_default=True,
    help="Folder for weights, plan, record and plot.",
)
@click.option(
    "-n",
    "--images",
    type=click.IntRange(1, 450),
    default=10,
    show_default=True,
    help="Encrypted test images.",
)
@click.option(
    "-t", "--threads", type=click.IntRange(1, 256), default=2, show_default=True, help="Of the server."
)
@click.option("--retrain", is_flag=True, help="Train even if there are cached weights.")
@click.option("--keep-keys", is_flag=True, help="Keep the keys, some gigabytes, in OUT.")
@json_option
def demo(out: Path, images: int, threads: int, retrain: bool, keep_keys: bool, json_path: str | None) -> None:
    """A small vision transformer reads handwritten digits that it cannot see.

    Runs a server process, and a client process that alone holds the secret key, and shows what the server
    never sees: images and answers.
    """
    try:
        from cipherformer.demo.run import DemoOptions, run_demo
    except ImportError as error:
        fix = "pip install 'cipherformer[demo]'"
        raise ModelError(
            "the demonstration needs PyTorch and scikit-learn", why=str(error), fix=fix
        ) from error
    console = console_for(json_path)
    options = DemoOptions(out=out, images=images, threads=threads, retrain=retrain, keep_keys=keep_keys)
    record = run_demo(options, console, lambda table: print_table(console, table))
    console.print(f"record and plot: {out / 'demo.json'}, {out / 'breakdown.png'}")
    write_json(asdict(record), json_path)
