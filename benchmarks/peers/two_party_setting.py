"""What the runners of two-party peers share: the setting they read, the line they print. Needs numpy only."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Setting:
    """One layer.

    Args:
        arrays: of the layer, in the order of its operations, weights [outputs, inputs].
        x: the input [tokens, width].
        answer: in plaintext.
        heads: of attention.
        protocol: of the library, where it has several.
        repeats: of the measurement.
        limit_s: after which it is given up.
    """

    arrays: list[np.ndarray]
    x: np.ndarray
    answer: np.ndarray
    heads: int
    protocol: str
    repeats: int
    limit_s: float

    @classmethod
    def read(cls, text: str) -> Setting:
        """From JSON, whose `layer` names an .npz."""
        data: dict[str, Any] = json.loads(text)
        with np.load(data.pop("layer"), allow_pickle=False) as content:
            arrays = [content[f"array_{i}"] for i in range(len(content.files) - 2)]
            return cls(arrays, content["x"], content["answer"], **data)


def addresses() -> list[str]:
    """Two free ones of this machine."""
    found = []
    sockets = [socket.socket() for _ in range(2)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
        found.append(f"127.0.0.1:{one.getsockname()[1]}")
    for one in sockets:
        one.close()
    return found


def report(setting: Setting, version: str, metrics: dict[str, float], answer: np.ndarray) -> None:
    """Prints the measurement with the errors of the answer."""
    error = np.abs(np.asarray(answer, dtype=np.float64) - setting.answer)
    found = {**metrics, "largest_error": float(error.max()), "median_error": float(np.median(error))}
    print(json.dumps({"version": version, "metrics": found}), flush=True)
