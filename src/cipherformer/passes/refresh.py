"""Where to refresh: the cheapest set of values, by a shortest path over levels.

A step costs more at a higher level, so each runs as low as its readers allow; what is left to decide is which
values are refreshed. A refreshed value serves all its readers, hence a refresh after a residual sum serves
the branch and the skip. Going from the last step to the first, a label holds the level that each live value
must have; labels that another one beats in every respect are dropped (a shortest path with resources).

One call refreshes two values if neither depends on the other. Calls form stages: a value's stage is greater
than those of all refreshes behind it, and values of one stage may share a call. A refresh may wait `WAIT`
stages for a partner. With that, and up to `MOST_LABELS` labels, the result is the optimum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MOST_LABELS = 1024
WAIT = 2


@dataclass(frozen=True, slots=True)
class Item:
    """A step as placement sees it.

    Args:
        inputs: indices of earlier items.
        depth: levels between inputs and result.
        costs: seconds by the level of the inputs, never falling; index 0 to the highest level.
        refreshable: False for what the client sends, and where a refresh is forbidden.
    """

    inputs: tuple[int, ...]
    depth: int
    costs: tuple[float, ...]
    refreshable: bool = True


@dataclass(frozen=True, slots=True)
class Calls:
    """What a refresh needs, gives and costs.

    Args:
        lowest: level that a value must have to be refreshed.
        highest: level of a refreshed value, and the highest level of all.
        first: seconds of a call with one value.
        second: seconds that a second value adds; not less than 0, not more than `first`; None if a call
            takes one value only.
    """

    lowest: int
    highest: int
    first: float
    second: float | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """Where values are refreshed.

    Args:
        cost: seconds of all steps and refreshes.
        calls: the values of each call, in an order in which they can be made.
    """

    cost: float
    calls: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class _Label:
    """A partial placement: what is decided from the end to here.

    Args:
        cost: so far.
        need: level of each live value.
        stage: largest stage of a refresh that each live value leads to; 0 for none.
        half: stages that have a call with room.
        made: (value, its stage, those made before), or None.
    """

    cost: float
    need: tuple[int, ...]
    stage: tuple[int, ...]
    half: frozenset[int]
    made: _Made | None


_Made = tuple[int, int, "_Made | None"]


def place(items: Sequence[Item], outputs: Sequence[int], calls: Calls) -> Placement | None:
    """The cheapest placement; None if some step is deeper than a refresh allows."""
    live = sorted(set(outputs))
    labels = [_Label(0.0, (0,) * len(live), (0,) * len(live), frozenset(), None)]
    for i in reversed(range(len(items))):
        item = items[i]
        at = live.index(i)
        after = sorted({*live[:at], *live[at + 1 :], *item.inputs})
        seen = {v: k for k, v in enumerate(live)}
        reads = frozenset(item.inputs)
        candidates = []
        for label in labels:
            for need, stage, cost, half, made in _choices(i, item, label, at, calls):
                level_in = need + item.depth
                if level_in > calls.highest:
                    continue
                needs = tuple(
                    max(label.need[seen[v]] if v in seen else 0, level_in if v in reads else 0) for v in after
                )
                stages = tuple(
                    max(label.stage[seen[v]] if v in seen else 0, stage if v in reads else 0) for v in after
                )
                # A call with room is of no use once every live value leads to a later one.
                useful = frozenset(s for s in half if s > min(stages, default=0))
                candidates.append(_Label(cost + item.costs[level_in], needs, stages, useful, made))
        labels = _best(candidates, calls)
        live = after
        if not labels:
            return None
    best = min(labels, key=lambda label: label.cost)
    return Placement(best.cost, _grouped(best.made, calls))


def _choices(
    i: int, item: Item, label: _Label, at: int, calls: Calls
) -> list[tuple[int, int, float, frozenset[int], _Made | None]]:
    """(level, stage, cost so far, calls with room, refreshes) with and without a refresh of value i."""
    stage = label.stage[at]
    out = [(label.need[at], stage, label.cost, label.half, label.made)]
    if not item.refreshable or label.need[at] <= calls.lowest:
        return out
    for s in range(stage + 1, stage + 1 + (WAIT if calls.second is not None else 0) + 1):
        made = (i, s, label.made)
        if calls.second is not None and s in label.half:
            out.append((calls.lowest, s, label.cost + calls.second, label.half - {s}, made))
        else:
            half = label.half | {s} if calls.second is not None else label.half
            out.append((calls.lowest, s, label.cost + calls.first, half, made))
    return out


def _best(candidates: list[_Label], calls: Calls) -> list[_Label]:
    """The labels that no other one beats, at most `MOST_LABELS`, cheapest first."""
    saved = calls.first - (calls.second or 0.0)
    kept: list[_Label] = []
    for label in sorted(candidates, key=lambda x: (x.cost, sum(x.need), sum(x.stage))):
        if len(kept) == MOST_LABELS:
            break
        if not any(_beats(other, label, saved) for other in kept):
            kept.append(label)
    return kept


def _beats(a: _Label, b: _Label, saved: float) -> bool:
    """True if whatever b leads to, a leads to at no more cost."""
    return (
        a.cost + saved * len(b.half - a.half) <= b.cost
        and all(x <= y for x, y in zip(a.need, b.need, strict=True))
        and all(x <= y for x, y in zip(a.stage, b.stage, strict=True))
    )


def _grouped(made: _Made | None, calls: Calls) -> tuple[tuple[int, ...], ...]:
    """Values by call, the greatest stage (the first to run) first."""
    by_stage: dict[int, list[int]] = {}
    while made is not None:
        value, stage, made = made
        by_stage.setdefault(stage, []).append(value)
    width = 1 if calls.second is None else 2
    return tuple(
        tuple(values[k : k + width])
        for _, values in sorted(by_stage.items(), reverse=True)
        for k in range(0, len(values), width)
    )
