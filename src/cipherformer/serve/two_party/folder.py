"""What the roles have on disk: the program for all three, the weights for the server alone. JSON and arrays,
no pickles.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.backends.mpc2.chain import Chain, verify_chain
from cipherformer.backends.mpc2.compile import Compiled
from cipherformer.backends.mpc2.narrow import Narrow
from cipherformer.backends.mpc2.program import Program
from cipherformer.backends.mpc2.ring import Ring
from cipherformer.errors import CipherformerError, FormatError

PROGRAM, PUBLIC, WEIGHTS = "program.json", "public.npz", "weights.npz"
_FORMAT = 2


def save(model: Compiled | Chain, program: Path, weights: Path) -> None:
    """Writes the programs into one folder and the weights into another, which only the server gets."""
    programs = (model.program,) if isinstance(model, Compiled) else model.programs
    for folder in (program, weights):
        folder.mkdir(parents=True, exist_ok=True)
    data = {"format": _FORMAT, "programs": [p.to_json() for p in programs]}
    (program / PROGRAM).write_text(json.dumps(data))
    public = {f"{i}/{name}": array for i, p in enumerate(programs) for name, array in p.public.items()}
    _save_arrays(program / PUBLIC, public)
    _save_arrays(weights / WEIGHTS, model.weights)


def load_chain(folder: Path) -> Chain:
    """The programs in a folder, verified, without weights.

    Raises:
        FormatError: if there is none, or it breaks a rule.
    """
    path = folder / PROGRAM
    try:
        data: dict[str, Any] = json.loads(path.read_text())
        if data.get("format") != _FORMAT:
            raise FormatError("a program of another format", where=str(path), fix="compile it again")
        public: list[dict[str, Ring]] = [{} for _ in data["programs"]]
        for name, array in _load_arrays(folder / PUBLIC, np.uint64).items():
            index, _, own = name.partition("/")
            public[int(index)][own] = array
        programs = tuple(map(Program.from_json, data["programs"], public))
        verify_chain(programs)
        return Chain(programs, {})
    except CipherformerError:
        raise
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise FormatError("this is no two-party program", where=str(path), why=str(error)) from error


def load_weights(folder: Path) -> dict[str, Ring | Narrow]:
    """The server's integers, in 32 bits where they fit."""
    return _load_arrays(folder / WEIGHTS, np.uint64, np.int32)


def _save_arrays(path: Path, arrays: Mapping[str, Ring | Narrow]) -> None:
    names = list(arrays)
    content: dict[str, Any] = {f"array_{i}": arrays[name] for i, name in enumerate(names)}
    np.savez(path, names=np.array(names, dtype=np.str_), **content)


def _load_arrays(path: Path, *types: type[np.generic]) -> dict[str, NDArray[Any]]:
    """Arrays by name.

    Raises:
        FormatError: if the file has none, or of other types.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            found = {str(name): content[f"array_{i}"] for i, name in enumerate(content["names"])}
    except (OSError, ValueError, KeyError) as error:
        raise FormatError("no arrays of a two-party program", where=str(path), why=str(error)) from error
    if any(array.dtype not in types for array in found.values()):
        raise FormatError("arrays that are not integers of the ring", where=str(path))
    return found
