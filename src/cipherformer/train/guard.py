"""When training blows up: say in which layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cipherformer.errors import ModelError


def first_non_finite(model: nn.Module, *inputs: Tensor) -> str | None:
    """Path of the first parameter, else innermost module output, that has a NaN or infinity; or None.

    Runs the model once in its present mode, without gradients; running statistics of batch norms may move.
    """
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            return name
    found: list[str] = []

    def hook_of(name: str) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            if isinstance(output, Tensor) and not torch.isfinite(output).all():
                found.append(name)

        return hook

    handles = [module.register_forward_hook(hook_of(name)) for name, module in model.named_modules()]
    try:
        with torch.no_grad():
            model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else None


def check_finite(loss: Tensor, model: nn.Module, *inputs: Tensor) -> None:
    """Raise ModelError, with the layer's name, if a loss is not finite."""
    if torch.isfinite(loss).all():
        return
    raise ModelError(
        "training diverged: the loss is not finite",
        where=first_non_finite(model, *inputs) or "loss",
        why="usually a value left the interval of a polynomial, which grows fast outside",
        fix="lower the learning rate, raise the weight of the range loss, or fit on a wider interval",
    )
