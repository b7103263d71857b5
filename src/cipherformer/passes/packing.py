"""What packing builds up, and what it hands on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from cipherformer.kernels import linear
from cipherformer.kernels.algebra import Transform
from cipherformer.kernels.layout import Bit, Layout
from cipherformer.kernels.step import Step
from cipherformer.passes.place import Product
from cipherformer.passes.regions import Region

Array = NDArray[np.float64]
Reduced = tuple[Array, Layout, tuple[int, ...]]
"""A matrix after sums that come before it, the layout it reads then, and the rotations of those sums."""


@dataclass(frozen=True, eq=False, slots=True)
class Packed:
    """The result of packing, levels not yet decided.

    Args:
        steps: in execution order; steps of kernel `input` are ciphertexts that the client sends.
        outputs: values that go back to the client.
        transforms, vectors: public arrays by key.
        packings: input step -> (graph input, slot map: element index or -1 for each slot).
    """

    steps: tuple[Step, ...]
    outputs: tuple[str, ...]
    transforms: Mapping[str, Transform]
    vectors: Mapping[str, Array]
    packings: Mapping[str, tuple[str, NDArray[np.int64]]]


@dataclass(slots=True)
class Packer:
    """Work in progress of one `pack` call."""

    slot_bits: int
    regions: Mapping[str, Region]
    products: Mapping[str, Product]
    outputs: frozenset[str]
    demands: dict[str, Layout]
    stepwise: bool
    steps: list[Step] = field(default_factory=list)
    layouts: dict[str, Layout] = field(default_factory=dict)
    wild: set[str] = field(default_factory=set)
    transforms: dict[str, Transform] = field(default_factory=dict)
    vectors: dict[str, Array] = field(default_factory=dict)
    packings: dict[str, tuple[str, NDArray[np.int64]]] = field(default_factory=dict)
    spread: list[str] = field(default_factory=list)
    moves: dict[tuple[Layout, Layout | int], str] = field(default_factory=dict)
    """Keys of maps that only move or rotate values, by layouts: all layers of a model share them."""

    def emit(self, step: Step) -> None:
        """Append a step with its range, and note its layout."""
        self.steps.append(replace(step, bound=self._bound(step.name)))
        self.layouts[step.name] = step.layout

    def _bound(self, name: str) -> float:
        """Largest absolute value; a copy of a value, `NAME.repack` and the like, has its range."""
        while name not in self.regions:
            name = name.rpartition(".")[0]
        return bound_of_region(self.regions[name])


def bound_of_region(region: Region) -> float:
    """Largest absolute value by calibration; 0 if it is unknown."""
    return max(abs(region.low or 0.0), abs(region.high or 0.0))


@dataclass(frozen=True, eq=False, slots=True)
class Route:
    """One term of an affine region, decided: rotations before, diagonals, rotations after, and the cost."""

    source: str
    pre: tuple[int, ...]
    routes: linear.Routes
    post: tuple[int, ...]
    cost: float
    bits: tuple[Bit, ...]
    packing: NDArray[np.int64] | None = None
