"""What a MODEL argument may be, and the arrays that go with it."""

from __future__ import annotations

import importlib
import os
import re
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.errors import DataError, ModelError

if TYPE_CHECKING:
    from cipherformer.capture.pretrained import Loaded

HELP = """MODEL is a Python reference PACKAGE.MODULE:FACTORY or PACKAGE.MODULE:FACTORY(ARGUMENT), whose
factory returns a torch module or the pair (module, example inputs), or a folder: of a model saved by
Hugging Face transformers, or one that `convert` wrote."""


RECIPE_FILE = "recipe.json"
"""What a folder has that `convert` wrote."""


def load_model(reference: str, *, shape: tuple[int, ...] | None, tokens: int) -> Loaded:
    """Loads a model.

    Args:
        reference: `package.module:factory` or a folder.
        shape: of the input, batch axis included; for a factory that gives no example inputs.
        tokens: length of the sequence, for a text model in a folder.

    Raises:
        ModelError: if there is no such model, or its input is unknown.
    """
    try:
        from cipherformer.capture import pretrained
    except ImportError as error:
        raise ModelError(
            "PyTorch is not installed", why=str(error), fix="pip install 'cipherformer[torch]'"
        ) from error
    if (Path(reference) / RECIPE_FILE).is_file():
        return _converted(Path(reference))
    if Path(reference).is_dir():
        return pretrained.from_folder(Path(reference), tokens=tokens)
    return pretrained.from_value(call_reference(reference), name=reference, shape=shape)


def _converted(folder: Path) -> Loaded:
    """The model of a folder that `convert` wrote, made again from the one that it was made of."""
    from cipherformer.capture.pretrained import Loaded
    from cipherformer.train.result import read_result

    def original(reference: Mapping[str, Any]) -> tuple[Any, Any]:
        shape = tuple(reference["shape"]) if reference["shape"] else None
        loaded = load_model(str(reference["model"]), shape=shape, tokens=int(reference["tokens"]))
        return loaded.module, loaded.example_inputs

    module, example_inputs = read_result(folder, original)
    return Loaded(module, example_inputs, folder.name)


def call_reference(reference: str, what: str = "model") -> Any:
    """What a factory `package.module:factory`, or `package.module:factory(argument, ...)`, returns.

    Arguments are texts, separated by commas. Like `python -m`, the working folder is where modules are sought
    first.

    Args:
        reference: as above.
        what: it is to return, for messages.

    Raises:
        ModelError: it cannot be imported, or it fails.
    """
    match = re.fullmatch(r"([\w.]+):([\w.]+)(?:\((.*)\))?", reference)
    if match is None:
        raise ModelError(
            "this is neither a file, a folder nor PACKAGE.MODULE:FACTORY",
            where=reference,
            fix="write for example my_package.models:build, or the path of a folder with config.json",
        )
    module_name, attribute, given = match.groups()
    arguments = [part.strip() for part in given.split(",")] if given else []
    if os.getcwd() not in sys.path:
        sys.path.insert(
            0, os.getcwd()
        )  # like `python -m`: the user's own modules stand in the working folder
    try:
        value: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            value = getattr(value, part)
    except (ImportError, AttributeError, ValueError) as error:
        fix = "check the spelling, and that the module can be imported from here"
        raise ModelError(f"cannot import the {what}", where=reference, why=str(error), fix=fix) from error
    if not callable(value):
        raise ModelError(f"this is not a function that returns a {what}", where=reference)
    try:
        return value(*arguments)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise ModelError(f"the factory of the {what} failed", where=reference, why=why) from error


def read_arrays(path: Path) -> dict[str, NDArray[np.float64]]:
    """Reads numbers from a `.npy` file (under the name "") or a `.npz` file.

    Raises:
        DataError: if the file is something else.
    """
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return {"": np.asarray(content, dtype=np.float64)}
        with content:
            return {name: np.asarray(content[name], dtype=np.float64) for name in content.files}
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        fix = "save it with numpy.save(path, array)"
        raise DataError(
            "cannot read numbers from this file", where=str(path), why=str(error), fix=fix
        ) from error


def read_data(reference: str, path: Path, *, tokens: int, count: int) -> dict[str, NDArray[np.float64]]:
    """As `read_arrays`; a `.txt` file becomes `tokens`, windows of `tokens` + 1 of the model's own.

    Raises:
        DataError: if the file is something else, or no text.
        ModelError: if the model has no tokenizer.
    """
    if path.suffix != ".txt":
        return read_arrays(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("cannot read a text from this file", where=str(path), why=str(error)) from error
    from cipherformer.capture import pretrained

    found = pretrained.tokenized(Path(reference), text, length=tokens, count=count)
    return {"tokens": found.astype(np.float64)}


def read_samples(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> list[dict[str, NDArray[np.float64]]]:
    """Reads inputs of a model.

    Args:
        path: a `.npy` file for a model of one input, or a `.npz` file with an array for each input. An array
            is [n, *shape[1:]], or one input.
        shapes: of the model's inputs, with a leading batch axis: of size 1, or of a query in throughput mode.

    Returns:
        n inputs, each {input name: array of its shape}; of batches the last may be smaller.

    Raises:
        DataError: if the file does not fit the model.
    """
    return split_samples(read_arrays(path), shapes, str(path))


def split_samples(
    arrays: Mapping[str, NDArray[np.float64]], shapes: Mapping[str, tuple[int, ...]], where: str
) -> list[dict[str, NDArray[np.float64]]]:
    """The samples in arrays [n, *shape[1:]]; see `read_samples`."""
    if len(arrays) == 1 and len(shapes) == 1:
        arrays = dict(zip(shapes, arrays.values(), strict=True))
    if set(arrays) != set(shapes):
        why = f"the model takes {', '.join(shapes)}; the file has {', '.join(arrays) or 'nothing'}"
        raise DataError(
            "not one array for each input", where=where, why=why, fix="save them with numpy.savez"
        )
    parts = {name: _split(arrays[name], shape, where) for name, shape in shapes.items()}
    if len({len(part) for part in parts.values()}) != 1:
        raise DataError("not the same number of samples for each input", where=where)
    return [dict(zip(parts, row, strict=True)) for row in zip(*parts.values(), strict=True)]


def _split(array: NDArray[np.float64], shape: tuple[int, ...], where: str) -> list[NDArray[np.float64]]:
    if array.shape == shape[1:]:
        array = array[None]
    if array.shape[1:] != shape[1:] or not len(array):
        raise DataError(
            f"an array of shape {list(array.shape)}",
            where=where,
            why=f"the model takes {list(shape)}",
            fix=f"give an array of shape [n, {', '.join(map(str, shape[1:]))}]",
        )
    return [array[i : i + shape[0]] for i in range(0, len(array), shape[0])]
