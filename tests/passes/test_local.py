"""Maps that act locally: found with few inputs, packed with gaps, exact on slots."""

from __future__ import annotations

import numpy as np
import pytest
from small_models import ring, samples

from cipherformer import compiler
from cipherformer.backends import ckks_sim
from cipherformer.compiler import Options, compile_graph
from cipherformer.graph import Graph
from cipherformer.graph.rewrite import GraphBuilder
from cipherformer.kernels.layout import row_major
from cipherformer.kernels.linear import Triplets
from cipherformer.ops import OPS, ErrorBudget, Primitive
from cipherformer.passes import pack as packing
from cipherformer.passes import regions as affine
from cipherformer.passes.local import local_entries
from cipherformer.passes.place import local_layout
from cipherformer.passes.skew import skewed
from cipherformer.passes.tiles import part_of_entries
from cipherformer.plan.plan import Plan

RNG = np.random.default_rng(0)


@pytest.fixture
def small(monkeypatch):
    """Small local terms are kept as their non-zeros, as large ones are."""
    monkeypatch.setattr(affine, "MAX_PROBED", 64)


def convolution(stride: int, channels_in: int, channels: int):
    conv = OPS["conv2d"]
    assert isinstance(conv, Primitive)
    weight = RNG.normal(size=(channels, channels_in, 3, 3))
    attrs = {"stride": (stride, stride), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    return lambda x: conv.reference([x, weight], attrs)


@pytest.mark.parametrize(("stride", "inputs"), [(1, 4 * 9), (2, 4 * 9)])
def test_a_convolution_is_probed_as_a_comb(stride, inputs):
    conv, seen = convolution(stride, 4, 8), []

    def counted(x):
        seen.append(0)
        return conv(x)

    shape = (1, 4, 16, 16)
    result = conv(np.zeros(shape)).shape
    entries = local_entries(counted, shape, result)
    assert entries is not None
    assert len(seen) == 4 + 16 + 16 + inputs
    assert len(entries.column) < 9 * 4 * 8 * 16 * 16
    x = RNG.standard_normal(shape)
    assert np.allclose(entries.apply(x.reshape(-1)), conv(x).reshape(-1))


def test_what_is_not_local_is_said_to_be_so():
    w = RNG.standard_normal((6, 64))
    assert local_entries(lambda x: x.reshape(1, -1) @ w.T, (1, 8, 8), (1, 6)) is None
    assert local_entries(lambda x: x - x.mean(), (1, 8, 8), (1, 8, 8)) is None


def test_a_flip_and_a_shift_are_local():
    for move in (lambda x: x[:, ::-1], lambda x: np.pad(x[:, 2:], ((0, 0), (0, 2), (0, 0))), lambda x: 2 * x):
        entries = local_entries(move, (1, 8, 8), (1, 8, 8))
        x = RNG.standard_normal((1, 8, 8))
        assert entries is not None and np.allclose(entries.apply(x.reshape(-1)), move(x).reshape(-1))


def test_a_stride_leaves_gaps_that_channels_fill():
    conv = convolution(2, 4, 8)
    shape, result = (1, 4, 16, 16), (1, 8, 8, 8)
    entries = local_entries(conv, shape, result)
    assert entries is not None
    layout = local_layout(entries.row, entries.column, result, row_major(shape, 11))
    assert str(layout) == "b0 d0 d1 d2 b1 c0 c1 c2 b2 * *"
    again = local_entries(convolution(1, 8, 8), result, result)
    assert again is not None
    assert local_layout(again.row, again.column, result, layout) == layout


def residual(size: int, channels: int) -> Graph:
    """A stem, a block with a stride and a padded shortcut, a block without, a pooled head."""
    rng = np.random.default_rng(2)
    g = GraphBuilder("residual")

    def conv(value: str, out: int, stride: int = 1) -> str:
        inside = g.type_of(value).shape[1]
        weight = g.constant(rng.normal(size=(out, inside, 3, 3)) / np.sqrt(9 * inside))
        around = {"padding": (1, 1), "dilation": (1, 1), "groups": 1}
        return g.emit(
            "conv2d", value, weight, g.constant(rng.normal(size=out)), stride=(stride, stride), **around
        )

    def act(value: str) -> str:
        return g.emit("power", value, exponent=2)

    x = act(conv(g.input("x", (1, 3, size, size)), channels))
    short = x
    for dim in (2, 3):
        short = g.emit("slice", short, dim=dim, start=0, stop=size, step=2)
    nothing = g.constant(np.zeros((1, channels // 2, size // 2, size // 2)))
    short = g.emit("concat", nothing, short, nothing, dim=1)
    y = act(g.emit("add", conv(act(conv(x, 2 * channels, 2)), 2 * channels), short))
    z = act(g.emit("add", conv(act(conv(y, 2 * channels)), 2 * channels), y))
    pooled = g.emit("mean", z, dims=(2, 3), keepdim=False)
    return g.finish(g.emit("linear", pooled, g.constant(rng.normal(size=(5, 2 * channels)))))


def plan_of(size: int, channels: int, log_n: int) -> Plan:
    budget = ErrorBudget(activation=0.1)
    data = samples((1, 3, size, size))
    return compile_graph(residual(size, channels), data, Options(insecure_target=ring(log_n), budget=budget))


@pytest.mark.parametrize(("period", "count"), [(64, 4), (16, 16)])
def test_copies_share_the_products_of_a_map(period, count):
    slots = 256
    where = [d for d in range(-period // 2, period // 2) if d % (period // count) < 6]
    diagonals = {d: RNG.standard_normal(period) for d in where}
    shared = skewed(diagonals, period, slots)
    assert shared is not None
    assert len(shared.skew) + len(shared.diagonals) <= len(diagonals) // 2

    def applied(parts, x):
        return sum(np.resize(row, slots) * np.roll(x, -d) for d, row in parts.items())

    x = np.resize(RNG.standard_normal(period), slots)
    y = applied(shared.diagonals, applied(shared.skew, x))
    for rotation in shared.sums:
        y = y + np.roll(y, -rotation)
    assert np.allclose(y, applied(diagonals, x))


def test_a_map_without_copies_is_left_alone():
    assert skewed({d: np.ones(64) for d in range(64)}, 64, 64) is None
    assert skewed({0: np.ones(64), 1: np.ones(64)}, 64, 256) is None


def test_shared_products_equal_the_graph(small, monkeypatch):
    whole = compiler._with_shared_values
    monkeypatch.setattr(
        compiler, "_with_shared_values", lambda *given, stepwise: whole(*given, stepwise=True)
    )
    monkeypatch.setattr(packing, "MAX_DIAGONALS", 16)
    plan = plan_of(16, 8, 13)
    assert sum(s.name.endswith(".skew") for s in plan.steps) >= 2
    for sample in samples((1, 3, 16, 16), 2):
        exact = ckks_sim.run(plan, sample, seed=None).output
        assert np.allclose(exact, ckks_sim.reference(plan, sample), atol=1e-9)


def test_residual_blocks_equal_their_graph(small):
    plan = plan_of(8, 4, 10)
    widest = max(len(t.rotations) for t in plan.transforms.values())
    assert widest < 8 * 49, "no more diagonals than shifts of a window times channels"
    for sample in samples((1, 3, 8, 8), 2):
        exact = ckks_sim.run(plan, sample, seed=None).output
        assert np.allclose(exact, ckks_sim.reference(plan, sample), atol=1e-9)


@pytest.mark.parametrize(("side", "axis", "part"), [(0, 1, slice(2, 4)), (1, 0, slice(1, 3))])
def test_a_tile_of_a_local_term_is_that_part_of_its_matrix(side, axis, part):
    shapes = (2, 6), (4, 3)
    matrix = RNG.normal(size=(12, 12)) * (RNG.random((12, 12)) < 0.3)
    found = part_of_entries(Triplets.of(matrix), shapes, side, axis, part)
    whole = matrix.reshape(*shapes[0], *shapes[1])
    expected = whole[:, part] if side == 0 else whole[:, :, part]
    expected = expected.reshape(found.rows, found.columns)
    x = RNG.normal(size=found.columns)
    assert (found.rows, found.columns) == ((4, 12) if side == 0 else (12, 6))
    assert np.allclose(found.apply(x), expected @ x)
