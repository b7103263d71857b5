"""Training within little memory: repeated layers computed twice instead of being kept, bfloat16 weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
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


@contextmanager
def wide_products(model: nn.Module) -> Iterator[int]:
    """While open, linear layers of bfloat16 weights multiply in float32, a layer's weights at a time, and
    give bfloat16. For processors without products in bfloat16, where torch's own take
    hundreds of times longer. Gives the number of layers.
    """
    layers = [m for m in model.modules() if type(m) is nn.Linear and m.weight.dtype == torch.bfloat16]
    for layer in layers:
        layer.forward = partial(_wide_linear, layer)  # type: ignore[method-assign]
    try:
        yield len(layers)
    finally:
        for layer in layers:
            del layer.forward


def _wide_linear(layer: nn.Linear, x: Tensor) -> Tensor:
    y: Tensor = _Product.apply(x, layer.weight)
    return y if layer.bias is None else y + layer.bias


class _Product(torch.autograd.Function):
    """`x W^T` that keeps x and W as they are, and makes them float32 when they are needed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return (x.float() @ weight.float().mT).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        g = gradient.float()
        into_weight = g.flatten(0, -2).mT @ x.float().flatten(0, -2)
        return (g @ weight.float()).to(x.dtype), into_weight.to(weight.dtype)


class _Twice:
    """A forward that keeps nothing but its arguments while gradients are asked for."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return self._inner(*args, **kwargs)
        return checkpoint(self._inner, *args, use_reentrant=False, **kwargs)
