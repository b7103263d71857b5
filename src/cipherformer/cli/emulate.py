"""`emulate`: a model's private computation in a ring, in plaintext."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from cipherformer.backends.emulate import Choices, emulate_ring
from cipherformer.backends.sweep import FRACTIONS, RINGS
from cipherformer.backends.sweep import sweep as run_sweep
from cipherformer.cli import model as models
from cipherformer.cli import streaming
from cipherformer.cli.build import Shape
from cipherformer.cli.output import console_for, json_option, print_table, progress_bar, write_json
from cipherformer.errors import DataError
from cipherformer.graph import Graph
from cipherformer.ops import ring_masked
from cipherformer.ops.ring_published import SETS
from cipherformer.passes.ring import to_ring
from cipherformer.passes.truncate import POLICIES
from cipherformer.report import emulation as report
from cipherformer.report.plot import plot_emulation, plot_sweep
from cipherformer.targets.protocols import NETWORKS, PROTOCOLS, protocol
from cipherformer.targets.ring import RingTarget, Truncation

if TYPE_CHECKING:
    from cipherformer.capture.pretrained import Loaded

Arrays = dict[str, NDArray[np.float64]]
RANDOM_SAMPLES = 2


def _whole_numbers(_: click.Context, option: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        return tuple(sorted({int(part) for part in value.split(",") if part.strip()}))
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not a list of whole numbers", param=option) from error


def _list(default: Sequence[int]) -> dict[str, Any]:
    return {
        "default": ",".join(map(str, default)),
        "show_default": True,
        "metavar": "A,B,..",
        "callback": _whole_numbers,
    }


@click.command(help=f"Emulate MODEL in fixed point, as protocols on shares compute it.\n\n{models.HELP}")
@click.argument("model")
@click.option("--ring-bits", type=click.IntRange(16, 128), default=64, show_default=True, help="Of the ring.")
@click.option("--frac-bits", type=int, default=16, show_default=True, help="After a truncation.")
@click.option(
    "--guard-bits", type=int, default=1, show_default=True, help="Kept free above calibrated values."
)
@click.option("--policy", type=click.Choice(POLICIES), default="hoisted", show_default=True)
@click.option(
    "--protocol",
    type=click.Choice(tuple(PROTOCOLS)),
    default="additive",
    show_default=True,
    help="Whose rounds, bytes and seconds are predicted, and made small by the policy optimal.",
)
@click.option(
    "--truncation",
    type=click.Choice([t.value for t in Truncation]),
    help="What a truncation computes. Default: what the protocol's do; on shares, to the nearest.",
)
@click.option(
    "--network",
    type=click.Choice(tuple(NETWORKS)),
    default="lan",
    show_default=True,
    help="Link that the policy optimal has in mind.",
)
@click.option(
    "--narrower-rings", **_list(()), help="Other rings that the policy optimal may use, such as 32,48."
)
@click.option(
    "--solver-seconds",
    type=click.FloatRange(0.1),
    default=20.0,
    show_default=True,
    help="For each integer program of the policy optimal.",
)
@click.option(
    "--functions",
    type=click.Choice(["default", ring_masked.SET, *SETS]),
    default="default",
    show_default=True,
    help="Approximations: the package's own, its own for masked wires, or a published set.",
)
@click.option(
    "--data",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Inputs (.npy, .npz), with `labels`; for a text model `tokens` [n, L + 1], or a text (.txt) that is"
    " cut into windows of --tokens. Default: random.",
)
@click.option("--limit", type=click.IntRange(1), default=8, show_default=True, help="Most inputs to run.")
@click.option("--shape", type=Shape(), help="Shape of one input, if the factory gives no example input.")
@click.option(
    "--tokens", type=click.IntRange(1, 4096), default=16, show_default=True, help="Length of a text."
)
@click.option(
    "--stream", is_flag=True, help="Block by block, for a folder's model that memory does not hold."
)
@click.option("--sweep", is_flag=True, help="Run every ring of --rings with every number of --fractions.")
@click.option("--rings", **_list(RINGS), help="Rings of a sweep.")
@click.option("--fractions", **_list(FRACTIONS), help="Fraction bits of a sweep.")
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), help="Also draw to FILE (.png, .svg)."
)
@json_option
def emulate(
    model: str,
    functions: str,
    data: Path | None,
    limit: int,
    shape: tuple[int, ...] | None,
    tokens: int,
    stream: bool,
    sweep: bool,
    json_path: str | None,
    **options: Any,
) -> None:
    """Captures, lowers, places truncations, runs and compares with float64."""
    console = console_for(json_path)
    arrays = models.read_data(model, data, tokens=tokens, count=limit) if data else {}
    if "tokens" in arrays:
        tokens = arrays["tokens"].shape[-1] - 1
    method = "ring" if functions == "default" else f"ring.{functions}"
    if stream:
        write_json(
            streaming.run(console, Path(model), arrays.get("tokens"), tokens, method, options), json_path
        )
        return
    loaded = models.load_model(model, shape=shape, tokens=tokens)
    from cipherformer.capture import capture

    with console.status(f"capturing {model}"):
        graph = capture(loaded.module, loaded.example_inputs, name=loaded.name)
    shapes = {node.name: node.type.shape for node in graph.inputs}
    samples, labels = _inputs(loaded, arrays, shapes, limit)
    if not data:
        console.print("no --data: random inputs, which show costs and rounding but not accuracy")
    chosen = Choices(options["policy"], options["protocol"], options["network"], options["solver_seconds"])
    task = _Task(model, functions, method, graph, samples, labels, chosen, options)
    found = (task.sweep if sweep else task.once)(console)
    write_json(found, json_path)


@dataclass(frozen=True, slots=True)
class _Task:
    """What the command was asked for."""

    model: str
    functions: str
    method: str
    graph: Graph
    samples: list[dict[str, NDArray[Any]]]
    labels: NDArray[np.int64] | None
    choices: Choices
    options: dict[str, Any]

    @property
    def truncation(self) -> Truncation:
        """As asked for, or what the protocol's truncations compute."""
        if self.options["truncation"]:
            return Truncation(self.options["truncation"])
        own = protocol(self.choices.protocol).truncation
        return own if own is Truncation.TRUNCATE_REDUCE else Truncation.EXACT

    def once(self, console: Console) -> dict[str, Any]:
        """One ring."""
        o = self.options
        narrower = tuple(w for w in o["narrower_rings"] if w < o["ring_bits"])
        target = RingTarget(o["ring_bits"], o["frac_bits"], o["guard_bits"], self.truncation, narrower)
        with progress_bar(console, counted=False) as progress:
            task = progress.add_task("placing truncations, emulating", total=None)
            ring = to_ring(self.graph, self.samples, method=self.method)
            result = emulate_ring(
                ring,
                self.samples,
                target,
                choices=self.choices,
                labels=self.labels,
                on_step=lambda done, total: progress.update(task, completed=done, total=total),
            )
        for table in (
            report.result_table(result),
            report.policies_table(result),
            report.layers_table(result),
        ):
            print_table(console, table)
        record = {"model": self.model, "functions": self.functions, **report.record(result)}
        if o["plot"]:
            title = f"{self.model} in {target.width} bits with {target.frac_bits} fraction bits"
            plot_emulation(record, o["plot"], title=title)
        return record

    def sweep(self, console: Console) -> dict[str, Any]:
        """Many rings."""
        o = self.options
        with progress_bar(console) as progress:
            task = progress.add_task("emulating in rings", total=None)
            points = run_sweep(
                self.graph,
                self.samples,
                rings=o["rings"],
                fractions=o["fractions"],
                guard_bits=o["guard_bits"],
                truncation=self.truncation,
                choices=self.choices,
                method=self.method,
                labels=self.labels,
                on_step=lambda done, total: progress.update(task, completed=done, total=total),
            )
        print_table(console, report.sweep_table(points))
        found = report.sweep_record(points)
        if o["plot"]:
            plot_sweep(found, o["plot"], title=f"{self.model}, policy {self.choices.policy}")
        return {
            "model": self.model,
            "functions": self.functions,
            "protocol": self.choices.protocol,
            "policy": self.choices.policy,
            "samples": len(self.samples),
            "points": found,
        }


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
