"""`emulate`: a model's private computation in a ring, in plaintext."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.typing import NDArray

from cipherformer.cli import model as models
from cipherformer.cli.build import Shape
from cipherformer.cli.output import console_for, json_option, print_table, progress_bar, write_json
from cipherformer.errors import DataError
from cipherformer.ops.ring_published import SETS
from cipherformer.passes.truncate import POLICIES
from cipherformer.targets.ring import RingTarget, Truncation

if TYPE_CHECKING:
    from cipherformer.capture.pretrained import Loaded

Arrays = dict[str, NDArray[np.float64]]
RANDOM_SAMPLES = 2


@click.command(help=f"Emulate MODEL in fixed point, as protocols on shares compute it.\n\n{models.HELP}")
@click.argument("model")
@click.option("--ring-bits", type=click.IntRange(16, 128), default=64, show_default=True, help="Of the ring.")
@click.option("--frac-bits", type=int, default=16, show_default=True, help="After a truncation.")
@click.option(
    "--guard-bits", type=int, default=1, show_default=True, help="Kept free above calibrated values."
)
@click.option(
    "--truncation",
    type=click.Choice([t.value for t in Truncation]),
    default="exact",
    show_default=True,
    help="What a truncation computes.",
)
@click.option("--policy", type=click.Choice(POLICIES), default="hoisted", show_default=True)
@click.option(
    "--functions",
    type=click.Choice(["default", *SETS]),
    default="default",
    show_default=True,
    help="Approximations: the package's own, or a published set.",
)
@click.option(
    "--data",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Inputs (.npy, .npz), with `labels`; or for a text model `tokens` [n, L + 1]. Default: random.",
)
@click.option("--limit", type=click.IntRange(1), default=8, show_default=True, help="Most inputs to run.")
@click.option("--shape", type=Shape(), help="Shape of one input, if the factory gives no example input.")
@click.option(
    "--tokens", type=click.IntRange(1, 4096), default=16, show_default=True, help="Length of a text."
)
@json_option
def emulate(
    model: str,
    ring_bits: int,
    frac_bits: int,
    guard_bits: int,
    truncation: str,
    policy: str,
    functions: str,
    data: Path | None,
    limit: int,
    shape: tuple[int, ...] | None,
    tokens: int,
    json_path: str | None,
) -> None:
    """Captures, lowers, places truncations, runs and compares with float64."""
    target = RingTarget(ring_bits, frac_bits, guard_bits, Truncation(truncation))
    console = console_for(json_path)
    arrays = models.read_arrays(data) if data else {}
    if "tokens" in arrays:
        tokens = arrays["tokens"].shape[-1] - 1
    loaded = models.load_model(model, shape=shape, tokens=tokens)
    from cipherformer.backends.emulate import emulate as run
    from cipherformer.capture import capture
    from cipherformer.report import emulation as report

    with console.status(f"capturing {model}"):
        graph = capture(loaded.module, loaded.example_inputs, name=loaded.name)
    shapes = {node.name: node.type.shape for node in graph.inputs}
    samples, labels = _inputs(loaded, arrays, shapes, limit)
    if not data:
        console.print("no --data: random inputs, which show costs and rounding but not accuracy")
    with progress_bar(console, counted=False) as progress:
        task = progress.add_task("emulating", total=None)
        result = run(
            graph,
            samples,
            target,
            policy=policy,
            method="ring" if functions == "default" else f"ring.{functions}",
            labels=labels,
            on_step=lambda done, total: progress.update(task, completed=done, total=total),
        )
    for table in (report.result_table(result), report.policies_table(result), report.layers_table(result)):
        print_table(console, table)
    write_json({"model": model, "functions": functions, **report.record(result)}, json_path)


def _inputs(
    loaded: Loaded, arrays: Arrays, shapes: dict[str, tuple[int, ...]], limit: int
) -> tuple[list[dict[str, NDArray[Any]]], NDArray[np.int64] | None]:
    """Samples and labels from a file's arrays."""
    labels = arrays.pop("labels").astype(np.int64)[:limit] if "labels" in arrays else None
    if not arrays:
        rng = np.random.default_rng(0)
        drawn = range(min(limit, RANDOM_SAMPLES))
        return [{name: rng.normal(size=s) for name, s in shapes.items()} for _ in drawn], None
    if "tokens" in arrays:
        from cipherformer.capture.pretrained import embedded

        found = arrays.pop("tokens").astype(np.int64)[:limit]
        if found.ndim != 2 or found.shape[1] < 2:
            raise DataError(f"tokens of shape {list(found.shape)}", fix="give whole numbers [n, L + 1]")
        labels = found[:, 1:] if labels is None else labels
        arrays = {"": embedded(loaded, found[:, :-1])}
    return models.split_samples(arrays, shapes, "--data")[:limit], labels
