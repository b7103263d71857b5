"""Decide where truncations stand: statically, from fraction bits and magnitudes alone.

A value with s fraction bits and |x| < 2^m keeps the invariant s + m + 1 + guard <= width. Sums need equal s;
products add s; a truncation lowers s and is what a protocol pays for, by the element. Policies:

- `every`: after each product that leaves more fraction bits than the target's, as most protocols do.
- `lazy`: in topological order, only where the next operation would break the invariant; of its operands
  the choice with the fewest elements is truncated, once for all readers.
- `hoisted`: as lazy, but the truncation stands at the smallest tensor from which the operand was moved or
  expanded, and is shared by everything that was.

`lazy` keeps the better of itself and `every`, `hoisted` the better of itself and `lazy`: greedy choices
carry no guarantee of their own. Free: products with integers and with powers of two (a shift of the binary
point), sums that are truncated once after an accumulation, lifts (local products with 2^k).

Source: Yubeaton et al., arXiv 2412.01042 (the idea; the policies are described there in words).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf

from cipherformer.errors import LimitError
from cipherformer.graph import Graph
from cipherformer.passes.greedy import Greedy
from cipherformer.passes.optimal import optimal
from cipherformer.passes.placement import MOVES, PRODUCTS, Placement, Solved, magnitude
from cipherformer.passes.sites import Objective
from cipherformer.passes.versions import TooLargeError
from cipherformer.targets.ring import WIDEST, RingTarget

GREEDY = ("every", "lazy", "hoisted")
POLICIES = (*GREEDY, "optimal")
SECONDS = 20.0

__all__ = ["GREEDY", "MOVES", "POLICIES", "PRODUCTS", "Objective", "Placement", "magnitude", "place"]


def place(
    graph: Graph,
    target: RingTarget,
    policy: str = "hoisted",
    *,
    objective: Objective | None = None,
    seconds: float = SECONDS,
    on_program: Callable[[int, int], None] | None = None,
) -> Placement:
    """Place truncations in a calibrated graph of the ring dialect.

    Args:
        graph: calibrated.
        target: the rings; the greedy policies use the widest only.
        policy: one of `POLICIES`.
        objective: what `optimal` makes small; the number of truncated elements by default.
        seconds: for each program of `optimal`.
        on_program: called with (programs done, programs in all).

    Raises:
        LimitError: a value cannot fit the ring; names its origin, its bound and the smallest ring that would
            do for the whole graph.
    """
    if policy not in POLICIES:
        raise LimitError(f"no policy is called {policy}", fix=f"take one of {', '.join(POLICIES)}")
    aim = objective or Objective()
    try:
        found = [Greedy(graph, target, name).run() for name in GREEDY[: POLICIES.index(policy) + 1]]
    except TooLargeError as error:
        raise _with_ring(error, graph, target) from None
    if policy != "optimal":
        return replace(min(reversed(found), key=lambda p: p.truncated_elements), policy=policy)
    best = min(reversed(found), key=aim.of)
    solved = optimal(graph, target, aim, found[-1], seconds=seconds, on_program=on_program)
    if target.narrower and (solved is None or solved.solved is None or solved.solved.timed_out):
        bound = solved.solved.bound if solved is not None and solved.solved is not None else 0.0
        single = _in_one_ring(graph, target, aim, found[-1], seconds, bound, on_program)
        solved = _better(solved, single, aim)
    if solved is not None and aim.of(solved) <= aim.of(best):
        return solved
    why = "the solver found no placement in its time"
    book = Solved(0, 0, 0.0, inf, 0.0, 0, best.policy, why)
    if solved is not None and solved.solved is not None:
        why = f"the solver's placement costs {aim.of(solved):.6g}, the greedy one {aim.of(best):.6g}"
        book = replace(solved.solved, taken=best.policy, why=why)
    return replace(best, policy=policy, solved=book)


def _in_one_ring(
    graph: Graph,
    target: RingTarget,
    aim: Objective,
    start: Placement,
    seconds: float,
    bound: float,
    on_program: Callable[[int, int], None] | None,
) -> Placement | None:
    """`optimal` without the narrower rings: a smaller program, which the solver finishes. `bound` is what is
    known with them, so that the gap stays that of the harder program."""
    single = replace(target, narrower=())
    found = optimal(graph, single, aim, start, seconds=seconds, on_program=on_program)
    if found is None or found.solved is None:
        return found
    why = "several rings were too hard in the time: this is the optimum in the widest one"
    book = replace(found.solved, bound=min(bound, found.solved.cost), taken="optimal in one ring", why=why)
    return replace(found, target=target, solved=book)


def _better(a: Placement | None, b: Placement | None, aim: Objective) -> Placement | None:
    known = [p for p in (a, b) if p is not None]
    return min(known, key=aim.of) if known else None


def _with_ring(error: TooLargeError, graph: Graph, target: RingTarget) -> LimitError:
    """The same error with the smallest ring in which the whole graph can be placed."""
    narrow, wide = target.width, WIDEST + 1
    while wide - narrow > 1:
        middle = (narrow + wide) // 2
        try:
            Greedy(graph, replace(target, width=middle, narrower=()), "lazy").run()
            wide = middle
        except TooLargeError:
            narrow = middle
    if wide > WIDEST:
        fix = f"no ring up to {WIDEST} bits would do: scale the layer's values down, or take fewer bits"
    else:
        fix = f"the smallest ring that would do for the model has {wide} bits; fewer fraction bits help too"
    return LimitError(error.what, where=error.where, why=error.why, fix=fix)
