"""Layouts: slot maps, replication, and what a rotate-and-sum leaves behind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cipherformer.errors import CompileError
from cipherformer.kernels.layout import HOLE, REPLICATED, Layout, axis_bits, row_major, sum_bits

shapes = st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple)


@given(shapes, st.integers(0, 2))
def test_row_major_holds_every_element_and_repeats(shape, start):
    need = start + sum(axis_bits(s) for s in shape)
    layout = row_major(shape, need + 2, start=start)
    where = layout.slot_map()
    assert set(where[where >= 0]) == set(range(int(np.prod(shape))))
    assert np.array_equal(where, np.tile(where[: layout.period], layout.slots // layout.period))
    assert np.array_equal(where[layout.home_slots()], np.arange(int(np.prod(shape))))


def test_a_tensor_that_does_not_fit_is_refused():
    with pytest.raises(CompileError, match="slots"):
        row_major((64, 64), 8)


def test_a_layout_must_cover_its_shape_once():
    with pytest.raises(CompileError):
        Layout((4,), ((0, 0), REPLICATED))
    with pytest.raises(CompileError):
        Layout((4,), ((0, 0), (0, 1), (0, 1)))


@given(st.sets(st.integers(0, 5), min_size=1), st.integers(0, 2**32 - 1))
def test_rotate_and_sum_gives_what_its_bits_say(which, seed):
    bits = tuple((0, i) for i in range(6)) + (REPLICATED,) * 2
    x = np.tile(np.random.default_rng(seed).normal(size=64), 4)
    rotations, after = sum_bits(bits, which)
    y = x.copy()
    for r in rotations:
        y = y + np.roll(y, -r)
    slot = np.arange(256)
    rest = sum(1 << b for b in which)
    for s in slot:
        if any(after[b] == HOLE and (s >> b) & 1 for b in which):
            continue
        wanted = x[[t for t in range(64) if (t & ~rest) == (s & 63 & ~rest)]].sum()
        assert np.isclose(y[s], wanted)


def test_summing_the_top_keeps_replication_and_summing_below_makes_holes():
    bits = ((0, 0), (0, 1), (0, 2), REPLICATED)
    assert sum_bits(bits, [2])[1] == ((0, 0), (0, 1), REPLICATED, REPLICATED)
    assert sum_bits(bits, [0])[1] == (HOLE, (0, 1), (0, 2), REPLICATED)
    assert sum_bits(bits, [0, 1, 2])[1] == (REPLICATED,) * 4
