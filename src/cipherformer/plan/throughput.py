"""Candidates of throughput mode: which axis stands in the slots, and which ring, by predicted seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.errors import CipherformerError, LimitError, ParameterError
from cipherformer.graph import Graph
from cipherformer.passes.regions import Region, regions, shared_values
from cipherformer.passes.stacks import MAX_STACK, Stacked, stack
from cipherformer.plan.candidate import Candidate, chosen_set, leveled, refreshed, sets_of
from cipherformer.plan.options import Options

RINGS = (16, 15, 14, 13)
"""Degrees that are tried where the options leave it open."""


def best_stacked(graph: Graph, options: Options) -> tuple[Candidate, Stacked]:
    """The candidate that takes the fewest predicted seconds for an input.

    Raises:
        LimitError: no axis of the input can stand in the slots, and the values have too many coordinates for
            a ciphertext each.
        ParameterError: of what is asked for.
    """
    if options.flood_bits >= 0:
        raise ParameterError("flood_bits in throughput mode", fix="compile in latency mode to hide weights")
    parts, outputs = regions(graph, frozenset(shared_values(graph)))
    fixed = options.insecure_target or chosen_set(options)
    rings = [fixed.log_n] if fixed else [options.log_n] if options.log_n else list(RINGS)
    best: tuple[float, Candidate, Stacked] | None = None
    problems: list[CipherformerError] = []
    for axis in _axes(parts):
        for log_n in rings:
            try:
                stacked = stack(parts, outputs, 1 << (log_n - 1), axis)
                found = _candidates(stacked, log_n, options)
            except (LimitError, ParameterError) as error:
                problems.append(error)
                break
            for candidate in found:
                seconds = candidate.seconds / stacked.batch
                if best is None or seconds < best[0]:
                    best = seconds, candidate, stacked
    if best is None:
        raise problems[-1]
    return best[1:]


def _axes(parts: Sequence[Region]) -> list[int | None]:
    """Axes of the input to try: none, if the values are small, and last those that might do."""
    shape = next(r.shape for r in parts if r.kind == "input")
    small = all(np.prod(r.shape) <= MAX_STACK for r in parts)
    powers = [a for a, n in enumerate(shape) if a and n > 1 and n & (n - 1) == 0]
    return ([None] if small else []) + powers or [None]


def _candidates(stacked: Stacked, log_n: int, options: Options) -> list[Candidate]:
    found: list[Candidate] = []
    problem: CipherformerError | None = None
    chosen = chosen_set(options)
    if chosen is None:
        try:
            found.append(leveled(stacked.packed, log_n, options))
        except (LimitError, ParameterError) as error:
            problem = error
    for bootstrap in [chosen] if chosen else sets_of(log_n, options):
        try:
            found.append(refreshed(stacked.packed, bootstrap, options))
        except (LimitError, ParameterError) as error:
            problem = error
    if not found:
        assert problem is not None
        raise problem
    return found


def batches(samples: Sequence[Mapping[str, NDArray[Any]]], batch: int) -> dict[str, NDArray[np.float64]]:
    """One query of samples, each repeated as often as the batch needs."""
    out = {}
    for name in samples[0]:
        rows = np.concatenate([np.asarray(s[name], dtype=np.float64) for s in samples])
        out[name] = rows[np.arange(batch) % len(rows)]
    return out
