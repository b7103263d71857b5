"""Emulation of a model that does not fit memory: one captured block at a time, activations passed on.

Each block is lowered, calibrated on the float64 activations that reach it, placed, run and dropped. At a
border the ring's values are rounded to the fraction bits of inputs, as a truncation would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from cipherformer.backends.integers import Carrier
from cipherformer.backends.prepared import Prepared
from cipherformer.errors import DataError
from cipherformer.graph import Graph
from cipherformer.graph.evaluate import evaluate
from cipherformer.passes.ring import to_ring
from cipherformer.passes.truncate import place
from cipherformer.targets.ring import RingTarget

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BlockRun:
    """What one block showed.

    Args:
        name: of its graph.
        relative: root mean square of the error of its output against float64, over that of the output.
        largest: absolute error.
        headroom: the fewest bits between a value and its ring's bound.
        truncations: number, each of a whole tensor.
        elements: truncated.
        carriers: operations by the arithmetic that they took.
        seconds: of the run in the ring.
        seconds_in_all: with capture, calibration and placement.
    """

    name: str
    relative: float
    largest: float
    headroom: int
    truncations: int
    elements: int
    carriers: Mapping[str, int]
    seconds: float
    seconds_in_all: float


@dataclass(frozen=True, slots=True)
class StreamedEmulation:
    """A streamed run.

    Args:
        target: the ring.
        policy: of truncation.
        blocks: in order.
        top1_agreement: part of the rows of the last output whose largest entry is float64's.
        output: of the last block, in the ring.
        reference: of the last block, in float64.
        overflows: values that left their ring.
    """

    target: RingTarget
    policy: str
    blocks: tuple[BlockRun, ...]
    top1_agreement: float
    output: Floats = field(repr=False)
    reference: Floats = field(repr=False)
    overflows: tuple[str, ...] = ()


def emulate_streamed(
    blocks: Iterable[Graph],
    start: Floats,
    target: RingTarget,
    *,
    policy: str = "hoisted",
    method: str = "ring",
    carrier: Carrier = Carrier.FLOAT64,
    seed: int = 0,
    threads: int = 1,
    on_block: Callable[[BlockRun], None] | None = None,
) -> StreamedEmulation:
    """Run blocks one after the other; each graph has one input, the output of the graph before.

    Args:
        blocks: captured graphs, made one at a time (`capture.streamed`).
        start: activations that enter the first block.
        target: the ring.
        policy: of truncation, see `passes.truncate`.
        method: functions, see `passes.ring.to_ring`.
        carrier: the fastest arithmetic allowed.
        seed: of probabilistic truncation.
        threads: of elementwise work.
        on_block: called after each block.

    Raises:
        ModelError, LimitError: as the passes do.
        DataError: no block, or one with several inputs.
    """
    wanted = got = start
    runs: list[BlockRun] = []
    overflows: list[str] = []
    began = perf_counter()
    for index, graph in enumerate(blocks):
        if len(graph.inputs) != 1:
            raise DataError(f"the block {graph.name} has {len(graph.inputs)} inputs", why="a stream has one")
        name = graph.inputs[0].name
        ring = to_ring(graph, [{name: wanted}, {name: got}] if index else [{name: wanted}], method=method)
        wanted = evaluate(ring.reference, {name: wanted})[ring.reference.outputs[0]]
        placement = place(ring.graph, target, policy)
        del ring, graph
        prepared = Prepared(placement, carrier=carrier, threads=threads)
        prepared.encode()
        before = perf_counter()
        result = prepared.run({name: got}, seed=seed + index)
        seconds = perf_counter() - before
        got = result.values[placement.graph.outputs[0]]
        error = np.abs(got - wanted)
        runs.append(
            BlockRun(
                name=placement.graph.name,
                relative=float(np.sqrt((error**2).sum() / (wanted**2).sum())),
                largest=float(error.max()),
                headroom=min(result.headroom.values()),
                truncations=placement.truncations,
                elements=placement.truncated_elements,
                carriers=dict(result.carriers),
                seconds=seconds,
                seconds_in_all=perf_counter() - began,
            )
        )
        overflows += result.overflows
        del prepared, placement, result
        began = perf_counter()
        if on_block:
            on_block(runs[-1])
    if not runs:
        raise DataError("no blocks to run")
    agreement = float((wanted.argmax(axis=-1) == got.argmax(axis=-1)).mean())
    return StreamedEmulation(target, policy, tuple(runs), agreement, got, wanted, tuple(overflows))
