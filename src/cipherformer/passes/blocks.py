"""Cuts the sites of a graph into blocks with few values between them, and finds those of one structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from cipherformer.passes.sites import Site

WHOLE, LARGEST, SMALLEST = 90, 160, 40
"""Sites up to which a graph is one block; from which a block is cut at two values too; below which it is
joined with the next."""


@dataclass(frozen=True, slots=True)
class Block:
    """Some consecutive sites, as a program of their own.

    Args:
        sites: `given` ones first; `reads` count within the block.
        first: site of the graph that the first one that is not given is.
        given: how many are given.
    """

    sites: tuple[Site, ...]
    first: int
    given: int

    @property
    def shape(self) -> tuple[object, ...]:
        """Equal for blocks of one structure."""
        return (self.given, *(s.shape for s in self.sites))


def blocks(sites: Sequence[Site], limits: Mapping[int, int]) -> list[Block]:
    """All blocks of a graph.

    Args:
        sites: of the graph.
        limits: most fraction bits of the values between blocks, for every site: a placement that exists.
    """
    last = _last_reader(sites)
    cuts = _cuts(last)
    return [_block(sites, start, stop, last, limits) for start, stop in pairwise(cuts)]


def _last_reader(sites: Sequence[Site]) -> list[int]:
    last = list(range(len(sites)))
    for i, site in enumerate(sites):
        for at in site.reads:
            last[at] = i
    return last


def _cuts(last: Sequence[int]) -> list[int]:
    count = len(last)
    if count <= WHOLE:
        return [0, count]
    crossing = [0] * (count + 1)
    for i, stop in enumerate(last):
        for p in range(i + 1, stop + 1):
            crossing[p] += 1
    narrow = [p for p in range(1, count) if crossing[p] <= 1]
    cuts = [0]
    for p in [*narrow, count]:
        if p - cuts[-1] > LARGEST:
            cuts += _inner(crossing, cuts[-1], p)
        cuts.append(p)
    joined = [0]
    for p in cuts[1:-1]:
        if p - joined[-1] >= SMALLEST and count - p >= SMALLEST:
            joined.append(p)
    return [*joined, count]


def _inner(crossing: Sequence[int], start: int, stop: int) -> list[int]:
    """Cuts of a block that is too large: where fewest values cross, about every `LARGEST` / 2 sites."""
    cuts = []
    while stop - start > LARGEST:
        window = range(start + SMALLEST, min(start + LARGEST, stop - SMALLEST) + 1)
        start = min(reversed(window), key=lambda p: crossing[p])
        cuts.append(start)
    return cuts


def _block(
    sites: Sequence[Site], start: int, stop: int, last: Sequence[int], limits: Mapping[int, int]
) -> Block:
    outside = sorted({at for s in sites[start:stop] for at in s.reads if at < start})
    at = {old: new for new, old in enumerate([*outside, *range(start, stop)])}
    given = [
        replace(
            sites[i],
            kind="given",
            reads=(),
            base=limits[i],
            rounds=0,
            charges=(),
            shares=bool(sites[i].reads),
        )
        for i in outside
    ]
    inner = [
        replace(
            sites[i],
            reads=tuple(at[r] for r in sites[i].reads),
            limit=limits[i] if last[i] >= stop else None,
        )
        for i in range(start, stop)
    ]
    return Block((*given, *inner), start, len(given))


def joined(group: Sequence[Block]) -> Block:
    """One block whose solutions are right for all of a group of one structure."""
    first = group[0]
    sites = list(first.sites)
    for block in group[1:]:
        sites = [a.joined(b) for a, b in zip(sites, block.sites, strict=True)]
    mean = [replace(s, charges=tuple(c / len(group) for c in s.charges)) for s in sites]
    return replace(first, sites=tuple(mean))
