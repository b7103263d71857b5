"""Where studies of training run, and the text that small ones are trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import training_small as small
from cipherformer.train.data import Data

Row = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Where a study runs: `data`, the folder of real data; `out`, for plots; `quick`, a smoke test."""

    data: Path
    out: Path
    quick: bool = False


@dataclass(frozen=True)
class Study:
    """A study and what its run costs on 2 cores."""

    about: str
    minutes: float
    run: Callable[[Place], Sequence[Row]]


def text_data(place: Place, length: int, count: int) -> Data:
    """Windows of Tiny Shakespeare's bytes, the last tenth to score; of made-up ones for a smoke test."""
    if place.quick:
        text = bytes(range(32, 96)) * 40
    else:
        text = (place.data / "tinyshakespeare/input.txt").read_bytes()
    cut = int(0.9 * len(text))
    train, test = (
        small.text_windows(text[:cut], length, count),
        small.text_windows(text[cut:], length, count // 8),
    )
    return Data(train, test)
