"""A decoder as a chain of programs: one reads the prompt, each other one takes a token and the caches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.backends.mpc2.build import placed
from cipherformer.backends.mpc2.chain import Chain, linked, with_kept
from cipherformer.backends.mpc2.compile import Compiled, compile_program
from cipherformer.backends.mpc2.program import Program
from cipherformer.graph import Graph
from cipherformer.passes.incremental import CACHE, StepGraph, step_graph, step_samples
from cipherformer.passes.placement import Placement

Inputs = Mapping[str, NDArray[Any]]
Change = Callable[[Graph], Graph]


@dataclass(frozen=True, slots=True)
class Generator:
    """A chain, and what `fixed` emulates it with.

    Args:
        chain: programs for the prompt and for each further token.
        placements: of each.
        steps: graphs of each, before anything was asked of the answer or the input.
    """

    chain: Chain
    placements: tuple[Placement, ...]
    steps: tuple[StepGraph, ...]


def build_generator(
    graph: Graph,
    samples: Sequence[Inputs],
    *,
    prompt: int,
    answer: Change = lambda graph: graph,
    asked: Change = lambda graph: graph,
    encode: Callable[[NDArray[Any]], NDArray[Any]] = lambda rows: rows,
    **options: Any,
) -> Generator:
    """Compiles a decoder for prompts of one length.

    Args:
        graph: captured, over M positions; M - prompt + 1 tokens can be generated.
        samples: typical inputs, over all positions.
        prompt: length of prompts, at least 2.
        answer: of each step's graph, e.g. `passes.answer.argmax_only`.
        asked: of each step's graph, e.g. `passes.answer.private_lookup` with a table.
        encode: rows of a sample to what `asked` makes of the input.
        options: as `build.build` has them.

    Raises:
        ModelError: the graph is no decoder.
        LimitError: a value does not fit 64 bits.
    """
    text, length = graph.inputs[0].name, graph.inputs[0].type.shape[1]
    bounds = [(0, prompt), *((i, i + 1) for i in range(prompt, length))]
    steps = tuple(step_graph(graph, *bound) for bound in bounds)
    placements = []
    for step in steps:
        typical = [
            {**sample, text: encode(sample[text])} for sample in step_samples(graph, step, list(samples))
        ]
        placements.append(placed(answer(asked(step.graph)), typical, **options))
    drafts = [compile_program(placement).program for placement in placements]
    widths: dict[int, int] = {}
    for draft in drafts:
        found = draft.by_name()
        for name, slot in (*_read(draft).items(), *_written(draft).items()):
            widths[slot] = max(widths.get(slot, 0), found[name].width)
    parts = []
    for draft, placement in zip(drafts, placements, strict=True):
        outputs = {name.removesuffix(".reveal"): slot for name, slot in _written(draft).items()}
        least = {name: widths[slot] for name, slot in (*_read(draft).items(), *outputs.items())}
        compiled = compile_program(placement, least)
        parts.append(Compiled(with_kept(compiled.program, _read(draft), widths), compiled.weights))
    return Generator(linked(parts), tuple(placements), steps)


def _read(program: Program) -> dict[str, int]:
    """Inputs that are caches, and their slots."""
    names = (step.name for step in program.of("input") if step.name.startswith(CACHE))
    return {name: int(name.removeprefix(CACHE)) for name in names}


def _written(program: Program) -> dict[str, int]:
    """Outputs that are caches, and their slots."""
    return {name: slot for slot, name in enumerate(program.outputs[1:])}


def one_hot(tokens: NDArray[np.int64], size: int) -> NDArray[np.float64]:
    """[..., L] -> [..., L, size]."""
    return np.eye(size)[tokens]
