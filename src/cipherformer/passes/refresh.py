"""Where to refresh: the cheapest set of values, by a shortest path over levels.

A step costs more at a higher level, so each runs as low as its readers allow; what is left to decide is which
values are refreshed. A refreshed value serves all its readers, hence a refresh after a residual sum serves
the branch and the skip. Going from the last step to the first, a label holds the level that each live value
must have; labels that another one beats in every respect are dropped (a shortest path with resources), and
those that cannot become cheaper than a placement found before with few labels.

One call refreshes two values if neither depends on the other. Calls form stages: a value's stage is greater
than those of all refreshes behind it, and values of one stage may share a call. A refresh may wait `WAIT`
stages for a partner. With that, and up to `MOST_LABELS` labels at once, the result is the optimum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_LABELS, FEW_LABELS = 2048, 64
WAIT = 2
TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Item:
    """A step as placement sees it.

    Args:
        inputs: indices of earlier items.
        depth: levels between inputs and result.
        costs: seconds by the level of the inputs, never falling; index 0 to the highest level.
        refreshable: False for what the client sends, and where a refresh is forbidden.
        weight: what a call for this value costs, in calls; not 1 only where calls take one value.
    """

    inputs: tuple[int, ...]
    depth: int
    costs: tuple[float, ...]
    refreshable: bool = True
    weight: float = 1.0


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


@dataclass(frozen=True, eq=False, slots=True)
class _Labels:
    """Partial placements, decided from the end to some step; one row each.

    Args:
        cost: [n] seconds so far.
        need: [n, live] level of each live value.
        stage: [n, live] largest stage of a refresh that each live value leads to; 0 for none.
        half: [n] bit mask of the stages, modulo 64, that have a call with room.
        parent: [n] row of the label before, among those of the step after.
        made: [n] stage at which this step's value is refreshed; 0 if it is not.
    """

    cost: NDArray[np.float64]
    need: NDArray[np.int32]
    stage: NDArray[np.int32]
    half: NDArray[np.uint64]
    parent: NDArray[np.int64]
    made: NDArray[np.int32]

    def rows(self, which: NDArray[np.int64]) -> _Labels:
        """Some of them."""
        return _Labels(
            self.cost[which],
            self.need[which],
            self.stage[which],
            self.half[which],
            self.parent[which],
            self.made[which],
        )


def place(
    items: Sequence[Item], outputs: Sequence[int], calls: Calls, most_labels: int = MOST_LABELS
) -> Placement | None:
    """The cheapest placement; None if some step is deeper than a refresh allows."""
    quick = _search(items, outputs, calls, min(FEW_LABELS, most_labels), np.inf)
    if most_labels <= FEW_LABELS:
        return quick
    limit = np.inf if quick is None else quick.cost
    return _search(items, outputs, calls, most_labels, limit) or quick


def _search(
    items: Sequence[Item], outputs: Sequence[int], calls: Calls, most: int, limit: float
) -> Placement | None:
    live = sorted(set(outputs))
    zeros = np.zeros((1, len(live)), np.int32)
    nothing = np.zeros(1, np.int32)
    labels = _Labels(np.zeros(1), zeros, zeros, np.zeros(1, np.uint64), np.zeros(1, np.int64), nothing)
    floor = np.cumsum([0.0] + [item.costs[min(item.depth, calls.highest)] for item in items])
    history = []
    for i in reversed(range(len(items))):
        labels, live = _step(i, items[i], labels, live, calls)
        rest = limit * (1 + TOLERANCE) - floor[i]
        labels = _best(labels.rows(np.nonzero(labels.cost <= rest)[0]), calls, most)
        if not len(labels.cost):
            return None
        history.append((i, labels))
    at = int(np.argmin(labels.cost))
    cost = float(labels.cost[at])
    stages: dict[int, list[int]] = {}
    for i, past in reversed(history):
        if past.made[at]:
            stages.setdefault(int(past.made[at]), []).append(i)
        at = int(past.parent[at])
    return Placement(cost, _grouped(stages, calls))


def _step(i: int, item: Item, labels: _Labels, live: list[int], calls: Calls) -> tuple[_Labels, list[int]]:
    """The labels after step i is decided, and the values that are live then."""
    at = live.index(i)
    after = sorted({*live[:at], *live[at + 1 :], *item.inputs})
    old = [live.index(v) if v in live else -1 for v in after]
    reads = np.array([v in item.inputs for v in after])
    choices = [(labels, labels.need[:, at], labels.stage[:, at], 0)]
    if item.refreshable:
        useful = labels.rows(np.nonzero(labels.need[:, at] > calls.lowest)[0])
        lowest = np.full(len(useful.cost), calls.lowest, np.int32)
        waits = 0 if calls.second is None else WAIT
        choices += [(useful, lowest, useful.stage[:, at] + 1 + w, 1) for w in range(waits + 1)]
    rows = np.nonzero(labels.need[:, at] > calls.lowest)[0]
    made = []
    for part, level, stage, refreshed in choices:
        cost, half, bit = part.cost, part.half, np.uint64(1) << (stage % 64).astype(np.uint64)
        if refreshed:
            open_ = (half & bit) != 0
            second = calls.first if calls.second is None else calls.second
            cost = cost + np.where(open_, second, calls.first) * item.weight
            half = half ^ bit if calls.second is not None else half
        level_in = level + item.depth
        fits = np.nonzero(level_in <= calls.highest)[0]
        need = np.where(reads, level_in[:, None], 0)
        stages = np.where(reads, stage[:, None], 0)
        for k, j in enumerate(old):
            if j >= 0:
                need[:, k] = np.maximum(need[:, k], part.need[:, j])
                stages[:, k] = np.maximum(stages[:, k], part.stage[:, j])
        parent = rows if refreshed else np.arange(len(cost))
        new = _Labels(
            cost + np.asarray(item.costs)[np.minimum(level_in, calls.highest)],
            need.astype(np.int32),
            stages.astype(np.int32),
            half,
            parent,
            np.where(refreshed, stage, 0).astype(np.int32),
        )
        made.append(new.rows(fits))
    joined = _Labels(*(np.concatenate([getattr(m, f) for m in made]) for f in _Labels.__slots__))
    return _forget(joined), after


def _forget(labels: _Labels) -> _Labels:
    """Without calls that have room but are of no use, as every live value leads to a later one."""
    lowest = labels.stage.min(axis=1) if labels.stage.shape[1] else np.zeros(len(labels.cost), np.int32)
    top = int(labels.stage.max(initial=0)) + WAIT + 1
    half = np.zeros_like(labels.half)
    for s in range(max(1, top - 60), top + 1):
        bit = np.uint64(1) << np.uint64(s % 64)
        half |= np.where(lowest < s, labels.half & bit, np.uint64(0))
    return _Labels(labels.cost, labels.need, labels.stage, half, labels.parent, labels.made)


def _best(labels: _Labels, calls: Calls, most: int) -> _Labels:
    """The labels that no other one beats, at most `most`, cheapest first.

    One beats another if whatever the other leads to, it leads to at no more cost: a call with room that it
    lacks may save the other the difference of a first and a second value.
    """
    saved = calls.first - (calls.first if calls.second is None else calls.second)
    order = np.lexsort((labels.stage.sum(axis=1), labels.need.sum(axis=1), labels.cost))
    labels = labels.rows(order)
    key = np.concatenate([labels.need, labels.stage], axis=1)
    kept = np.zeros(min(most, len(order)), np.int64)
    count = 0
    for row in range(len(order)):
        if count == most:
            break
        mine = kept[:count]
        lacks = _ones(labels.half[row] & ~labels.half[mine])
        beaten = (labels.cost[mine] + saved * lacks <= labels.cost[row]) & (key[mine] <= key[row]).all(axis=1)
        if not beaten.any():
            kept[count] = row
            count += 1
    return labels.rows(kept[:count])


def _ones(masks: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Number of ones of each mask."""
    bits = np.unpackbits(np.ascontiguousarray(masks).view(np.uint8).reshape(-1, 8), axis=1)
    return bits.sum(axis=1, dtype=np.int64)


def _grouped(stages: dict[int, list[int]], calls: Calls) -> tuple[tuple[int, ...], ...]:
    """Values by call, the greatest stage (the first to run) first."""
    width = 1 if calls.second is None else 2
    return tuple(
        tuple(sorted(values)[k : k + width])
        for _, values in sorted(stages.items(), reverse=True)
        for k in range(0, len(values), width)
    )
