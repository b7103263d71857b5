"""Emulation of a model that does not fit memory: one captured block at a time, activations passed on.

Each block is lowered, calibrated on the float64 activations that reach it, placed, run and dropped. At a
border the ring's values are rounded to the fraction bits of inputs, as a truncation would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
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


@dataclass(frozen=True, slots=True)
class _Settings:
    target: RingTarget
    policy: str
    method: str
    carrier: Carrier
    seed: int
    threads: int


def emulate_streamed(
    blocks: Iterable[Graph | Iterable[Graph]],
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
        blocks: captured graphs, made one at a time (`capture.streamed`). In place of a graph may stand
            several, which read the same activations and whose outputs are joined along the last axis.
        start: activations that enter the first block.
        target: the ring.
        policy: of truncation, see `passes.truncate`.
        method: functions, see `passes.ring.to_ring`.
        carrier: the fastest arithmetic allowed.
        seed: of probabilistic truncation.
        threads: of elementwise work.
        on_block: called after each graph.

    Raises:
        ModelError, LimitError: as the passes do.
        DataError: no block, or one with several inputs.
    """
    wanted = got = start
    runs: list[BlockRun] = []
    overflows: list[str] = []
    began = perf_counter()
    for block in blocks:
        outputs: list[tuple[Floats, Floats]] = []
        for graph in [block] if isinstance(block, Graph) else block:
            settings = _Settings(target, policy, method, carrier, seed + len(runs), threads)
            before, after, run, left = _run(graph, wanted, got, settings)
            outputs.append((before, after))
            runs.append(replace(run, seconds_in_all=perf_counter() - began))
            overflows += left
            began = perf_counter()
            if on_block:
                on_block(runs[-1])
            del graph
        del block
        wanted, got = (np.concatenate(parts, axis=-1) for parts in zip(*outputs, strict=True))
    if not runs:
        raise DataError("no blocks to run")
    agreement = float((wanted.argmax(axis=-1) == got.argmax(axis=-1)).mean())
    return StreamedEmulation(target, policy, tuple(runs), agreement, got, wanted, tuple(overflows))


def _run(
    graph: Graph, wanted: Floats, got: Floats, settings: _Settings
) -> tuple[Floats, Floats, BlockRun, tuple[str, ...]]:
    """One graph on activations in float64 and in the ring; its outputs, record and overflows."""
    if len(graph.inputs) != 1:
        raise DataError(f"the block {graph.name} has {len(graph.inputs)} inputs", why="a stream has one")
    name = graph.inputs[0].name
    samples = [{name: wanted}] if got is wanted else [{name: wanted}, {name: got}]
    ring = to_ring(graph, samples, method=settings.method)
    wanted = evaluate(ring.reference, {name: wanted})[ring.reference.outputs[0]]
    placement = place(ring.graph, settings.target, settings.policy)
    del ring
    prepared = Prepared(placement, carrier=settings.carrier, threads=settings.threads)
    prepared.encode()
    before = perf_counter()
    result = prepared.run({name: got}, seed=settings.seed)
    seconds = perf_counter() - before
    got = result.values[placement.graph.outputs[0]]
    error = np.abs(got - wanted)
    run = BlockRun(
        name=placement.graph.name,
        relative=float(np.sqrt((error**2).sum() / (wanted**2).sum())),
        largest=float(error.max()),
        headroom=min(result.headroom.values()),
        truncations=placement.truncations,
        elements=placement.truncated_elements,
        carriers=dict(result.carriers),
        seconds=seconds,
        seconds_in_all=seconds,
    )
    return wanted, got, run, result.overflows
