"""Weights on disk: a safetensors file and a JSON of how they came about, both checked when they are read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from cipherformer.errors import FormatError

FORMAT = 1
"""Version of the layout of the metadata file."""

_FIX = "delete the file and its .json, and train again"


def digest(model: nn.Module) -> str:
    """SHA-256 of a model's state dict as it would be saved, in hexadecimal."""
    return hashlib.sha256(_serialised(model)).hexdigest()


def _serialised(model: nn.Module) -> bytes:
    return save(apart(model.state_dict()))


def apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, contiguous, none sharing its memory with another: tied weights are written twice."""
    out: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().contiguous()
        out[name] = tensor.clone() if tensor.data_ptr() in seen else tensor
        seen.add(tensor.data_ptr())
    return out


def save_checkpoint(path: Path, model: nn.Module, metadata: Mapping[str, Any]) -> None:
    """Write `path` (safetensors) and `path` with suffix `.json`; each appears whole or not at all.

    Args:
        path: its folder is made if need be.
        model: whose state dict is written.
        metadata: JSON values; kept beside the version and the digest of the weights.
    """
    data = _serialised(model)
    text = json.dumps({"format": FORMAT, "sha256": hashlib.sha256(data).hexdigest(), **metadata}, indent=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    for target, content in ((path, data), (path.with_suffix(".json"), text.encode())):
        partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
        partial.write_bytes(content)
        partial.replace(target)


def load_checkpoint(path: Path, model: nn.Module) -> dict[str, Any]:
    """Read weights into the model and return the metadata.

    Raises:
        FormatError: a file that is missing, damaged, of another version, or of another model: tensor names,
            shapes, types, digest and finiteness are checked before the model is touched.
    """
    metadata = _metadata(path.with_suffix(".json"))
    data = _bytes(path)
    if hashlib.sha256(data).hexdigest() != metadata["sha256"]:
        raise FormatError(
            "the weights are not those that were saved", where=str(path), why="digest", fix=_FIX
        )
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise FormatError("not a safetensors file", where=str(path), why=str(error), fix=_FIX) from error
    _check_tensors(path, tensors, model.state_dict())
    model.load_state_dict(tensors)
    return metadata


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FormatError("cannot read the file", where=str(path), why=str(error), fix=_FIX) from error


def _metadata(path: Path) -> dict[str, Any]:
    try:
        metadata = json.loads(_bytes(path))
    except ValueError as error:
        raise FormatError("not a JSON file", where=str(path), why=str(error), fix=_FIX) from error
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT or "sha256" not in metadata:
        raise FormatError(f"not metadata of format {FORMAT}", where=str(path), fix=_FIX)
    return metadata


def _check_tensors(path: Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    problems = [f"{name} is missing" for name in wanted if name not in found]
    problems += [f"{name} is unknown" for name in found if name not in wanted]
    for name in wanted.keys() & found.keys():
        have, want = found[name], wanted[name]
        own = name.endswith("_extra_state")  # a module's own numbers, of the lengths that it was trained to
        if (have.shape != want.shape and not own) or have.dtype != want.dtype:
            problems.append(f"{name} is {have.dtype} {list(have.shape)}, not {want.dtype} {list(want.shape)}")
        elif not torch.isfinite(have).all():
            problems.append(f"{name} is not finite")
    if problems:
        raise FormatError(
            "the weights are not those of this model",
            where=str(path),
            why="; ".join(sorted(problems)),
            fix=_FIX,
        )
