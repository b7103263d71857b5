"""Seeing what enters the sites that encryption must approximate, without state on the modules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from cipherformer.nn import PolynomialActivation, PowerSoftmax, TwoQuad

SITE_TYPES = (PowerSoftmax, TwoQuad, PolynomialActivation)

Batch = Tensor | tuple[Tensor, ...]
"""What a model is run on: its input, or all its arguments."""


def run(model: nn.Module, batch: Batch) -> Any:
    """The model's result."""
    return model(*batch) if isinstance(batch, tuple) else model(batch)


@dataclass(frozen=True, slots=True)
class Observation:
    """One call of one site.

    Args:
        name: module path in the model.
        module: the site.
        value: its input, with its gradient history: scores [B, H, T, T], or an activation's input.
        mask: the mask it was called with, or None.
    """

    name: str
    module: nn.Module
    value: Tensor
    mask: Tensor | None = None


class Observer:
    """Collects the calls of a model's sites; `take` hands them over and starts anew."""

    def __init__(self) -> None:
        self._seen: list[Observation] = []

    def add(self, observation: Observation) -> None:
        """Append one call."""
        self._seen.append(observation)

    def take(self) -> list[Observation]:
        """All calls since the last `take`, in order."""
        seen, self._seen = self._seen, []
        return seen


@contextmanager
def observe(model: nn.Module, types: tuple[type[nn.Module], ...] = SITE_TYPES) -> Iterator[Observer]:
    """While open, every call of a module of these types in `model` is added to the observer.

    >>> import torch
    >>> model = nn.Sequential(PolynomialActivation.fit(degree=3, low=-2.0, high=2.0))
    >>> with observe(model) as seen:
    ...     _ = model(torch.zeros(1, 4))
    >>> [o.name for o in seen.take()]
    ['0']
    """
    observer = Observer()

    def hook_of(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            observer.add(Observation(name, module, args[0], args[1] if len(args) > 1 else None))

        return hook

    handles = [
        module.register_forward_pre_hook(hook_of(name))
        for name, module in model.named_modules()
        if isinstance(module, types)
    ]
    try:
        yield observer
    finally:
        for handle in handles:
            handle.remove()
