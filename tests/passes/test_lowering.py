"""From a captured graph to the CKKS dialect: what each pass promises, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from test_fold import attention, ops

from cipherformer.backends import exact
from cipherformer.errors import DataError, LimitError, ModelError
from cipherformer.graph import Graph
from cipherformer.graph.rewrite import GraphBuilder
from cipherformer.graph.verify import verify
from cipherformer.ops import ErrorBudget
from cipherformer.passes.approximate import approximate
from cipherformer.passes.calibrate import calibrate
from cipherformer.passes.fold import fold
from cipherformer.passes.lower import lower

RNG = np.random.default_rng(3)
SAMPLES = [{"x": 0.3 * RNG.normal(size=(1, 4, 6))} for _ in range(20)]
WIDE = ErrorBudget(max_reciprocal_ratio=1e9, max_reciprocal_levels=64, max_degree=63)


def one_op(op: str, shape: tuple[int, ...] = (1, 4), **attrs: object) -> Graph:
    build = GraphBuilder(op)
    build.origin = f"block.{op}"
    return build.finish(build.emit(op, build.input("x", shape), **attrs))


def test_the_whole_way_stays_within_the_budget():
    graph = attention()
    low = verify(approximate(calibrate(lower(fold(graph)), SAMPLES), WIDE), "ckks.lowered")
    for sample in SAMPLES:
        wanted = exact.run(graph, sample)[graph.outputs[0]]
        got = exact.run(low, sample, lowered=True)[low.outputs[0]]
        np.testing.assert_allclose(got, wanted, atol=2.0**-10 * np.abs(wanted).max())


def test_the_normaliser_stands_behind_the_values():
    low = lower(fold(attention()))
    product_ops = ["linear"] * 4 + ["matmul"] * 2 + ["power", "mean", "add", "reciprocal", "mul"]
    assert sorted(ops(low)) == sorted(product_ops)
    nodes = low.by_name()
    (product,) = [n for n in low if n.op == "mul"]
    assert {nodes[i].op for i in product.inputs} == {"matmul", "reciprocal"}


def test_the_normaliser_moves_past_a_merge_of_heads():
    build = GraphBuilder("merged")
    x, v = build.input("x", (1, 2, 3, 3)), build.input("v", (2, 3, 5))
    weights = build.emit("power_softmax", x, exponent=2, epsilon=0.5, dim=3)
    graph = build.finish(build.emit("matmul", build.emit("reshape", weights, shape=(2, 3, 3)), v))
    low = lower(fold(graph))
    last = low.by_name()[low.outputs[0]]
    inputs = {"x": RNG.normal(size=(1, 2, 3, 3)), "v": RNG.normal(size=(2, 3, 5))}
    wanted = exact.run(graph, inputs)[graph.outputs[0]]
    np.testing.assert_allclose(exact.run(low, inputs)[last.name], wanted, atol=1e-12)
    assert all(low.by_name()[i].type.shape != (2, 3, 3) or low.by_name()[i].op != "mul" for i in last.inputs)


def test_a_normaliser_that_varies_along_the_contracted_axis_stays():
    build = GraphBuilder("columns")
    x, v = build.input("x", (1, 3, 3)), build.input("v", (1, 3, 2))
    weights = build.emit("power_softmax", x, exponent=2, epsilon=0.5, dim=1)
    low = lower(build.finish(build.emit("matmul", weights, v)))
    nodes = low.by_name()
    (product,) = [n for n in low if n.op == "matmul"]
    weighted = nodes[product.inputs[0]]
    assert {nodes[i].op for i in weighted.inputs} == {"power", "reciprocal"}


def test_a_binary_mask_multiplies_the_scores():
    build = GraphBuilder("masked")
    mask = build.constant(np.tril(np.ones((3, 3))), "mask")
    weights = build.emit("power_softmax", build.input("x", (1, 3, 3)), mask, exponent=4, epsilon=0.5, dim=2)
    low = lower(build.finish(weights))
    (power,) = [n for n in low if n.op == "power"]
    assert low.by_name()[power.inputs[0]].op == "mul"


def test_unsupported_composites_are_all_named_with_their_fix():
    build = GraphBuilder("stock")
    x = build.input("x", (1, 3, 3))
    build.origin = "encoder.norm"
    normed = build.emit("layer_norm", x, epsilon=1e-5, axes=(2,))
    build.origin = "encoder.attention"
    graph = build.finish(build.emit("softmax", normed, dim=2))
    with pytest.raises(ModelError) as error:
        lower(graph)
    for text in (
        "encoder.norm: layer_norm",
        "encoder.attention: softmax",
        "PowerSoftmax",
        "batch normalisation",
    ):
        assert text in str(error.value)


def test_calibration_covers_the_samples_with_margin():
    graph = calibrate(one_op("tanh"), [{"x": np.full((1, 4), v)} for v in (-1.0, 3.0)], margin=0.25)
    kind = graph.inputs[0].type
    assert (kind.low, kind.high) == (-2.0, 4.0)


def test_divisors_stay_positive_and_above_what_their_form_guarantees():
    build = GraphBuilder("divide")
    x = build.input("x", (1, 4))
    square = build.emit("mean", build.emit("power", x, exponent=2), dims=(1,), keepdim=True)
    divisor = build.emit("add", square, build.constant(0.5))
    graph = build.finish(build.emit("reciprocal", divisor))
    samples = [{"x": np.full((1, 4), v)} for v in (0.1, 2.0)]
    kinds = {n.op: n.type for n in calibrate(graph, samples, margin=0.5)}
    assert kinds["power"].low == kinds["mean"].low == 0.0
    assert kinds["add"].low == 0.5
    assert kinds["add"].high == pytest.approx(4.5 * 1.5)
    assert kinds["reciprocal"].high == 2.0


def test_calibration_needs_samples():
    with pytest.raises(DataError, match="no samples"):
        calibrate(one_op("tanh"), [])


@pytest.mark.parametrize("op", ["gelu", "relu", "silu", "tanh", "sigmoid", "exp"])
def test_degree_follows_from_the_budget(op: str):
    attrs = {"approximate": "none"} if op == "gelu" else {}
    calibrated = calibrate(one_op(op, **attrs), [{"x": np.array([[-3.0, -1.0, 1.0, 2.0]])}])
    degrees = []
    for error in (0.2, 0.02):
        low = approximate(calibrated, ErrorBudget(activation=error, max_degree=63))
        (node,) = [n for n in low if n.op == "polynomial"]
        degrees.append(len(node.attrs["coefficients"]))
        x = np.linspace(node.attrs["low"], node.attrs["high"], 4001)
        graph = one_op(op, (1, 4001), **attrs)
        wanted = exact.run(graph, {"x": x[None]})[graph.outputs[0]]
        same = one_op("polynomial", (1, 4001), **node.attrs)
        got = exact.run(same, {"x": x[None]})[same.outputs[0]]
        assert np.max(np.abs(got - wanted)) <= 1.01 * error
    assert degrees[0] < degrees[1]


def divided(low: float, high: float) -> Graph:
    return calibrate(one_op("reciprocal"), [{"x": np.array([[low, high, low, high]])}], margin=0.0)


def test_a_reciprocal_gets_the_fewest_steps():
    (node,) = [n for n in approximate(divided(1.0, 30.0)) if n.op == "reciprocal"]
    assert node.attrs["iterations"] == len(node.attrs["relaxations"]) == 5
    assert (node.attrs["low"], node.attrs["high"]) == (1.0, 30.0)


@pytest.mark.parametrize(
    ("low", "high", "budget", "text"),
    [
        (1.0, 40.0, ErrorBudget(), r"high / low = 40(.|\n)*ratio of 32(.|\n)*range loss"),
        (1.0, 30.0, ErrorBudget(max_reciprocal_levels=4), r"needs 5 levels(.|\n)*allows 4 levels"),
        (-1.0, 30.0, ErrorBudget(), r"zero or negative(.|\n)*epsilon"),
    ],
)
def test_an_expensive_reciprocal_is_refused_with_place_reason_and_fix(
    low: float, high: float, budget: ErrorBudget, text: str
):
    with pytest.raises(LimitError, match=text) as error:
        approximate(divided(low, high), budget)
    assert error.value.where == "block.reciprocal"


def test_every_refused_site_is_listed():
    build = GraphBuilder("two")
    x = build.input("x", (1, 2))
    for name in ("a", "b"):
        build.origin = f"layer.{name}"
        x = build.emit("relu", x)
    graph = calibrate(build.finish(x), [{"x": np.array([[-5.0, 5.0]])}])
    with pytest.raises(LimitError, match=r"2 sites(.|\n)*layer.a(.|\n)*layer.b"):
        approximate(graph, ErrorBudget(activation=1e-6, max_degree=3))


def test_a_larger_allowance_lifts_the_limit():
    low = approximate(divided(1.0, 400.0), WIDE)
    x = {"x": np.array([[1.0, 7.0, 90.0, 400.0]])}
    value = exact.run(low, x, lowered=True)[low.outputs[0]]
    np.testing.assert_allclose(value, 1.0 / x["x"], rtol=WIDE.reciprocal)


@pytest.mark.parametrize(("top", "fits"), [(2.9, True), (3.5, False)])
def test_a_polynomial_far_outside_its_interval_is_refused(top: float, fits: bool):
    graph = one_op("polynomial", coefficients=(0.5, 1.0, 0.5), low=-2.0, high=2.0)
    calibrated = calibrate(graph, [{"x": np.array([[0.0, 0.1, 1.0, top]])}], margin=0.0)
    if fits:
        assert [n.op for n in approximate(calibrated)] == ["input", "polynomial"]
        return
    with pytest.raises(LimitError, match=r"polynomial for \[-2, 2\] gets values in \[0, 3.5\]"):
        approximate(calibrated)
