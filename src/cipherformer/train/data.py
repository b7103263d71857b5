"""What a model is converted on: inputs with labels, a part to train and a part to score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cipherformer.errors import DataError

IGNORED = -100
"""A label that is not counted."""


@dataclass(frozen=True)
class Part:
    """Inputs and labels.

    Args:
        inputs: [n, ...] floating-point, or token ids [n, L] (int64), which are looked up in the model's
            table.
        labels: [n] classes, [n] floating-point numbers (regression), or [n, L] the next token of each
            position; -100 is not counted.
        mask: [n, L], 1 where an input has a token and 0 where it is filled up: the model's second argument.
            None where all inputs are whole.
    """

    inputs: Tensor
    labels: Tensor
    mask: Tensor | None = None

    def __post_init__(self) -> None:
        lengths = [len(t) for t in (self.inputs, self.labels, self.mask) if t is not None]
        if len(set(lengths)) != 1 or not lengths[0]:
            raise DataError(
                f"{' and '.join(map(str, lengths))} inputs, labels and masks",
                fix="give as many of each, and at least one",
            )

    def __len__(self) -> int:
        return len(self.inputs)

    def first(self, count: int) -> Part:
        """The first `count`, or all if there are fewer."""
        return self.rows(slice(count))

    def rows(self, which: slice | Tensor) -> Part:
        """Some of them."""
        return Part(self.inputs[which], self.labels[which], None if self.mask is None else self.mask[which])

    def batches(self, size: int) -> Iterator[Part]:
        """In order, the last one possibly smaller."""
        for start in range(0, len(self), size):
            yield self.rows(slice(start, start + size))

    def fed(self, model: nn.Module) -> tuple[Tensor, ...]:
        """What the model is called with: embedded inputs, and the mask if there is one."""
        x = embed(model, self.inputs)
        return (x,) if self.mask is None else (x, self.mask)


@dataclass(frozen=True)
class Data:
    """Parts to train on and to score on; nothing is in both.

    Args:
        train: to train on.
        test: to score on.
        augment: names a transformation of images.
        metrics: scores besides accuracy, by name; see `train.metrics`.
    """

    train: Part
    test: Part
    augment: str = ""
    metrics: tuple[str, ...] = ()

    @property
    def tokens(self) -> bool:
        """Whether inputs are token ids."""
        return not self.train.inputs.is_floating_point()


def from_arrays(arrays: Mapping[str, NDArray[Any]], *, held_out: float = 0.2, where: str = "") -> Data:
    """Data from named arrays.

    Args:
        arrays: `inputs` [n, ...] and `labels` (not whole ones mean regression), with `mask` [n, L] if inputs
            are filled up, or `tokens` [n, L + 1] (language modelling); the same names with `_test` appended
            for the part to score. Without them the last share of the rows is held out.
        held_out: that share.
        where: for messages.

    Raises:
        DataError: names or shapes that do not fit.
    """
    parts = {suffix: _part(arrays, suffix) for suffix in ("", "_test")}
    whole, test = parts[""], parts["_test"]
    if whole is None:
        names = ", ".join(arrays) or "nothing"
        raise DataError(
            "no data to train on",
            where=where,
            why=f"there is {names}",
            fix="save `inputs` and `labels`, or `tokens`",
        )
    if test is not None:
        return Data(whole, test)
    cut = len(whole) - max(1, round(held_out * len(whole)))
    if cut < 1:
        raise DataError(f"{len(whole)} inputs", where=where, fix="give at least two")
    return Data(whole.first(cut), whole.rows(slice(cut, None)))


def _part(arrays: Mapping[str, NDArray[Any]], suffix: str) -> Part | None:
    if f"tokens{suffix}" in arrays:
        tokens = torch.from_numpy(np.asarray(arrays[f"tokens{suffix}"]).astype(np.int64))
        if tokens.dim() != 2 or tokens.shape[1] < 2:
            raise DataError(f"tokens of shape {list(tokens.shape)}", fix="give whole numbers [n, L + 1]")
        return Part(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())
    if f"inputs{suffix}" not in arrays or f"labels{suffix}" not in arrays:
        return None
    inputs = torch.from_numpy(np.ascontiguousarray(arrays[f"inputs{suffix}"]))
    given_labels = np.asarray(arrays[f"labels{suffix}"])
    whole = bool(np.all(given_labels == np.round(given_labels)))
    labels = torch.from_numpy(given_labels.astype(np.int64 if whole else np.float32))
    given = arrays.get(f"mask{suffix}")
    mask = None if given is None else torch.from_numpy(np.asarray(given)).bool()
    return Part(inputs.float() if inputs.is_floating_point() else inputs.long(), labels, mask)


def from_file(path: Path) -> Data:
    """Data from a `.npz` file; see `from_arrays`.

    Raises:
        DataError: a file that cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            return from_arrays({name: content[name] for name in content.files}, where=str(path))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(
            "cannot read arrays from this file",
            where=str(path),
            why=str(error),
            fix="save them with numpy.savez",
        ) from error


def embed(model: nn.Module, inputs: Tensor) -> Tensor:
    """What the model takes: inputs as they are, token ids as rows of its embedding table, with gradients."""
    if inputs.is_floating_point():
        return inputs
    holder = next((m for m in model.modules() if callable(getattr(m, "get_input_embeddings", None))), None)
    if holder is None:
        raise DataError("token ids for a model that has no embedding table", fix="give floating-point inputs")
    table: Any = holder.get_input_embeddings()  # type: ignore[operator]
    rows: Tensor = table(inputs)
    return rows


def augmented(images: Tensor, kind: str, generator: torch.Generator) -> Tensor:
    """Images [B, C, H, W] for one step: `crop_flip` mirrors each at random and shifts the batch by up to 4.

    Raises:
        DataError: another kind.
    """
    if not kind:
        return images
    if kind != "crop_flip":
        raise DataError(f"unknown augmentation {kind!r}", fix="crop_flip, or none")
    mirrored = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    images = torch.where(mirrored, images.flip(3), images)
    down, right = torch.randint(0, 9, (2,), generator=generator).tolist()
    padded = nn.functional.pad(images, (4, 4, 4, 4))
    return padded[:, :, down : down + images.shape[2], right : right + images.shape[3]]
