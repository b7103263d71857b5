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

from dataclasses import replace

from cipherformer.errors import LimitError
from cipherformer.graph import Graph
from cipherformer.passes.greedy import Greedy
from cipherformer.passes.placement import MOVES, PRODUCTS, Placement, magnitude
from cipherformer.targets.ring import RingTarget

POLICIES = ("every", "lazy", "hoisted")

__all__ = ["MOVES", "POLICIES", "PRODUCTS", "Placement", "magnitude", "place"]


def place(graph: Graph, target: RingTarget, policy: str = "hoisted") -> Placement:
    """Place truncations in a calibrated graph of the ring dialect.

    Raises:
        LimitError: a value cannot fit the ring; names its origin, its bound and the smallest ring that would
            do.
    """
    if policy not in POLICIES:
        raise LimitError(f"no policy is called {policy}", fix=f"take one of {', '.join(POLICIES)}")
    found = [Greedy(graph, target, name).run() for name in POLICIES[: POLICIES.index(policy) + 1]]
    best = min(reversed(found), key=lambda p: p.truncated_elements)
    return replace(best, policy=policy)
