"""Training within little memory: repeated layers are computed twice instead of being kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def repeated(model: nn.Module) -> list[nn.Module]:
    """The layers of a model's longest stack: of its `ModuleList` or `Sequential` with the most modules of
    one type, at least two; the outermost of several. Empty if there is none.
    """
    best: list[nn.Module] = []
    for module in model.modules():
        if isinstance(module, nn.ModuleList | nn.Sequential):
            layers = list(module)
            if len({type(layer) for layer in layers}) == 1 and len(layers) > max(len(best), 1):
                best = layers
    return best


@contextmanager
def checkpointed(model: nn.Module) -> Iterator[int]:
    """While open, the repeated layers of the model keep their inputs alone, and are computed again in the
    backward pass. Values, gradients and dropout are the same. Gives the number of layers.

    Hooks inside a layer are called in both passes: what they gathered in the second has to be thrown away.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    >>> with checkpointed(model) as layers:
    ...     layers
    2
    """
    layers = repeated(model)
    for layer in layers:
        layer.forward = _Twice(layer.forward)
    try:
        yield len(layers)
    finally:
        for layer in layers:
            del layer.forward


class _Twice:
    """A forward that keeps nothing but its arguments while gradients are asked for."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return self._inner(*args, **kwargs)
        return checkpoint(self._inner, *args, use_reentrant=False, **kwargs)
