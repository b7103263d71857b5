"""One model in many rings: accuracy and cost against ring and fraction bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cipherformer.backends.emulate import Choices, Emulation, Sample, emulate_ring
from cipherformer.errors import DataError, LimitError, ParameterError
from cipherformer.graph import Graph
from cipherformer.passes.ring import to_ring
from cipherformer.targets.ring import RingTarget, Truncation

RINGS, FRACTIONS = (32, 48, 64, 128), (8, 10, 12, 14, 16, 18)


@dataclass(frozen=True, slots=True)
class Point:
    """One ring.

    Args:
        ring_bits: of the ring.
        frac_bits: after a truncation.
        result: of the run; None if the model does not fit.
        reason: why not.
    """

    ring_bits: int
    frac_bits: int
    result: Emulation | None
    reason: str = ""


def sweep(
    graph: Graph,
    samples: Sequence[Sample],
    *,
    rings: Sequence[int] = RINGS,
    fractions: Sequence[int] = FRACTIONS,
    guard_bits: int = 1,
    truncation: Truncation = Truncation.EXACT,
    choices: Choices | None = None,
    method: str = "ring",
    labels: NDArray[np.int64] | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> tuple[Point, ...]:
    """Emulate a captured graph in every ring with every number of fraction bits.

    Args:
        graph, samples, choices, method, labels: as for `emulate`.
        rings: widths.
        fractions: fraction bits.
        guard_bits, truncation: of all targets.
        on_step: called with (rings done, rings in all).

    Raises:
        ModelError: as the passes do.
        DataError: no samples, or labels that do not fit.
    """
    if not samples:
        raise DataError("no inputs to run", fix="give at least one")
    ring = to_ring(graph, samples, method=method)
    pairs = [(width, bits) for width in rings for bits in fractions]
    points: list[Point] = []
    for width, bits in pairs:
        if on_step:
            on_step(len(points), len(pairs))
        try:
            target = RingTarget(width, bits, guard_bits, truncation)
            result = emulate_ring(ring, samples, target, choices=choices, labels=labels)
            points.append(Point(width, bits, result))
        except (LimitError, ParameterError) as error:
            points.append(
                Point(width, bits, None, f"{error.where}: {error.what}" if error.where else error.what)
            )
    return tuple(points)
