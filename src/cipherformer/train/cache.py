"""Train once: later runs with the same key find the weights in a folder."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from torch import nn

from cipherformer.train.checkpoint import load_checkpoint, save_checkpoint

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Fitted(Generic[M]):
    """A model in evaluation mode, the seconds its training took, and whether that was in an earlier run."""

    model: M
    seconds: float
    cached: bool


def train_or_load(
    folder: Path | None,
    name: str,
    key: Mapping[str, Any],
    *,
    skeleton: Callable[[], M],
    run: Callable[[], M],
    facts: Callable[[M], Mapping[str, Any]],
    retrain: bool = False,
) -> Fitted[M]:
    """Weights from the folder if they were trained with the same key, else from `run`, and then kept.

    Args:
        folder: None keeps nothing.
        name: start of the file names; a digest of the key follows.
        key: JSON values on which the weights depend: sizes, recipe, seed.
        skeleton: a model of the right structure, to load weights into.
        run: trains a model.
        facts: JSON values for the metadata of a model just trained.
        retrain: run even if there are weights.

    Raises:
        FormatError: weights that are damaged.
    """
    short = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]
    path = folder / f"{name}-{short}.safetensors" if folder else None
    if path is not None and path.exists() and not retrain:
        model = skeleton().eval()
        return Fitted(model, float(load_checkpoint(path, model)["seconds"]), True)
    start = time.perf_counter()
    model = run().eval()
    seconds = time.perf_counter() - start
    if path is not None:
        save_checkpoint(path, model, {"key": key, "seconds": seconds, **facts(model)})
    return Fitted(model, seconds, False)
