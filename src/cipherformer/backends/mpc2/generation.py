"""A decoder as a chain of programs: one reads the prompt, each other one takes a token and the caches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.backends.mpc2.build import placed
from cipherformer.backends.mpc2.chain import Chain, linked, with_kept
from cipherformer.backends.mpc2.compile import Compiled, compile_program
from cipherformer.backends.mpc2.program import Program
from cipherformer.errors import LimitError
from cipherformer.graph import Graph
from cipherformer.passes.answer import argmax_only, private_lookup
from cipherformer.passes.incremental import CACHE, StepGraph, step_graph, step_samples
from cipherformer.passes.placement import Placement


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
    table: NDArray[np.float64],
    tokens: NDArray[np.int64],
    *,
    prompt: int,
    argmax: bool = False,
    private: bool = False,
    **options: Any,
) -> Generator:
    """Compiles a decoder for prompts of one length.

    Args:
        graph: captured, over M positions of embedded tokens; M - prompt + 1 tokens can be generated.
        table: embeddings [V, d].
        tokens: typical texts [n, M].
        prompt: length of prompts.
        argmax: reveal the best token alone, not the scores.
        private: the table is the server's, and looked up in private; else the client has it.
        options: as `build.build` has them.

    Raises:
        ModelError: the graph is no decoder.
        LimitError: a value does not fit 64 bits, or the protocol keeps no wires between queries.
    """
    if options.get("protocol", "masked") != "masked":
        raise LimitError(
            f"generation with the protocol {options['protocol']}",
            why="a cache is kept as masked wires",
            fix="take masked",
        )
    text, length = graph.inputs[0].name, graph.inputs[0].type.shape[1]
    samples = [{text: table[row][None]} for row in tokens]
    bounds = [(0, prompt), *((i, i + 1) for i in range(prompt, length))]
    steps = tuple(step_graph(graph, *bound) for bound in bounds)
    placements = []
    for step in steps:
        asked = private_lookup(step.graph, table) if private else step.graph
        typical = step_samples(graph, step, samples)
        if private:
            rows = tokens[:, None, step.start : step.stop]
            typical = [{**s, text: one_hot(r, len(table))} for s, r in zip(typical, rows, strict=True)]
        placements.append(placed(argmax_only(asked) if argmax else asked, typical, **options))
    drafts = [compile_program(placement).program for placement in placements]
    widths: dict[int, int] = {}
    for draft in drafts:
        found = draft.by_name()
        for name, slot in (*_read(draft).items(), *_written(draft).items()):
            widths[slot] = max(widths.get(slot, 0), found[name].width)
    parts = (_kept(draft, placement, widths) for draft, placement in zip(drafts, placements, strict=True))
    return Generator(linked(parts), tuple(placements), steps)


def _kept(draft: Program, placement: Placement, widths: Mapping[int, int]) -> Compiled:
    """A step whose caches have these bits; made one after the other, since each holds all weights."""
    outputs = {name.removesuffix(".reveal"): slot for name, slot in _written(draft).items()}
    least = {name: widths[slot] for name, slot in (*_read(draft).items(), *outputs.items())}
    compiled = compile_program(placement, least)
    return Compiled(with_kept(compiled.program, _read(draft), widths), compiled.weights)


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
