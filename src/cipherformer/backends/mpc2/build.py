"""From a captured graph to a compiled two-party program, in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from cipherformer.backends.mpc2.compile import Compiled, compile_program
from cipherformer.backends.mpc2.ring import WORD
from cipherformer.backends.mpc2.verify import verify
from cipherformer.graph import Graph
from cipherformer.passes.placement import Placement
from cipherformer.passes.ring import to_ring
from cipherformer.passes.truncate import place
from cipherformer.targets.ring import RingTarget, Truncation


@dataclass(frozen=True, slots=True)
class Built:
    """A program, and the placement that `fixed` emulates it with."""

    compiled: Compiled
    placement: Placement


def build(
    graph: Graph,
    samples: Sequence[Mapping[str, NDArray[Any]]],
    *,
    method: str = "ring.masked",
    frac_bits: int = 16,
    margin: float = 0.25,
    policy: str = "every",
) -> Built:
    """Lowers, calibrates, places truncations and compiles.

    Args:
        graph: captured.
        samples: typical inputs.
        method: as `passes.ring.to_ring` has it.
        frac_bits: after a truncation.
        margin: by which ranges are widened.
        policy: of truncations. They cost nothing here, but products grow without them.

    Raises:
        ModelError: an op without a form in a ring.
        LimitError: a value does not fit 64 bits.
    """
    placement = placed(graph, samples, method=method, frac_bits=frac_bits, margin=margin, policy=policy)
    compiled = compile_program(placement)
    verify(compiled.program)
    return Built(compiled, placement)


def placed(
    graph: Graph,
    samples: Sequence[Mapping[str, NDArray[Any]]],
    *,
    method: str = "ring.masked",
    frac_bits: int = 16,
    margin: float = 0.25,
    policy: str = "every",
) -> Placement:
    """All of `build` before compiling."""
    ring = to_ring(graph, samples, method=method, margin=margin)
    target = RingTarget(WORD, frac_bits, 0, Truncation.TRUNCATE_REDUCE)
    return place(ring.graph, target, policy)
