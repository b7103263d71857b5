"""Secrecy: what depends on the client's input is secret, everything else is computed here and now.

A value during import is either a `Secret` (a name in the graph), or public: a tensor, a number, a shape,
anything that torch computed from weights and constants alone. Lists and tuples may mix both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cipherformer.capture.obstacle import Refusal

MASKED = -1e30
"""Stands for minus infinity in additive masks: exp of it is exactly 0 in float64."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that depends on the input: its name in the graph."""

    name: str


def has_secret(value: Any) -> bool:
    """True if a `Secret` stands anywhere in a nest of lists, tuples and dictionaries."""
    if isinstance(value, Secret):
        return True
    if isinstance(value, (list, tuple)):
        return any(map(has_secret, value))
    if isinstance(value, dict):
        return any(map(has_secret, value.values()))
    return False


def as_array(value: Tensor | float, *, mask: bool = False) -> NDArray[np.float64]:
    """A public value in float64. An additive mask may hold infinities: they become `MASKED`."""
    tensor = torch.as_tensor(value).detach()
    array = tensor.to(dtype=torch.float64, device="cpu").numpy().copy()
    if mask:
        return np.nan_to_num(array, nan=0.0, posinf=-MASKED, neginf=MASKED).clip(MASKED, -MASKED)
    if not np.isfinite(array).all():
        raise Refusal(
            "a constant is not finite",
            "infinities and NaN have no private form",
            "keep infinite masks directly in front of a softmax",
        )
    return array
