"""Placements keep the invariant, mean the same, and lazier ones never truncate more."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import attention_graph, convolutions, samples

from cipherformer.errors import LimitError
from cipherformer.graph import Graph
from cipherformer.graph.rewrite import GraphBuilder
from cipherformer.ops import ring_published
from cipherformer.passes.calibrate import calibrate
from cipherformer.passes.ring import RingGraph, approximate_ring, to_ring
from cipherformer.passes.truncate import GREEDY, MOVES, POLICIES, PRODUCTS, Placement, magnitude, place
from cipherformer.targets.ring import RingTarget, Truncation


def random_graph(seed: int) -> Graph:
    """A chain of sums, products, moves and reductions on 4 x 4 values."""
    rng = np.random.default_rng(seed)
    build = GraphBuilder("random")
    live = [build.input("x", (4, 4)), build.input("y", (4, 4))]
    for _ in range(int(rng.integers(3, 14))):
        a, b = (live[i] for i in rng.integers(0, len(live), size=2))
        match int(rng.integers(0, 7)):
            case 0:
                new = build.emit("add", a, b)
            case 1:
                new = build.emit("mul", a, build.emit("mul", b, build.constant(0.3)))
            case 2:
                new = build.emit("matmul", a, b)
            case 3:
                new = build.emit("permute", a, dims=(1, 0))
            case 4:
                new = build.emit("expand", build.emit("sum", a, dims=(0,), keepdim=True), shape=(4, 4))
            case 5:
                new = build.emit("linear", a, build.constant(rng.normal(size=(4, 4)) / 4.0))
            case _:
                new = build.emit("sub", a, build.constant(float(rng.normal())))
        live.append(build.emit("mul", new, build.constant(float(rng.choice([0.25, 0.1, 0.5])))))
    graph = build.finish(live[-1], live[-2])
    sample = {n.name: rng.normal(size=(4, 4)) for n in graph.inputs}
    return calibrate(graph, [sample])


def assert_invariant(placement: Placement) -> None:
    bits, widths, target = placement.frac_bits, placement.widths, placement.target
    for node in placement.graph.nodes:
        if not node.type.secret:
            continue
        of, rings = [bits[n] for n in node.inputs], [widths[n] for n in node.inputs]
        width = widths[node.name]
        if node.op not in ("trunc", "extend", "narrow"):
            assert target.fits(bits[node.name], magnitude(node), width), node.name
            assert width in target.widths
            assert node.op == "select" or set(rings) <= {width}, node.name
        match node.op:
            case "trunc":
                assert bits[node.name] == of[0] - node.attrs["bits"] >= 0
                assert node.attrs["bits"] > 0
                reduced = node.attrs["bits"] if target.truncation is Truncation.TRUNCATE_REDUCE else 0
                assert width == rings[0] - reduced
                assert magnitude(node) + bits[node.name] < width
            case "extend" | "narrow":
                assert width == node.attrs["width"]
                assert (width > rings[0]) == (node.op == "extend")
                assert of == [bits[node.name]]
                assert magnitude(node) + of[0] + 2 <= rings[0] or node.op == "narrow"
            case "lift":
                assert bits[node.name] == of[0] + node.attrs["bits"]
            case op if op in PRODUCTS:
                assert bits[node.name] == of[0] + of[1]
                assert of[2:] in ([], [bits[node.name]])
            case "add" | "sub" | "concat" | "sum" | "slice":
                assert set(of) == {bits[node.name]}
            case op if op in MOVES:
                assert of == [bits[node.name]]


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    frac_bits=st.integers(6, 20),
    guard=st.integers(0, 4),
    width=st.integers(56, 128),
    truncation=st.sampled_from(Truncation),
)
def test_any_placement_keeps_the_invariant_and_lazier_is_cheaper(
    seed: int, frac_bits: int, guard: int, width: int, truncation: Truncation
):
    graph = random_graph(seed)
    target = RingTarget(width, frac_bits, guard, truncation)
    try:
        placed = [place(graph, target, policy) for policy in GREEDY]
    except LimitError as error:
        assert "smallest ring" in error.fix
        return
    for placement in placed:
        assert_invariant(placement)
    costs = [p.truncated_elements for p in placed]
    assert costs == sorted(costs, reverse=True)


GOLDEN = {
    "attention": {"every": 1917, "lazy": 1296, "hoisted": 1296, "optimal": 904},
    "convolution": {"every": 581, "lazy": 100, "hoisted": 100, "optimal": 100},
    "softmax": {"every": 368, "lazy": 208, "hoisted": 208, "optimal": 136},
}
"""Truncated elements of tiny models in 64 bits with 16 fraction bits."""


def tiny(name: str) -> RingGraph:
    if name == "attention":
        return to_ring(attention_graph(8, 8, 2), samples((1, 8, 3)))
    if name == "convolution":
        return to_ring(convolutions(1), samples((1, 1, 12, 12)))
    build = GraphBuilder("softmax")
    normal = build.emit("layer_norm", build.input("x", (1, 4, 8)), epsilon=1e-5, axes=(2,))
    return to_ring(build.finish(build.emit("softmax", normal, dim=2)), samples((1, 4, 8)))


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_costs(name: str):
    graph = tiny(name).graph
    placed = [place(graph, RingTarget(64, 16), policy) for policy in POLICIES]
    assert {p.policy: p.truncated_elements for p in placed} == GOLDEN[name]
    solved = placed[-1].solved
    assert solved is not None
    assert solved.taken == "optimal"
    assert solved.cost == pytest.approx(GOLDEN[name]["optimal"])
    assert solved.gap < 1e-4


def exp_chain(frac_bits: int, width: int) -> tuple[int, int]:
    """Truncations of the limit exponential under `every` and `lazy`."""
    x = np.linspace(-8.0, 0.0, 64)
    build = GraphBuilder("exp")
    graph = build.finish(build.emit("exp", build.input("x", x.shape)))
    graph = calibrate(graph, [{"x": x}])
    ring, _ = approximate_ring(graph, "ring.crypten")
    ring = calibrate(ring, [{"x": x}])
    every, lazy = (place(ring, RingTarget(width, frac_bits), p).truncations for p in ("every", "lazy"))
    return every, lazy


def test_the_exp_chain_needs_few_truncations_in_a_wide_ring():
    every, lazy = exp_chain(16, 128)
    assert every == 9
    assert lazy <= 4


def test_the_exp_chain_in_64_bits():
    assert exp_chain(16, 64)[1] <= 8
    assert exp_chain(14, 64)[1] <= 5


def test_a_comparison_and_a_binary_mask_cost_no_truncation():
    build = GraphBuilder("relu")
    graph = build.finish(build.emit("relu", build.input("x", (5,))))
    ring = to_ring(graph, [{"x": np.linspace(-3.0, 3.0, 5)}])
    placement = place(ring.graph, RingTarget(64, 16), "every")
    assert (placement.truncations, placement.compared_elements) == (0, 5)


def test_hoisting_truncates_before_an_expansion():
    build = GraphBuilder("expanded")
    x = build.input("x", (1, 4))
    square = build.emit("mul", x, x)
    wide = build.emit("expand", square, shape=(100, 4))
    graph = build.finish(build.emit("mul", wide, wide))
    graph = calibrate(graph, [{"x": np.array([[1.0, -2.0, 3.0, 0.5]])}])
    lazy, hoisted = (place(graph, RingTarget(64, 24), p).truncated_elements for p in ("lazy", "hoisted"))
    assert (lazy, hoisted) == (400, 4)
    assert place(graph, RingTarget(128, 24), "hoisted").truncated_elements == 0


def test_a_value_that_cannot_fit_is_named_with_the_ring_it_needs():
    build = GraphBuilder("large")
    build.origin = "blocks.3.mlp"
    x = build.input("x", (2,))
    y = build.emit("mul", x, build.constant(2.0**40))
    graph = calibrate(build.finish(build.emit("mul", y, y)), [{"x": np.array([1.0, -1.0])}])
    with pytest.raises(LimitError, match=r"blocks\.3\.mlp") as error:
        place(graph, RingTarget(64, 16))
    needed = int(error.value.fix.split(" bits")[0].split()[-1])
    place(graph, RingTarget(needed, 16))
    with pytest.raises(LimitError):
        place(graph, RingTarget(needed - 1, 16))


def test_convolutions_and_pooling_run_in_the_ring():
    from cipherformer.backends import exact, fixed

    graph = convolutions(2)
    sample = samples((1, 1, 12, 12))
    ring = to_ring(graph, sample)
    placement = place(ring.graph, RingTarget(64, 16))
    got = fixed.run(placement, sample[0]).values[placement.graph.outputs[0]]
    np.testing.assert_allclose(got, exact.run(graph, sample[0])[graph.outputs[0]], atol=2e-3)


@pytest.mark.parametrize("name", sorted(ring_published.SETS))
def test_published_sets_run_where_they_have_functions(name: str):
    from cipherformer.backends import exact, fixed

    build = GraphBuilder("mlp")
    x = build.input("x", (1, 6))
    hidden = build.emit("gelu", x, approximate="none")
    graph = build.finish(build.emit("softmax", hidden, dim=1))
    sample = samples((1, 6))
    ring = to_ring(graph, sample, method=f"ring.{name}")
    placement = place(ring.graph, RingTarget(64, 16))
    got = fixed.run(placement, sample[0]).values[placement.graph.outputs[0]]
    np.testing.assert_allclose(got, exact.run(graph, sample[0])[graph.outputs[0]], atol=0.03)
