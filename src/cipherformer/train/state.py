"""Where a conversion stands, on disk: a kill at any step loses the steps since the last save, nothing
else.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from cipherformer.errors import FormatError
from cipherformer.train.checkpoint import apart

INDEX = "state.json"
FORMAT = 1
_FIX = "delete the folder's state.json, and start anew"


@dataclass
class State:
    """What a run needs to go on.

    Args:
        key: digest of all that weights depend on.
        stage: number of the stage; its swaps are done.
        step: steps of it that are done.
        history: one record a finished stage.
        tensors: weights as `model.*`, moments of the optimizer as `optim.N.*`.
    """

    key: str
    stage: int = -1
    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def model_tensors(self) -> dict[str, Tensor]:
        """The weights."""
        return {n.removeprefix("model."): t for n, t in self.tensors.items() if n.startswith("model.")}


def write_state(
    folder: Path, state: State, model: nn.Module, optimizer: torch.optim.Optimizer | None
) -> None:
    """Write the state: first the tensors under a new name, then the index that names them, each whole or
    not.
    """
    tensors = {f"model.{name}": t for name, t in model.state_dict().items()}
    if optimizer is not None:
        for number, parameter in enumerate(_parameters(optimizer)):
            for name, value in optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    tensors[f"optim.{number}.{name}"] = value
    data = save(apart(tensors))
    name = f"state-{state.stage}-{state.step}.safetensors"
    index = {
        "format": FORMAT,
        "key": state.key,
        "stage": state.stage,
        "step": state.step,
        "history": state.history,
        "file": name,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / name, data)
    write_whole(folder / INDEX, json.dumps(index, indent=1).encode())
    for old in folder.glob("state-*.safetensors"):
        if old.name != name:
            old.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_bytes(data)
    partial.replace(path)


def read_state(folder: Path, key: str) -> State | None:
    """The state in a folder, or None if there is none.

    Raises:
        FormatError: damaged, or of a run with another model, recipe, data or seed.
    """
    path = folder / INDEX
    if not path.exists():
        return None
    try:
        index = json.loads(path.read_bytes())
        if index["format"] != FORMAT:
            raise FormatError(f"not a state of format {FORMAT}", where=str(path), fix=_FIX)
        data = (folder / index["file"]).read_bytes()
        if hashlib.sha256(data).hexdigest() != index["sha256"]:
            raise FormatError("the weights are not those that were saved", where=str(path), fix=_FIX)
        tensors = load(data)
        state = State(index["key"], int(index["stage"]), int(index["step"]), list(index["history"]), tensors)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise FormatError("damaged state", where=str(path), why=str(error), fix=_FIX) from error
    if state.key != key:
        raise FormatError(
            "the folder holds a run with another model, recipe, data or seed",
            where=str(folder),
            fix="choose another folder, or delete its state.json to start anew",
        )
    return state


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Give the optimizer the moments of a state."""
    for number, parameter in enumerate(_parameters(optimizer)):
        prefix = f"optim.{number}."
        found = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        if found:
            optimizer.state[parameter] = found


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
