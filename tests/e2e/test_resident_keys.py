"""Keys that are read when a step needs them change no bit, and take the memory that was allowed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from small_models import attention_graph, ring, samples

from cipherformer.backends.ckks.client import generate_keys
from cipherformer.backends.ckks.resident import ResidentKeys
from cipherformer.backends.ckks.server import Evaluation
from cipherformer.compiler import Options, compile_graph
from cipherformer.errors import FormatError, KeyMismatchError


def test_answers_are_the_same_with_few_keys_in_memory():
    plan = compile_graph(attention_graph(8, 8, 2), samples((1, 8, 3)), Options(insecure_target=ring(11)))
    keys = generate_keys(plan.signature, insecure=True)
    given, query = dict(keys.evaluation_keys()), keys.encrypt(samples((1, 8, 3))[0])
    every = Evaluation(plan, threads=1)
    for name, data in given.items():
        every.add_key(name, data)
    wanted = [every.run(query)[0] for _ in range(2)]
    total = every.resident.peak_bytes
    few = Evaluation(plan, threads=1, max_key_bytes=total // 4)
    for name in given:
        few.add_key(name, given[name], lambda name=name: given[name])
    assert few.missing_keys() == ()
    assert [few.run(query)[0] for _ in range(2)] == wanted
    assert few.resident.loads > 0
    size = {name: known.memory_bytes for name, known in few.resident._known.items()}
    largest_step = max(sum(size[name] for name in names) for names in few.resident.needs)
    assert few.resident.peak_bytes <= max(total // 4, largest_step) < total
    assert set().union(*few.resident.needs) == set(given)


def test_a_key_that_can_no_longer_be_read_is_missing_afterwards():
    plan = compile_graph(attention_graph(8, 8, 2), samples((1, 8, 3)), Options(insecure_target=ring(11)))
    keys = generate_keys(plan.signature, insecure=True)
    given = dict(keys.evaluation_keys())
    server = Evaluation(plan, threads=1, max_key_bytes=1)
    for name in given:
        server.add_key(name, given[name], lambda name=name: given[name])
    query = keys.encrypt(samples((1, 8, 3))[0])
    name = next(iter(server.resident.needs[-1] or server.resident.needs[1]))
    given[name] = given[name][:100]
    with pytest.raises(FormatError, match=name):
        server.run(query)
    assert server.missing_keys() == (name,)
    with pytest.raises(KeyMismatchError, match="missing"):
        server.run(query)


@dataclass
class FakeKey:
    kind: str = "rotate"
    steps: int = 0
    memory_bytes: int = 10


@dataclass
class FakeKeys:
    held: set[int] = field(default_factory=set)

    def add(self, key: FakeKey) -> None:
        self.held.add(key.steps)

    def remove(self, kind: str, steps: int) -> None:
        self.held.remove(steps)


def resident(
    needs: list[set[int]], limit: int, pinned: Callable[[int], bool] = lambda n: False
) -> ResidentKeys:
    out = ResidentKeys(FakeKeys(), [frozenset(map(str, n)) for n in needs], limit)
    for n in sorted(set().union(*needs)):
        key = FakeKey(steps=n)
        out.add(str(n), key, None if pinned(n) else lambda key=key: key)
    return out


def test_the_key_whose_next_use_is_farthest_goes():
    kept = resident([{1}, {2}, {3}, {1}, {2}], limit=20)
    assert kept.keys.held == {1, 2}  # 3 found no room
    for step in range(5):
        kept.enter(step)
    # 3 takes the place of 2, whose next use was farther than that of 1; then 2 that of 3.
    assert kept.loads == 2 and kept.keys.held == {1, 2} and kept.peak_bytes == 20


def test_what_a_step_needs_is_held_together_and_what_cannot_be_read_again_stays():
    kept = resident([{1, 2, 3}, {4}], limit=10, pinned=lambda n: n == 1)
    kept.enter(0)
    assert kept.keys.held == {1, 2, 3}
    kept.enter(1)
    assert kept.keys.held == {1, 4}


@pytest.mark.parametrize("seed", range(5))
def test_no_more_keys_are_read_than_least_recently_used_would(seed: int):
    rng = np.random.default_rng(seed)
    needs = [set(map(int, rng.integers(0, 12, size=2))) for _ in range(40)]
    kept = resident(needs, limit=60)
    kept.loads, recent, misses = 0, [int(n) for n in kept._here], 0
    for step, names in enumerate(needs):
        kept.enter(step)
        for n in names:
            misses += n not in recent
            recent = [m for m in recent if m != n] + [n]
        recent = recent[-6:]
    assert kept.loads <= misses and len(kept.keys.held) <= 6
