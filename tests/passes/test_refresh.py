"""Placement of refreshes: equal to the best of all placements on small graphs."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cipherformer.passes.refresh import Calls, Item, Placement, place


def cost_of(items: list[Item], outputs: list[int], calls: Calls, refreshed: set[int]) -> float | None:
    """Seconds of the steps if these values are refreshed; None if a level is too high."""
    need = dict.fromkeys(outputs, 0)
    total = 0.0
    for i in reversed(range(len(items))):
        item = items[i]
        level_in = (calls.lowest if i in refreshed else need[i]) + item.depth
        if level_in > calls.highest:
            return None
        total += item.costs[level_in]
        for v in item.inputs:
            need[v] = max(need.get(v, 0), level_in)
    return total


def acyclic(items: list[Item], groups: list[tuple[int, ...]]) -> bool:
    """Whether the calls can be made in some order: values wait for the calls behind their inputs."""
    group = {v: g for g in groups for v in g}
    done: set[int] = set()
    while True:
        ready = {
            i
            for i, item in enumerate(items)
            if i not in done
            and all(v in done and all(w in done for w in group.get(v, ())) for v in item.inputs)
        }
        if not ready:
            return len(done) == len(items)
        done |= ready


def pairings(values: list[int]):
    if not values:
        yield []
        return
    first, rest = values[0], values[1:]
    for p in pairings(rest):
        yield [(first,), *p]
    for k, other in enumerate(rest):
        for p in pairings(rest[:k] + rest[k + 1 :]):
            yield [(first, other), *p]


def brute_force(items: list[Item], outputs: list[int], calls: Calls) -> float | None:
    """The least cost over all sets of refreshed values and all ways to share calls."""
    able = [i for i, item in enumerate(items) if item.refreshable]
    best: float | None = None
    for count in range(len(able) + 1):
        for chosen in combinations(able, count):
            steps = cost_of(items, outputs, calls, set(chosen))
            if steps is None:
                continue
            for groups in pairings(list(chosen)):
                if any(len(g) == 2 for g in groups) and (calls.second is None or not acyclic(items, groups)):
                    continue
                total = steps + sum(calls.first + (calls.second or 0.0) * (len(g) - 1) for g in groups)
                best = total if best is None else min(best, total)
    return best


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[Item], list[int], Calls]:
    highest, lowest = draw(st.integers(4, 6)), draw(st.integers(0, 2))
    count = draw(st.integers(2, 7))
    items, read = [Item((), 0, (0.0,) * (highest + 1), False)], set()
    for i in range(1, count):
        # The newest value is likely to be read, so that graphs are deep.
        inputs = draw(st.sets(st.one_of(st.just(i - 1), st.integers(0, i - 1)), min_size=1, max_size=2))
        read |= inputs
        slope = draw(st.integers(0, 3))
        costs = tuple(1.0 + slope * level for level in range(highest + 1))
        items.append(Item(tuple(sorted(inputs)), draw(st.integers(0, 3)), costs, True))
    outputs = [i for i in range(count) if i not in read]
    first = draw(st.integers(1, 12))
    second = draw(st.one_of(st.none(), st.integers(0, first)))
    return items, outputs, Calls(lowest, highest, float(first), None if second is None else float(second))


def check(items: list[Item], outputs: list[int], calls: Calls, found: Placement) -> None:
    """The placement costs what it says, and its calls can be made."""
    refreshed = {v for g in found.calls for v in g}
    steps = cost_of(items, outputs, calls, refreshed)
    assert steps is not None
    shared = sum(calls.first + (calls.second or 0.0) * (len(g) - 1) for g in found.calls)
    assert found.cost == pytest.approx(steps + shared)
    assert acyclic(items, list(found.calls))


@settings(max_examples=300, deadline=None)
@given(problems())
def test_a_placement_is_the_best_of_all(problem):
    items, outputs, calls = problem
    best, found = brute_force(items, outputs, calls), place(items, outputs, calls)
    if best is None:
        assert found is None
        return
    assert found is not None
    check(items, outputs, calls, found)
    assert found.cost == pytest.approx(best)


def chain(depths: list[int], highest: int, skip: dict[int, int] | None = None) -> list[Item]:
    costs = tuple(float(level) for level in range(highest + 1))
    items = [Item((), 0, costs, False)]
    for i, depth in enumerate(depths, 1):
        inputs = {i - 1} | ({skip[i]} if skip and i in skip else set())
        items.append(Item(tuple(sorted(inputs)), depth, costs))
    return items


def test_nothing_is_refreshed_where_the_levels_last():
    found = place(chain([2, 3, 2], 8), [3], Calls(1, 8, 100.0))
    assert found is not None and found.calls == ()


def test_one_refresh_after_a_residual_sum_serves_both_readers():
    # 4 reads 3 and, around it, 2: the sum at 2 is what both hang on.
    items = chain([3, 2, 3, 2], 6, {4: 2})
    found = place(items, [4], Calls(1, 6, 100.0))
    assert found is not None and found.calls == ((2,),)


def test_two_parallel_values_share_a_call():
    costs = (0.0,) * 6
    items = [
        Item((), 0, costs, False),
        Item((0,), 4, costs),
        Item((0,), 4, costs),
        Item((1,), 4, costs),
        Item((2,), 4, costs),
        Item((3, 4), 0, costs),
    ]
    found = place(items, [5], Calls(1, 5, 10.0, 4.0))
    assert found is not None and [set(g) for g in found.calls] == [{1, 2}]
    assert found.cost == 14.0


def test_a_step_that_is_too_deep_has_no_placement():
    assert place(chain([2, 7], 6), [2], Calls(1, 6, 1.0)) is None


def test_a_deep_chain_takes_as_few_calls_as_its_levels_allow():
    items = chain([2] * 150, 13)
    found = place(items, [150], Calls(3, 13, 1e6))
    assert found is not None
    # 13 levels at the start and 10 after each refresh; the last span may go down to level 0.
    spans = -(-(300 - 12) // 10)
    assert len(found.calls) <= spans + 1
    check(items, [150], Calls(3, 13, 1e6), found)
