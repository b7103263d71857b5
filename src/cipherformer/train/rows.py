"""Rows of text or of images as data: CSV, TSV, JSON lines and Parquet files, and what `datasets` can load.

A reference is a file; a folder that `datasets` saved, or with a file for each part; or `hub:NAME` or
`hub:NAME:CONFIGURATION`, which is handed to `datasets.load_dataset`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.capture.text import tokenizer
from cipherformer.errors import DataError
from cipherformer.train.data import Data, from_arrays

Columns = Mapping[str, Sequence[Any]]

HUB = "hub:"
SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
TESTS = ("test", "validation", "validation_matched", "valid", "dev")
"""Names of the part that is scored; the first whose labels are known is taken."""
TEXTS = ("text", "sentence", "sentence1", "question1", "premise", "question", "content")
SECONDS = ("sentence2", "question2", "hypothesis", "sentence", "passage")
LABELS = ("label", "labels", "fine_label", "class")
IMAGES = ("image", "img", "pixel_values", "inputs")


@dataclass(frozen=True, slots=True)
class Names:
    """Columns: of texts (one, or a pair), and of labels; empty for the usual names."""

    texts: tuple[str, ...] = ()
    label: str = ""


def known(reference: str) -> bool:
    """Whether a reference is one of this module's."""
    path = Path(reference)
    return reference.startswith(HUB) or path.suffix in SUFFIXES or path.is_dir()


def read_rows(reference: str) -> dict[str, Columns]:
    """The columns of each part by its name; a single file is `train`.

    Raises:
        DataError: nothing that can be read, or `datasets` is not installed where it is needed.
    """
    path = Path(reference)
    if reference.startswith(HUB):
        name, _, configuration = reference.removeprefix(HUB).partition(":")
        loaded = _call("load_dataset", reference, name, *([configuration] if configuration else []))
        return _parts(loaded)
    if path.is_file():
        return {"train": _file(path)}
    if any((path / name).exists() for name in ("dataset_dict.json", "dataset_info.json", "state.json")):
        return _parts(_call("load_from_disk", reference, str(path)))
    files = sorted(p for p in path.glob("*") if p.suffix in SUFFIXES)
    if not files:
        raise DataError(
            "no data in this folder" if path.is_dir() else "there is no such file",
            where=reference,
            fix=f"give a folder saved by `datasets`, or files train and test, of {', '.join(SUFFIXES)}",
        )
    return {file.stem: _file(file) for file in files}


def _file(path: Path) -> Columns:
    try:
        if path.suffix == ".jsonl":
            lines = path.read_text(encoding="utf-8").splitlines()
            return _columns([json.loads(line) for line in lines if line.strip()], path)
        if path.suffix in (".csv", ".tsv"):
            with path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))
            return _columns(rows, path)
    except (OSError, ValueError, csv.Error) as error:
        raise DataError("cannot read rows from this file", where=str(path), why=str(error)) from error
    return _parts(_call("Dataset.from_parquet", str(path), str(path)))["train"]


def _columns(rows: Sequence[Any], path: Path) -> Columns:
    """Rows as columns, numbers in texts as numbers."""
    if not rows or not all(isinstance(row, dict) and row.keys() == rows[0].keys() for row in rows):
        raise DataError("rows with different columns, or none", where=str(path))
    return {str(name): _numbers([row[name] for row in rows]) for name in rows[0]}


def _numbers(values: list[Any]) -> list[Any]:
    for kind in (int, float):
        try:
            if all(isinstance(v, str) for v in values):
                return [kind(v) for v in values]
        except ValueError:
            continue
    return values


def _call(function: str, where: str, *arguments: Any) -> Any:
    """A function of `datasets`."""
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            "`datasets` is not installed", where=where, why=str(error), fix="pip install 'cipherformer[data]'"
        ) from error
    found: Any = datasets
    for name in function.split("."):
        found = getattr(found, name)
    try:
        return found(*arguments)
    except Exception as error:  # of many kinds: of files, formats, the network
        raise DataError(
            "`datasets` cannot load this", where=where, why=f"{type(error).__name__}: {error}"
        ) from error


def _parts(loaded: Any) -> dict[str, Columns]:
    whole = loaded if hasattr(loaded, "keys") else {"train": loaded}
    return {str(name): {c: part[c][:] for c in part.column_names} for name, part in whole.items()}


def tokenizer_of(folder: Path, parts: Mapping[str, Columns], names: Names) -> Any:
    """The tokenizer in a model's folder, or None where the rows have no texts.

    Raises:
        ModelError: there are texts, and the folder has no tokenizer.
    """
    first = _one(next(iter(parts.values())), names.texts[0] if names.texts else "", TEXTS)
    return tokenizer(folder) if first else None


