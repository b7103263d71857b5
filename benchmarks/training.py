"""Converts real checkpoints to private form: `python -m benchmarks.training --case NAME --data FOLDER
--out FOLDER`.

Each case states its minutes on 2 cores. A run that was stopped goes on where it was: give the same
command again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from benchmarks import training_data as real
from cipherformer.train.convert import Watch, convert
from cipherformer.train.data import Data
from cipherformer.train.recipes import recipe
from cipherformer.train.stage import Conversion
from cipherformer.train.steps import Step


@dataclass(frozen=True)
class Case:
    """A checkpoint, its data and the recipes that are compared; `minutes` on 2 cores for all of them."""

    about: str
    minutes: float
    model: Callable[[str], tuple[nn.Module, Tensor]]
    data: Callable[[str], Data]
    recipes: tuple[Conversion, ...]


def _epochs(name: str, *epochs: float, batch: int = 64, **forms: Any) -> Conversion:
    """A recipe with other lengths of its stages, batches and, where given, other forms."""
    found = recipe(name)
    stages = tuple(replace(s, epochs=e, batch_size=batch) for s, e in zip(found.stages, epochs, strict=True))
    return replace(found, stages=stages, forms=replace(found.forms, **forms))


CASES: Mapping[str, Case] = MappingProxyType(
    {
        "cifar-cnn": Case(
            "ResNet-20 on CIFAR-10, polynomials for ReLU",
            12.0,
            real.resnet20,
            real.cifar10,
            (_epochs("default", 6.0, batch=128, trainable=True),),
        ),
        "cifar-cnn-published": Case(
            "the same by the published method, degree 18",
            20.0,
            real.resnet20,
            real.cifar10,
            (_epochs("poly-cnn", 1.0, 1.0),),
        ),
        "kwt1": Case(
            "KWT-1 on Speech Commands, half of the clips to train, half to score",
            10.0,
            real.keyword,
            real.commands,
            (_epochs("default", 4.0, batch=32), _epochs("power-softmax", 4.0, 2.0, 3.0, batch=32)),
        ),
        "lm": Case(
            "stories260K on TinyStories",
            10.0,
            real.stories,
            real.tinystories,
            (_epochs("default", 10.0), _epochs("power-softmax", 5.0, 3.0, 2.0)),
        ),
    }
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--case", choices=tuple(CASES), required=True)
    parser.add_argument("--recipe", help="only this one of the case's")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the real data")
    parser.add_argument("--out", type=Path, default=Path("out/training"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    options, console = parser.parse_args(), Console(highlight=False, width=110)
    torch.set_num_threads(options.threads)
    case = CASES[options.case]
    console.print(f"{options.case}: {case.about}; about {case.minutes:g} minutes on 2 cores")
    model, example = case.model(str(options.data))
    data = case.data(str(options.data))
    for conversion in case.recipes:
        if options.recipe in (None, conversion.name):
            folder = options.out / f"{options.case}-{conversion.name}-{options.seed}"
            _one(console, options, model, example, data, conversion, folder)


def _one(
    console: Console,
    options: argparse.Namespace,
    model: nn.Module,
    example: Tensor,
    data: Data,
    conversion: Conversion,
    folder: Path,
) -> None:
    start, told = time.perf_counter(), time.monotonic()

    def step(now: Step) -> None:
        nonlocal told
        if time.monotonic() - told > 20.0:
            told = time.monotonic()
            console.print(f"  {now.stage}: step {now.step}/{now.steps}, loss {now.loss:.3f}")

    watch = Watch(step=step, stage=lambda record: console.print(f"  {json.dumps(record)}"))
    done = convert(
        model,
        data,
        conversion,
        folder,
        example_inputs=(example,),
        seed=options.seed,
        relaxed=True,
        watch=watch,
    )
    record = {
        "case": options.case,
        "recipe": conversion.name,
        "seed": options.seed,
        "accuracy_original": done.before.accuracy,
        "accuracy_private": done.after.accuracy,
        "perplexity_original": done.before.perplexity,
        "perplexity_private": done.after.perplexity,
        "scored": done.after.count,
        "half_interval": done.after.interval(),
        "problems": done.problems,
        "seconds": time.perf_counter() - start,
    }
    (folder / "result.json").write_text(json.dumps(record, indent=1) + "\n")
    console.print_json(data=record)


if __name__ == "__main__":
    main()
