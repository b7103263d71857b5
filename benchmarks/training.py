"""Converts real checkpoints to private form, and studies training: `python -m benchmarks.training --case NAME
--data FOLDER --out FOLDER --json RECORDS`.

Each case states its minutes on 2 cores. A conversion that was stopped goes on where it was: give the same
command again. `--quick` is a smoke test on random data. Records of the case in the file are replaced.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

import cipherformer as cf
from benchmarks import training_data as real
from benchmarks.training_cases import CASES, Case, shortened
from benchmarks.training_cnn import CNN
from benchmarks.training_large import LARGE
from benchmarks.training_place import Place
from benchmarks.training_studies import STUDIES as SMALL
from cipherformer.cli.output import print_table
from cipherformer.report import schema
from cipherformer.report.machine import machine, today
from cipherformer.report.table import Table
from cipherformer.train.convert import Watch, convert
from cipherformer.train.data import Data
from cipherformer.train.result import write_result
from cipherformer.train.stage import Conversion
from cipherformer.train.steps import Step

Row = Mapping[str, Any]
STUDIES = {**SMALL, **LARGE, **CNN}


def main(arguments: Sequence[str] | None = None) -> None:
    options, console = _options(arguments), Console(highlight=False, width=110)
    torch.set_num_threads(options.threads)
    study = STUDIES.get(options.case)
    case = study or CASES[options.case]
    console.print(f"{options.case}: {case.about}; about {case.minutes:g} minutes on 2 cores")
    start = time.perf_counter()
    if study is not None:
        rows: list[Row] = list(study.run(Place(options.data, options.out, options.quick)))
    else:
        rows = _conversions(console, options, CASES[options.case])
    seconds = time.perf_counter() - start
    print_table(console, _table(options.case, rows))
    console.print(f"{seconds:.0f} s")
    if options.json is not None and rows:
        _keep(options.json, records(options.case, rows, options.threads))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--case", choices=(*CASES, *STUDIES), required=True)
    parser.add_argument("--recipe", help="only this one of the case's")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the real data")
    parser.add_argument("--out", type=Path, default=Path("out/training"))
    parser.add_argument("--json", type=Path, help="file of records")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="a smoke test on random data")
    return parser.parse_args(arguments)


def _conversions(console: Console, options: argparse.Namespace, case: Case) -> list[Row]:
    if options.quick and case.quick is None:
        console.print("this case has no smoke test: its model and data are real")
        return []
    model_of, data_of = case.quick if options.quick and case.quick else (case.model, case.data)
    model, example = model_of(str(options.data))
    data, rows = data_of(str(options.data)), []
    for conversion in case.recipes:
        if options.recipe in (None, conversion.name):
            chosen = shortened(conversion) if options.quick else conversion
            source = f"{model_of.__module__}:{model_of.__qualname__}({options.data})"
            rows.append(_one(console, options, model, example, data, chosen, source))
    return rows


def _one(
    console: Console,
    options: argparse.Namespace,
    model: nn.Module,
    example: Tensor | tuple[Tensor, ...],
    data: Data,
    conversion: Conversion,
    source: str,
) -> Row:
    told = time.monotonic()
    folder = options.out / f"{options.case}-{conversion.name}-{options.seed}"

    def step(now: Step) -> None:
        nonlocal told
        if time.monotonic() - told > 20.0:
            told = time.monotonic()
            console.print(f"  {now.stage}: step {now.step}/{now.steps}, loss {now.loss:.3f}")

    watch = Watch(step=step, stage=lambda record: console.print(f"  {json.dumps(record)}"))
    inputs = example if isinstance(example, tuple) else (example,)
    done = convert(
        model, data, conversion, folder, example_inputs=inputs, seed=options.seed, relaxed=True, watch=watch
    )
    reference = {"model": source, "shape": None, "tokens": real.TOKENS}
    write_result(folder, done, data, conversion, reference=reference, price=False)
    for problem in done.problems:
        console.print(f"  contract: {problem}")
    perplexed = done.after.perplexity is not None
    return {
        "recipe": conversion.name,
        "seed": options.seed,
        "accuracy_original": done.before.accuracy,
        "accuracy_private": done.after.accuracy,
        **({"perplexity_original": done.before.perplexity} if perplexed else {}),
        **({"perplexity_private": done.after.perplexity} if perplexed else {}),
        "scored": done.after.count,
        "half_interval": done.after.interval(),
        "broken": len(done.problems),
    }


def records(case: str, rows: Sequence[Row], threads: int) -> list[schema.BenchmarkRecord]:
    """A record for each number; what is not a number, and counts that name a row, are its parameters."""
    out = []
    for row in rows:
        named = {k: v for k, v in row.items() if not isinstance(v, float) and v is not None}
        for metric, value in row.items():
            if isinstance(value, float):
                out.append(
                    schema.BenchmarkRecord(
                        suite="training",
                        case=case,
                        subject="cipherformer",
                        version=cf.__version__,
                        metric=metric,
                        value=value,
                        unit="1",
                        threads=threads,
                        parameters=named,
                        machine=machine(),
                        date=today(),
                    )
                )
    return out


def _keep(path: Path, found: Sequence[schema.BenchmarkRecord]) -> None:
    kept = schema.read(path) if path.exists() else []
    assert isinstance(kept, list)
    again = {(r.case, r.parameters.get("recipe")) for r in found}
    schema.write(path, [*(r for r in kept if (r.case, r.parameters.get("recipe")) not in again), *found])


def _table(title: str, rows: Sequence[Row]) -> Table:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    shown = tuple(tuple(_shown(row.get(name)) for name in columns) for row in rows)
    return Table(title, tuple(columns), shown)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


if __name__ == "__main__":
    main()
