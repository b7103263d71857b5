"""Matrices as diagonals, between any two layouts."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_rings import small_target

from cipherformer.backends.ckks_sim import SimAlgebra
from cipherformer.kernels import linear
from cipherformer.kernels.layout import HOLE, REPLICATED, Layout, axis_bits, row_major

SLOT_BITS = 8


@st.composite
def layouts(draw, size_limit=5):
    """A layout of a random small shape with its bits in random order among replicated ones and holes."""
    shape = tuple(draw(st.lists(st.integers(1, size_limit), min_size=1, max_size=2)))
    bits = [(a, k) for a, s in enumerate(shape) for k in range(axis_bits(s))]
    spare = SLOT_BITS - len(bits)
    bits += draw(st.lists(st.sampled_from([REPLICATED, HOLE]), min_size=spare, max_size=spare))
    return Layout(shape, tuple(draw(st.permutations(bits))))


@settings(max_examples=60, deadline=None)
@given(layouts(), layouts(), st.integers(0, 2**32 - 1))
def test_any_matrix_between_any_layouts(source, target, seed):
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(int(np.prod(target.shape)), int(np.prod(source.shape))))
    matrix[rng.uniform(size=matrix.shape) < 0.4] = 0
    matrix[0, 0] = 1.0
    x = rng.normal(size=matrix.shape[1])
    where = source.slot_map()
    # Replicated slots agree, everything else is junk.
    slots = np.where(where >= 0, x[where], rng.normal(size=source.slots) * 100)
    routes = linear.routes(linear.Triplets.of(matrix), source, target)
    transform = linear.make_transform("t", routes.diagonals(), source.slots)
    b = SimAlgebra(small_target(SLOT_BITS + 1))
    y = b.apply(b.encrypt(slots, 1, 2.0**40), transform, 2.0**40)
    wanted = matrix @ x
    to = target.slot_map()
    assert np.allclose(y.slots[to >= 0], wanted[to[to >= 0]])
    assert set(routes.rotations()) == set(transform.rotations)


def test_equal_weights_for_every_token_need_few_diagonals():
    """A linear layer over features, tokens above them: 2 d - 1 diagonals whatever the tokens."""
    layout = row_major((1, 8, 4), SLOT_BITS)
    matrix = np.kron(np.eye(8), np.ones((4, 4)))
    routes = linear.routes(linear.Triplets.of(matrix), layout, layout)
    assert routes.rotations() == tuple(range(-3, 4))
    transform = linear.make_transform("t", routes.diagonals(), layout.slots)
    assert transform.diagonals.shape[1] == 4  # every token and every copy uses the same numbers


def test_baby_and_giant_steps_cover_every_rotation():
    rotations = tuple(range(-31, 32))
    step = linear.baby_step_for(rotations, 1 << 14)
    babies = {r % step for r in rotations}
    giants = {r - r % step for r in rotations}
    assert all(r - r % step in giants and r % step in babies for r in rotations)
    assert len(babies) + len(giants) <= 24


def test_columns_that_do_not_matter_are_found():
    layout = row_major((1, 4, 8), SLOT_BITS)
    mean = np.kron(np.ones((1, 4)) / 4, np.eye(8))
    assert linear.invariant_bits(mean, layout) == (3, 4)
    assert linear.invariant_bits(np.ones((1, 32)), layout) == (0, 1, 2, 3, 4)
    assert linear.invariant_bits(np.arange(32.0)[None], layout) == ()


def test_the_smallest_period_is_found():
    rows = np.tile(np.arange(4.0), (2, 8))
    assert linear.smallest_period(rows) == 4
    rows[0, -1] = 9
    assert linear.smallest_period(rows) == 32
