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
from cipherformer.ops import ring_masked
from cipherformer.ops.ring_published import SETS
from cipherformer.passes.placement import Placement
from cipherformer.passes.ring import to_ring
from cipherformer.passes.truncate import Objective, place
from cipherformer.targets.protocols import NETWORKS
from cipherformer.targets.protocols import protocol as profile_of
from cipherformer.targets.ring import RingTarget, Truncation

PROFILES = ("masked", "additive", *SETS)
"""How values are held, as profiles of `targets.protocols`: published sets run on additive shares."""


@dataclass(frozen=True, slots=True)
class Built:
    """A program, and the placement that `fixed` emulates it with."""

    compiled: Compiled
    placement: Placement


def build(graph: Graph, samples: Sequence[Mapping[str, NDArray[Any]]], **options: Any) -> Built:
    """Lowers, calibrates, places truncations and compiles.

    Args:
        graph: captured.
        samples: typical inputs.
        options: as `placed` has them.

    Raises:
        ModelError: an op without a form in a ring.
        LimitError: a value does not fit 64 bits.
    """
    placement = placed(graph, samples, **options)
    compiled = compile_program(placement)
    verify(compiled.program)
    return Built(compiled, placement)


def placed(
    graph: Graph,
    samples: Sequence[Mapping[str, NDArray[Any]]],
    *,
    method: str = "",
    frac_bits: int = 16,
    margin: float = 0.25,
    policy: str = "every",
    protocol: str = "masked",
    network: str = "lan",
) -> Placement:
    """All of `build` before compiling.

    Args:
        graph: captured.
        samples: typical inputs.
        method: as `passes.ring.to_ring` has it; by default that of the published set, or `ring.masked`.
        frac_bits: after a truncation.
        margin: by which ranges are widened.
        policy: of truncations. They cost nothing on masked wires, but products grow without them.
        protocol: `masked` wires, or `additive` shares, where each truncation is an opening; or a published
            set's name, which is its functions on additive shares.
        network: that the policy `optimal` has in mind.

    Raises:
        ModelError: an op without a form in a ring.
        LimitError: a value does not fit 64 bits.
        ParameterError: there is no such protocol.
    """
    method = method or f"ring.{protocol if protocol in SETS else ring_masked.SET}"
    ring = to_ring(graph, samples, method=method, margin=margin)
    profile = profile_of("additive" if protocol in SETS else protocol)
    guard = 0 if profile.truncation is Truncation.TRUNCATE_REDUCE else 1
    target = RingTarget(WORD, frac_bits, guard, profile.truncation)
    return place(ring.graph, target, policy, objective=Objective(profile, NETWORKS[network]))
