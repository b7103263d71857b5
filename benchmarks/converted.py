"""Converted checkpoints for measurements: from the folder of a run of `benchmarks.training`, or made there by
a short conversion where there is none."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from benchmarks.training import CASES
from benchmarks.training_data import commands
from cipherformer.train.convert import WEIGHTS, convert, restored
from cipherformer.train.data import Data
from cipherformer.train.result import from_json
from examples import resnet_cifar

SHORT = 0.5
"""Epochs of each stage of a short conversion."""
SHORT_IMAGES = 4096
SCORED = 512


def converted(case: str, recipe: str, data: Path, folder: Path) -> nn.Module:
    """The private form of a checkpoint, in evaluation mode.

    Args:
        case: of `benchmarks.training`.
        recipe: one of the case's.
        data: folder of the real data.
        folder: of a run of the case with the recipe; a short conversion is written there if it has no
            weights.
    """
    model, example = CASES[case].model(str(data))
    if not (folder / WEIGHTS).is_file():
        conversion = next(r for r in CASES[case].recipes if r.name == recipe)
        stages = tuple(replace(stage, epochs=SHORT) for stage in conversion.stages)
        found = CASES[case].data(str(data))
        few = Data(found.train.first(SHORT_IMAGES), found.test.first(SCORED), found.augment)
        short = replace(conversion, stages=stages)
        convert(model, few, short, folder, example_inputs=(example,), relaxed=True)
    facts = json.loads((folder / WEIGHTS).with_suffix(".json").read_text())
    return restored(model, from_json(facts["recipe"]), folder, example)


def cifar_images(data: Path, part: str, count: int) -> NDArray[np.float64]:
    """The first images [n, 3, 32, 32] of the train or the test part, classes in turn, normalised."""
    drawn = islice(resnet_cifar.images(data / f"cifar10/cifar10_{part}_png.zip"), count)
    return np.stack([x.numpy() for x, _ in drawn]).astype(np.float64)


def finished(root: Path, *names: str) -> Path:
    """The first of some folders that holds a finished conversion, else the first."""
    return next((root / name for name in names if (root / name / WEIGHTS).is_file()), root / names[0])


def keyword_clips(data: Path, samples: int, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Features [n, frames, coefficients] of the first clips to train on, and of the first to score."""
    found = commands(str(data))
    train, test = found.train.inputs[:samples], found.test.inputs[:count]
    return train.numpy().astype(np.float64), test.numpy().astype(np.float64)
