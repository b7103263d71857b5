"""The passes in their order, each with the stage it claims to reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from cipherformer.graph import Graph
from cipherformer.graph.verify import verify
from cipherformer.ops import ErrorBudget
from cipherformer.passes.approximate import approximate
from cipherformer.passes.calibrate import calibrate
from cipherformer.passes.fold import fold
from cipherformer.passes.lower import lower

Samples = Sequence[Mapping[str, NDArray[Any]]]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the passes need besides the graph.

    Args:
        samples: typical inputs, each a mapping from input name to array.
        margin: by which calibrated ranges are widened.
        budget: errors allowed, and costs accepted.
    """

    samples: Samples
    margin: float = 0.1
    budget: ErrorBudget = field(default_factory=ErrorBudget)


Pass = Callable[[Graph, Settings], Graph]

CKKS_PASSES: tuple[tuple[str, Pass, str], ...] = (
    ("fold", lambda g, s: fold(g), "folded"),
    ("lower", lambda g, s: lower(g, target="ckks"), "lowered"),
    ("calibrate", lambda g, s: calibrate(g, s.samples, margin=s.margin), "calibrated"),
    ("approximate", lambda g, s: approximate(g, s.budget), "ckks.lowered"),
)
"""(name, pass, stage) from captured to the CKKS dialect; `regions`, `pack`, `level`, `scale` follow."""


def run_passes(graph: Graph, settings: Settings) -> Graph:
    """All of `CKKS_PASSES`, the stage being verified after each."""
    verify(graph, "captured")
    for _, apply, stage in CKKS_PASSES:
        graph = verify(apply(graph, settings), stage)
    return graph
