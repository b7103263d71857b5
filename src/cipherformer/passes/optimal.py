"""The policy `optimal`: mixed-integer programs, one for every block structure of a graph.

The values between blocks keep at most the fraction bits that they have in the greedy placement, in the widest
ring; so blocks are independent, and each has a solution. Blocks of one structure (layers) are solved
as one, with the largest magnitudes among them, unless that costs more than the greedy placement.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cipherformer.approx.fourier import RESULT_BITS
from cipherformer.graph import Graph, Node
from cipherformer.passes.blocks import Block, blocks, joined
from cipherformer.passes.placement import LOOKED_UP, MOVES, PRODUCTS, Placement, Solved
from cipherformer.passes.program import Choice, Solution, solve
from cipherformer.passes.sites import Objective, Site, Sites, Steps, sites_of, steps
from cipherformer.passes.versions import Encodings, Versions
from cipherformer.targets.ring import RingTarget


@dataclass(frozen=True, slots=True)
class _Part:
    """A block and its solution."""

    block: Block
    solution: Solution


def optimal(
    graph: Graph,
    target: RingTarget,
    objective: Objective,
    start: Placement,
    *,
    seconds: float,
    on_program: Callable[[int, int], None] | None = None,
) -> Placement | None:
    """The placement that the solver finds; None if it finds none.

    Args:
        graph: calibrated, of the ring dialect.
        target: the rings.
        objective: what to make small.
        start: the placement of `Greedy` with `lazy` or `hoisted`.
        seconds: for each program.
        on_program: called with (programs done, programs in all).
    """
    sites = sites_of(graph, target, objective)
    limits = {at: start.frac_bits[start.names[site.name]] for at, site in enumerate(sites.sites)}
    parts = blocks(sites.sites, limits)
    prices = steps(target, objective)
    groups: dict[tuple[object, ...], list[Block]] = {}
    for block in parts:
        groups.setdefault(block.shape, []).append(block)
    solved: list[_Part] = []
    programs: list[Solution] = []
    for done, group in enumerate(groups.values()):
        if on_program:
            on_program(done, len(groups))
        found = _solve_group(group, target, prices, seconds)
        if found is None:
            return None
        solved += found[0]
        programs += found[1]
    if on_program:
        on_program(len(groups), len(groups))
    placement = _Writer(graph, target, sites, solved).run()
    return replace(
        placement,
        solved=Solved(
            blocks=len(parts),
            programs=len(programs),
            seconds=sum(s.seconds for s in programs),
            cost=sum(p.solution.cost for p in solved),
            bound=sum(p.solution.bound for p in solved),
            timed_out=sum(s.timed_out for s in programs),
            taken="optimal",
        ),
    )


def _solve_group(
    group: Sequence[Block], target: RingTarget, prices: Steps, seconds: float
) -> tuple[list[_Part], list[Solution]] | None:
    """One program for all, or one for each where they have no common solution."""
    if len(group) > 1:
        together = solve(joined(group).sites, target, prices, seconds)
        if together is not None:
            return [_Part(block, together) for block in group], [together]
    found = []
    for block in group:
        alone = solve(block.sites, target, prices, seconds) or solve(
            _least_floors(block, target), target, prices, seconds
        )
        if alone is None:
            return None
        found.append(_Part(block, alone))
    return found, [part.solution for part in found]


def _least_floors(block: Block, target: RingTarget) -> list[Site]:
    return [replace(s, floor=target.frac_bits) for s in block.sites]


class _Writer:
    """Writes the placement that solutions describe."""

    def __init__(self, graph: Graph, target: RingTarget, sites: Sites, parts: Sequence[_Part]) -> None:
        self.graph, self.target, self.sites = graph, target, sites
        self.new = Versions(graph, target)
        self.encodings = Encodings(graph, target)
        self.own: dict[int, Choice] = {}
        self.other: dict[tuple[int, int], Choice] = {}
        for part in parts:
            self._note(part)

    def _note(self, part: _Part) -> None:
        """Numbers sites as in the graph: a choice counts for the readers in its block."""
        block = part.block
        at = {i: block.first + i - block.given for i in range(block.given, len(block.sites))}
        names = {site.name: i for i, site in enumerate(self.sites.sites)}
        for i, choice in enumerate(part.solution.choices):
            here = names[block.sites[i].name]
            if i >= block.given:
                self.own[here] = choice
            for reader in choice.readers:
                self.other[here, at[reader]] = choice

    def run(self) -> Placement:
        names: dict[str, str] = {}
        for node in self.graph.nodes:
            self.new.build.origin = node.origin
            if node.op == "constant":
                names[node.name] = node.name
            elif node.op == "keep":
                names[node.name] = names[node.inputs[0]]
            elif node.op in MOVES:
                names[node.name] = self._moved(node, names[node.inputs[0]])
            else:
                names[node.name] = self._operation(node, [names[n] for n in node.inputs])
        outputs = {o: names[o] for o in self.graph.outputs}
        for o in self.graph.outputs:
            if o in self.graph.constants:
                outputs[o] = self.new.encoded(o, self.encodings.constant(o), self.target.width)
        return self.new.finish(names, outputs, "optimal")

    def _moved(self, node: Node, source: str) -> str:
        return self.new.append(node, [source], self.new.bits[source], self.new.widths[source])

    def _operation(self, node: Node, inputs: list[str]) -> str:
        here = self.sites.roots[node.name]
        width = self.own[here].width
        operands = {
            new: self._operand(new, self.other.get((self.sites.roots[old], here)), width)
            for old, new in zip(node.inputs, inputs, strict=True)
            if old in self.sites.roots
        }
        scales = [self.new.bits[operands[n]] for n in inputs if n in operands]
        if node.op == "input":
            return self.new.append(node, [], self.target.frac_bits, width)
        if node.op in LOOKED_UP:
            bits = self.encodings.table(node) if node.op == "select" else RESULT_BITS
            return self.new.append(node, list(operands.values()), bits, width)
        if node.op in PRODUCTS:
            factors = [
                operands.get(n) or self.new.encoded(n, self.encodings.constant(n), width) for n in inputs[:2]
            ]
            bits = sum(self.new.bits[n] for n in factors)
            factors += [self.new.encoded(n, bits, width) for n in inputs[2:]]
            return self.new.append(node, factors, bits, width)
        bits = max(scales)
        terms = [
            self.new.lifted(operands[n], bits) if n in operands else self.new.encoded(n, bits, width)
            for n in inputs
        ]
        return self.new.append(node, terms, bits, width)

    def _operand(self, name: str, choice: Choice | None, width: int) -> str:
        """The version that an operation reads, in its ring."""
        return self.new.in_ring(name if choice is None else self._other(name, choice), width)

    def _other(self, name: str, choice: Choice) -> str:
        assert choice.other is not None
        node = self.new.build.node(name)
        if node.op in MOVES:
            return self.new.moved(name, self._other(node.inputs[0], choice))
        made = self.new.truncated(name, choice.other)
        if choice.other_width is None or self.new.widths[made] >= choice.other_width:
            return made
        return self.new.in_ring(made, choice.other_width)
