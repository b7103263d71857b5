"""Capture from numpy example inputs, for callers that do not import torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cipherformer.capture.export import capture
from cipherformer.errors import ModelError
from cipherformer.graph import Graph


def capture_arrays(module: Any, arrays: Sequence[NDArray[Any]], *, name: str = "") -> Graph:
    """`capture` with numpy arrays, of the module's floating type, as example inputs.

    Raises:
        ModelError: not a torch module, or whatever `capture` refuses.
    """
    if not isinstance(module, torch.nn.Module):
        raise ModelError(f"{type(module).__name__} is not a torch module", fix="pass an nn.Module or a Graph")
    parameter = next((p for p in module.parameters() if p.is_floating_point()), None)
    dtype = torch.float32 if parameter is None else parameter.dtype
    return capture(module, tuple(torch.as_tensor(np.array(a), dtype=dtype) for a in arrays), name=name)
