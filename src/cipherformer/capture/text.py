"""Texts as tokens, with the tokenizer in a model's folder."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.errors import ModelError

if TYPE_CHECKING:
    from cipherformer.capture.pretrained import Loaded


def token_ids(folder: Path, text: str) -> NDArray[np.int64]:
    """Token ids [1, L] of a text. Nothing is downloaded.

    Raises:
        ModelError: if the folder has no tokenizer.
    """
    return np.asarray(tokenizer(folder)(text)["input_ids"], dtype=np.int64)[None]


def text_of(folder: Path, token: int) -> str:
    """The text of one token.

    Raises:
        ModelError: if the folder has no tokenizer.
    """
    return str(tokenizer(folder).decode([token]))


@cache
def tokenizer(folder: Path) -> Any:
    """The tokenizer in a model's folder. Nothing is downloaded.

    Raises:
        ModelError: there is none.
    """
    try:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (ImportError, OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            "no tokenizer in this folder",
            where=str(folder),
            why=str(error).split("\n")[0],
            fix="save it there with tokenizer.save_pretrained(folder), or give tokens in a .npz file",
        ) from error


def vocabulary_size(loaded: Loaded) -> int:
    """Number of rows of the model's embedding table.

    Raises:
        ModelError: if it is no text model.
    """
    model: Any = getattr(loaded.module, "model", None)
    if model is None or not hasattr(model, "get_input_embeddings"):
        raise ModelError("this is no text model", where=loaded.name)
    return int(model.get_input_embeddings().num_embeddings)