def from_rows(
    parts: Mapping[str, Columns], split: Any, *, length: int, names: Names | None = None, where: str = ""
) -> Data:
    """Data from columns: images with labels, texts (or pairs of them) with labels, or texts alone, which
    become windows for a language model.

    Args:
        parts: see `read_rows`; `train`, and one of `TESTS` to score. Without that a fifth is held out.
        split: a tokenizer of transformers, or None for images.
        length: tokens of a text, shorter ones are filled up and masked; or of a window.
        names: of the columns.
        where: for messages.

    Raises:
        DataError: columns that do not fit.
    """
    names = names or Names()
    if "train" not in parts:
        raise DataError("no part `train`", where=where, why=f"there is {', '.join(parts) or 'nothing'}")
    test = next((n for n in TESTS if n in parts and _labelled(parts[n], names)), None)
    arrays: dict[str, NDArray[Any]] = {}
    label = _one(parts["train"], names.label, LABELS)
    chosen = [("", parts["train"])] + ([("_test", parts[test])] if test else [])
    classes = _classes([part[label] for _, part in chosen]) if label else {}
    for suffix, part in chosen:
        found = _part(part, names, split, length, where)
        if label:
            found["labels"] = np.array([classes.get(v, v) for v in part[label]])
        elif "tokens" not in found:
            raise DataError("images without labels", where=where, fix=f"name the column: {', '.join(LABELS)}")
        arrays |= {name + suffix: value for name, value in found.items()}
    return from_arrays(arrays, where=where)


def _labelled(part: Columns, names: Names) -> bool:
    label = _one(part, names.label, LABELS)
    return not label or any(v != -1 for v in part[label])


def _classes(columns: Sequence[Sequence[Any]]) -> dict[Any, int]:
    """Numbers of labels that are words."""
    words = sorted({v for column in columns for v in column if isinstance(v, str)})
    return {word: number for number, word in enumerate(words)}


def _one(part: Columns, wanted: str, usual: Sequence[str]) -> str:
    """The column that is meant, or an empty name."""
    if wanted and wanted not in part:
        raise DataError(f"no column {wanted!r}", why=f"there is {', '.join(part)}")
    return wanted or next((name for name in usual if name in part), "")


def _part(part: Columns, names: Names, split: Any, length: int, where: str) -> dict[str, NDArray[Any]]:
    first = _one(part, names.texts[0] if names.texts else "", TEXTS)
    image = "" if first else _one(part, "", IMAGES)
    if image:
        return {"inputs": np.stack([_pixels(value) for value in part[image]])}
    if not first or split is None:
        why = f"there is {', '.join(part)}" if not first else "the model has no tokenizer"
        raise DataError("neither texts nor images", where=where, why=why, fix="name the column of the texts")
    if not _one(part, names.label, LABELS):
        return {"tokens": _windows(part[first], split, length, where)}
    second = _one({n: v for n, v in part.items() if n != first}, "".join(names.texts[1:2]), SECONDS)
    pair = [list(part[second])] if second and len(names.texts) != 1 else []
    if split.pad_token is None:
        split.pad_token = split.eos_token
    found = split(
        list(part[first]),
        *pair,
        max_length=length,
        truncation=True,
        padding="max_length",
        return_tensors="np",
    )
    return {"inputs": found["input_ids"].astype(np.int64), "mask": found["attention_mask"]}


def _windows(texts: Sequence[str], split: Any, length: int, where: str) -> NDArray[np.int64]:
    """Windows [n, length + 1] of all texts, one after the other."""
    end = [] if split.eos_token_id is None else [split.eos_token_id]
    rows = split(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    tokens = np.array([token for row in rows for token in [*row, *end]], dtype=np.int64)
    count = len(tokens) // (length + 1)
    if not count:
        raise DataError(f"texts of {len(tokens)} tokens", where=where, why=f"a window has {length + 1}")
    return tokens[: count * (length + 1)].reshape(count, length + 1)


def _pixels(value: Any) -> NDArray[np.float32]:
    """An image [C, H, W]: whole numbers up to 255 (PIL, or [H, W, C]) in [-1, 1]; other numbers as they
    are.
    """
    pixels = np.asarray(value)
    if not np.issubdtype(pixels.dtype, np.integer):
        return pixels.astype(np.float32)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return (pixels.transpose(2, 0, 1) / 127.5 - 1.0).astype(np.float32)
