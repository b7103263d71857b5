"""One block as a mixed-integer program, solved by HiGHS.

For a value v: s fraction bits of its raw version, q of the other one, t = 1 if it is truncated, x = 1 if
re-extended, one-hot ring widths of both; for each reader, y = 1 if it takes the other version. Every s is an
upper bound of what comes out: lower scales never break an invariant, so products need s >= sum of scales and
sums s >= each. A path variable counts rounds. In one ring and without rounds the other version serves every
reader. Several rings are hard for the solver from nothing: it starts from one ring, then chooses rings for
those truncations, then everything below that cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np

from cipherformer.passes.milp import Rows, Terms, plus, times
from cipherformer.passes.sites import Site, Steps
from cipherformer.targets.ring import RingTarget

_LARGEST_COST = 100.0
_TIE = 1e-3
"""Of two placements that cost the same, the one that truncates less: this share of a step's price."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What the program decided for a site.

    Args:
        width: ring of the operation and of the raw version.
        other: fraction bits of the other version, or None if there is none.
        other_width: its ring, if it was re-extended; None if it stays as the truncation leaves it.
        readers: sites that read the other version.
    """

    width: int
    other: int | None
    other_width: int | None
    readers: frozenset[int]


@dataclass(frozen=True, slots=True)
class Solution:
    """A solved program.

    Args:
        choices: by site of the block.
        cost: of it, in the objective's unit.
        bound: that no solution is below.
        timed_out: stopped at the time limit with the best solution so far.
        seconds: it took.
    """

    choices: tuple[Choice, ...]
    cost: float
    bound: float
    timed_out: bool
    seconds: float


@dataclass(slots=True)
class _Value:
    """Variables of one site; widths as one-hot variables, none in a single ring."""

    raw: int
    other: int
    truncated: int
    extended: int | None
    widths: tuple[int, ...]
    other_widths: tuple[int, ...]
    readers: dict[int, int]
    opened: int | None = None
    share: int | None = None
    depth: int | None = None


class Program:
    """The program of a block."""

    def __init__(
        self, sites: Sequence[Site], target: RingTarget, steps: Steps, rings: Sequence[int] | None = None
    ) -> None:
        self.sites, self.target, self.steps = sites, target, steps
        self.rings = tuple(rings or target.widths)
        self.several = len(self.rings) > 1
        self.tied = not self.several and steps.round == 0.0
        self.slack = target.width - target.room
        self.rows = Rows()
        largest = max((site.size for site in sites), default=1)
        self.unit = _LARGEST_COST / (largest * max([*steps.trunc[1], *steps.extend[1], 1e-30]))
        self.tie = _TIE * _LARGEST_COST / largest if steps.round else 0.0
        self.constant = 0.0
        self.lower_bound = (-np.inf, False)
        self.end = self.rows.new(0.0, np.inf, cost=steps.round * self.unit) if steps.round else None
        self.least = _least_scales(sites)
        self.values: list[_Value] = []
        for index, site in enumerate(sites):
            self.values.append(self._value(site, *self.least[index]))
            self._versions(site, self.values[-1])
            self._operation(index, site)
            if steps.opening[1][-1]:
                self._opening(index, site)
            if self.end is not None:
                self._path(index, site)

    def solve(self, seconds: float) -> Solution | None:
        """The best placement found in so many seconds; None if there is none."""
        start = perf_counter()
        x, bound, late = self.rows.solve(seconds)
        self.lower_bound = (bound / self.unit + self.constant, late)
        if x is None:
            return None
        cost = float(np.dot(x, self.rows.cost)) / self.unit + self.constant
        choices = tuple(self._choice(x, s, v) for s, v in zip(self.sites, self.values, strict=True))
        bound = min(cost, bound / self.unit + self.constant)
        return Solution(choices, cost, bound, late, perf_counter() - start)

    def follow(self, choices: Sequence[Choice]) -> None:
        """Fixes which values are truncated, and for whom, as in a solution for one ring."""
        for v, choice in zip(self.values, choices, strict=True):
            self._fix(v.truncated, choice.other is not None)
            for reader, y in v.readers.items():
                if reader in choice.readers:
                    self._fix(y, True)

    def _fix(self, variable: int, value: bool) -> None:
        self.rows.low[variable] = self.rows.high[variable] = float(value)

    def below(self, cost: float) -> None:
        """Admits only solutions that cost less."""
        terms = {i: -c for i, c in enumerate(self.rows.cost) if c}
        self.rows.at_least(terms, -(cost - self.constant) * self.unit)

    def _choice(self, x: np.ndarray, site: Site, v: _Value) -> Choice:
        width = self._ring(x, v.widths)
        truncated = x[v.truncated] > 0.5
        extended = v.extended is not None and x[v.extended] > 0.5
        if self.tied:
            readers = frozenset(v.readers)
        else:
            readers = frozenset(reader for reader, y in v.readers.items() if x[y] > 0.5)
        if not (truncated or extended) or not readers:
            return Choice(width, None, None, frozenset())
        back = self.steps.reduces and not self.several
        other_width = self._ring(x, v.other_widths) if extended or back else None
        other = round(float(x[v.other])) if self.several else site.floor
        return Choice(width, other, other_width, readers)

    def _ring(self, x: np.ndarray, flags: tuple[int, ...]) -> int:
        return next((w for w, f in zip(self.rings, flags, strict=False) if x[f] > 0.5), self.target.width)

    # --- variables of a value ---

    def _width(self, flags: tuple[int, ...]) -> tuple[dict[int, float], float]:
        """A ring's width as terms and a constant."""
        if not flags:
            return {}, float(self.target.width)
        return {f: float(w) for f, w in zip(flags, self.rings, strict=True)}, 0.0

    def _one_hot(self, charges: Sequence[float]) -> tuple[int, ...]:
        if not self.several:
            self.constant += charges[-1] if charges else 0.0
            return ()
        charges = charges or [0.0] * len(self.rings)
        flags = tuple(self.rows.flag(c * self.unit) for c in charges)
        self.rows.at_least(dict.fromkeys(flags, 1.0), 1.0)
        self.rows.at_least(dict.fromkeys(flags, -1.0), -1.0)
        return flags

    def _value(self, site: Site, least: int, other_least: int) -> _Value:
        rows, given = self.rows, site.kind == "given"
        most = float(self._most(site))
        raw = rows.new(float(least), float(site.base) if given else max(most, least - 1.0))
        other = rows.new(float(other_least), max(most, float(other_least)), whole=self.several)
        price = self.steps.trunc[1][-1] if not self.several else 0.0
        if not self.several and self.steps.reduces:
            price += self.steps.extend[1][-1]
        truncated = rows.flag(site.size * (price * self.unit + self.tie))
        extended = rows.flag(site.size * self.tie) if self.several else None
        widths = self._one_hot(site.charges)
        if self.several and (given or site.limit is not None):
            rows.low[widths[-1]] = 1.0
        return _Value(raw, other, truncated, extended, widths, self._one_hot(()), {})

    def _most(self, site: Site) -> int:
        room = self.target.room - site.fit
        return room if site.limit is None else min(room, site.limit)

    def _versions(self, site: Site, v: _Value) -> None:
        """The other version's scale and ring, and what the steps to it cost."""
        rows, span = self.rows, max(0, self._span(site))
        rows.at_least({v.other: 1.0, v.raw: -1.0, v.truncated: float(span)}, 0.0)
        rows.at_least({v.other: 1.0, v.truncated: -float(site.floor)}, 0.0)
        if v.extended is None:
            return
        rows.at_least({v.raw: 1.0, v.other: -1.0}, 0.0)
        here, _ = self._width(v.widths)
        there, _ = self._width(v.other_widths)
        reduced: Terms = {v.raw: -1.0, v.other: 1.0} if self.steps.reduces else {}
        far = float(self.target.width)
        rows.at_least(plus(here, reduced, times(there, -1.0), {v.extended: far}), 0.0)
        rows.at_least(plus(there, {v.other: -1.0}), float(site.magnitude + self.slack))
        for i, w in enumerate(self.rings):
            for price, flag, ring in (
                (self.steps.trunc[1][i], v.truncated, v.widths[i]),
                (self.steps.extend[1][i], v.extended, v.other_widths[i]),
            ):
                if price:
                    both = rows.new(0.0, 1.0, cost=site.size * price * self.unit)
                    rows.at_least({both: 1.0, flag: -1.0, ring: -1.0}, -1.0)
            if w == self.rings[0]:  # going to the narrowest ring is no re-extension
                rows.at_least({v.extended: -1.0, v.other_widths[i]: -1.0}, -1.0)

    def _span(self, site: Site) -> int:
        top = site.base if site.kind == "given" else self._most(site)
        return top - site.floor

    # --- operations ---

    def _operation(self, index: int, site: Site) -> None:
        """Scales and rings of operands and result."""
        v, rows = self.values[index], self.rows
        ring, top = self._width(v.widths)
        if site.kind != "given":
            rows.at_least(plus(ring, {v.raw: -1.0}), site.fit + self.slack - top)
        total: dict[int, float] = {}
        for at in dict.fromkeys(site.reads):
            scale = self._reading(at, index)
            total = plus(total, {scale: float(site.reads.count(at))})
            if site.kind == "sum":
                rows.at_least({v.raw: 1.0, scale: -1.0}, 0.0)
            if site.takes is not None:
                rows.at_least({scale: -1.0}, -float(site.takes))
            fits = float(self.sites[at].magnitude + self.slack)
            rows.at_least(plus(ring, {scale: -1.0}), fits - top)
        if site.kind == "product":
            rows.at_least(plus({v.raw: 1.0}, times(total, -1.0)), float(site.base))
        elif site.kind == "select":
            rows.at_least({v.raw: 1.0}, float(site.base))

    def _reading(self, at: int, reader: int) -> int:
        """The scale at which a reader takes a value; its ring must be wide enough."""
        v, rows = self.values[at], self.rows
        if self.tied:
            v.readers[reader] = -1
            return v.other
        y = v.readers[reader] = rows.flag()
        taken: Terms = {v.truncated: 1.0} if v.extended is None else {v.truncated: 1.0, v.extended: 1.0}
        rows.at_least(plus(taken, {y: -1.0}), 0.0)
        scale = rows.new(0.0, float(self.target.room + 16))
        rows.at_least({scale: 1.0, v.other: -1.0}, 0.0)
        rows.at_least({scale: 1.0, v.raw: -1.0, y: float(max(0, self._span(self.sites[at])))}, 0.0)
        if self.several:
            far = float(self.rings[-1] - self.rings[0])
            mine = times(self._width(self.values[reader].widths)[0], -1.0)
            rows.at_least(plus(self._width(v.widths)[0], mine, {y: far}), 0.0)
            rows.at_least(plus(self._width(v.other_widths)[0], mine, {y: -far}), -far)
        return scale

    # --- openings of shares, and rounds ---

    def _opening(self, index: int, site: Site) -> None:
        """Shares that a step or an operation which is not local reads are opened once: then a wire."""
        v, rows = self.values[index], self.rows
        v.share = rows.new(1.0 if site.shares else 0.0, 1.0)
        for at in dict.fromkeys(site.reads):
            before = self.values[at]
            if site.shares or before.share is None or before.opened is None:
                continue
            rows.at_least({v.share: 1.0, before.share: -1.0, before.opened: 1.0}, 0.0)
        v.opened = rows.new(0.0, 1.0)
        if site.read:
            rows.at_least({v.opened: 1.0, v.share: -1.0}, 0.0)
        else:
            for step in (v.truncated, v.extended):
                if step is not None:
                    rows.at_least({v.opened: 1.0, v.share: -1.0, step: -1.0}, -1.0)
        rows.at_least({v.share: 1.0, v.opened: -1.0}, 0.0)
        if not self.several:
            rows.cost[v.opened] += site.size * self.steps.opening[1][-1] * self.unit
            return
        for i in range(len(self.rings)):
            cost = site.size * self.steps.opening[1][i] * self.unit
            both = rows.new(0.0, 1.0, cost=cost)
            rows.at_least({both: 1.0, v.opened: -1.0, v.widths[i]: -1.0}, -1.0)

    def _path(self, index: int, site: Site) -> None:
        """Rounds until the value stands, its opening included."""
        v, rows = self.values[index], self.rows
        assert self.end is not None
        v.depth = rows.new(0.0, np.inf)
        own: Terms = {v.opened: float(self.steps.opening[0])} if v.opened is not None else {}
        for at in dict.fromkeys(site.reads):
            before = self.values[at]
            assert before.depth is not None
            y = before.readers[index]
            base = plus({v.depth: 1.0, before.depth: -1.0}, times(own, -1.0))
            trunc, extend = float(self.steps.trunc[0]), float(self.steps.extend[0])
            if before.extended is None:
                both = trunc + (extend if self.steps.reduces else 0.0)
                rows.at_least(plus(base, {y: -both}), float(site.rounds))
                continue
            for steps in ((trunc, 0.0), (0.0, extend), (trunc, extend)):
                if sum(steps) == 0.0:
                    continue
                flags = {f: -s for f, s in zip((before.truncated, before.extended), steps, strict=True) if s}
                most = sum(steps)
                rows.at_least(plus(base, flags, {y: -most}), float(site.rounds) - most)
            rows.at_least(base, float(site.rounds))
        if not site.reads:
            rows.at_least(plus({v.depth: 1.0}, times(own, -1.0)), float(site.rounds))
        rows.at_least({self.end: 1.0, v.depth: -1.0}, 0.0)


