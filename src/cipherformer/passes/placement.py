"""Where truncations stand in a graph: the record that backends run, and the sizes that it is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, log2

from cipherformer.errors import CompileError
from cipherformer.graph import Graph, Node
from cipherformer.ops.spec import numbers
from cipherformer.targets.ring import RingTarget

PRODUCTS = ("mul", "matmul", "linear", "conv2d")
LOOKED_UP = ("select", "fourier")
"""What comes out with fraction bits of its own, whatever the operand has."""

MOVES = ("reshape", "permute", "expand", "neg")
"""What changes no number and drops none: a truncation in front of these serves as well as one behind."""

_LEAST_MAGNITUDE = -10
"""Of smaller values rounding errors may be the larger part."""


@dataclass(frozen=True, slots=True)
class Solved:
    """What the solver of the policy `optimal` says about its placement.

    Args:
        blocks: parts of the graph.
        programs: integer programs solved; parts of the same structure share one.
        seconds: it took.
        cost: of the programs' solutions, in the objective's unit, all parts together.
        bound: below which no placement can cost that has as few fraction bits at the parts' borders and
            chooses alike in parts of one structure.
        timed_out: programs stopped at the time limit; their cost is that of the best solution found.
        taken: policy whose placement was taken: `optimal`, or a greedy one that was cheaper.
        why: the reason, if that is not `optimal`.
    """

    blocks: int
    programs: int
    seconds: float
    cost: float
    bound: float
    timed_out: int
    taken: str
    why: str = ""

    @property
    def gap(self) -> float:
        """Part of the cost that a better solution might save at most."""
        return max(0.0, 1.0 - self.bound / self.cost) if self.cost > 0.0 else 0.0


@dataclass(frozen=True, slots=True)
class Placement:
    """A graph with its truncations, the fraction bits and the ring of every value.

    Nodes besides the arithmetic: `trunc` drops fraction bits (its `mode` is a `Truncation`; truncate-reduce
    leaves a ring so many bits narrower), `lift` adds some, `extend` goes to a wider ring, `narrow` to a
    smaller one. The operands of every other operation stand in the ring of its result, but for `select`.

    Args:
        graph: with these nodes; a constant stands once for each encoding.
        frac_bits: of every value.
        widths: bits of the ring of every value.
        names: value of the graph before -> value that stands for it.
        target: the rings.
        policy: that made it.
        solved: what the solver says, for `optimal`.
    """

    graph: Graph
    frac_bits: Mapping[str, int]
    widths: Mapping[str, int]
    names: Mapping[str, str]
    target: RingTarget
    policy: str
    solved: Solved | None = None

    def _count(self, op: str) -> tuple[int, int]:
        sizes = [node.type.size for node in self.graph.nodes if node.op == op]
        return len(sizes), sum(sizes)

    @property
    def truncations(self) -> int:
        """Number of truncations, each of a whole tensor."""
        return self._count("trunc")[0]

    @property
    def truncated_elements(self) -> int:
        """Elements truncated: what a protocol on additive shares pays for."""
        return self._count("trunc")[1]

    @property
    def extensions(self) -> int:
        """Number of re-extensions to a wider ring."""
        return self._count("extend")[0]

    @property
    def extended_elements(self) -> int:
        """Elements re-extended: what a protocol on masked wires pays for."""
        return self._count("extend")[1]

    @property
    def compared_elements(self) -> int:
        """Comparisons with a public threshold, by the element."""
        return sum(comparisons(node) for node in self.graph.nodes)


def comparisons(node: Node) -> int:
    """Comparisons with public thresholds that a node makes."""
    if node.op != "select":
        return 0
    thresholds = len(numbers(node.attrs, "breaks"))
    rows = len(numbers(node.attrs, "table")) // (thresholds + 1)
    return node.type.size // rows * thresholds


def magnitude(node: Node) -> int:
    """The smallest m with |x| <= 2^m on the calibrated range, but at least -10."""
    bound = node.type.bound
    if bound is None:
        raise CompileError(f"{node.name} has no calibrated range", where=node.origin)
    return max(ceil(log2(bound)), _LEAST_MAGNITUDE) if bound > 0.0 else _LEAST_MAGNITUDE