def _least_scales(sites: Sequence[Site]) -> list[tuple[int, int]]:
    """For each site the fewest fraction bits of its raw version, and of the other one."""
    found: list[tuple[int, int]] = []
    for site in sites:
        of = [found[at][1] for at in site.reads]
        match site.kind:
            case "product":
                raw = sum(of) + site.base
            case "sum":
                raw = max(of)
            case _:
                raw = site.base
        found.append((raw, min(raw, site.floor)))
    return found


def solve(sites: Sequence[Site], target: RingTarget, steps: Steps, seconds: float) -> Solution | None:
    """The best placement found for a block; None if there is none."""
    if not target.narrower:
        return Program(sites, target, steps).solve(seconds)
    third = seconds / 3.0
    best = one = Program(sites, target, steps, (target.width,)).solve(third)
    if one is not None:
        chosen = Program(sites, target, steps)
        chosen.follow(one.choices)
        rings = chosen.solve(third)
        best = rings if rings is not None and rings.cost < one.cost else one
    every = Program(sites, target, steps)
    if best is not None:
        every.below(best.cost)
    found = every.solve(third)
    spent = sum(s.seconds for s in (one, found) if s is not None)
    if found is not None and (best is None or found.cost <= best.cost):
        return replace(found, seconds=spent)
    if best is None:
        return None
    bound, late = every.lower_bound
    return replace(best, bound=min(best.cost, bound), timed_out=late, seconds=spent)
