"""Folding keeps the function and removes what public numbers would cost."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cipherformer.backends import exact
from cipherformer.graph import Graph
from cipherformer.graph.rewrite import GraphBuilder
from cipherformer.graph.verify import verify
from cipherformer.passes.fold import fold

Rng = np.random.Generator
Step = Callable[[GraphBuilder, str, Rng], str]


def _linear(build: GraphBuilder, x: str, rng: Rng) -> str:
    features, out = build.type_of(x).shape[-1], int(rng.integers(1, 6))
    weight = build.constant(rng.normal(size=(out, features)), "w")
    bias = [build.constant(rng.normal(size=out), "b")] if rng.random() < 0.5 else []
    return build.emit("linear", x, weight, *bias)


def _factor(build: GraphBuilder, x: str, rng: Rng) -> str:
    shape = tuple(1 if rng.random() < 0.5 else s for s in build.type_of(x).shape)
    return build.constant(rng.normal(size=shape), "c")


def _scale(build: GraphBuilder, x: str, rng: Rng) -> str:
    return build.emit("mul", *rng.permutation([x, _factor(build, x, rng)]).tolist())


def _shift(build: GraphBuilder, x: str, rng: Rng) -> str:
    return build.emit("add", *rng.permutation([x, _factor(build, x, rng)]).tolist())


def _difference(build: GraphBuilder, x: str, rng: Rng) -> str:
    return build.emit("sub", *rng.permutation([x, _factor(build, x, rng)]).tolist())


def _scalar(build: GraphBuilder, x: str, rng: Rng) -> str:
    return build.emit("mul", x, build.constant(float(rng.uniform(0.5, 2.0))))


def _permute(build: GraphBuilder, x: str, rng: Rng) -> str:
    rank = len(build.type_of(x).shape)
    return build.emit("permute", x, dims=tuple(int(d) for d in rng.permutation(rank)))


def _reshape(build: GraphBuilder, x: str, rng: Rng) -> str:
    shape = build.type_of(x).shape
    at = int(rng.integers(0, len(shape)))
    if rng.random() < 0.5 or len(shape) == 1:
        split = (shape[at] // 2, 2) if shape[at] % 2 == 0 else (1, shape[at])
        return build.emit("reshape", x, shape=(*shape[:at], *split, *shape[at + 1 :]))
    merged = max(at, 1)
    product = shape[merged - 1] * shape[merged]
    return build.emit("reshape", x, shape=(*shape[: merged - 1], product, *shape[merged + 1 :]))


def _batch_norm(build: GraphBuilder, x: str, rng: Rng) -> str:
    axis = int(rng.integers(0, len(build.type_of(x).shape)))
    n = build.type_of(x).shape[axis]
    parts = rng.normal(size=n), rng.uniform(0.5, 2.0, size=n), rng.normal(size=n), rng.normal(size=n)
    return build.emit("batch_norm", x, *(build.constant(p, "bn") for p in parts), epsilon=1e-5, axis=axis)


def _slice(build: GraphBuilder, x: str, rng: Rng) -> str:
    dim = int(rng.integers(0, len(build.type_of(x).shape)))
    stop = int(rng.integers(1, build.type_of(x).shape[dim] + 1))
    return build.emit("slice", x, dim=dim, start=int(rng.integers(0, stop)), stop=stop, step=1)


def _mean(build: GraphBuilder, x: str, rng: Rng) -> str:
    if len(build.type_of(x).shape) < 3:
        return x
    return build.emit("mean", x, dims=(int(rng.integers(1, 3)),), keepdim=bool(rng.random() < 0.5))


def _residual(build: GraphBuilder, x: str, rng: Rng) -> str:
    return build.emit("add", x, _scale(build, x, rng))


def _square(build: GraphBuilder, x: str, rng: Rng) -> str:
    return build.emit("power", x, exponent=int(rng.integers(1, 3)))


def _gram(build: GraphBuilder, x: str, rng: Rng) -> str:
    rank = len(build.type_of(x).shape)
    if rank < 2:
        return x
    turned = build.emit("permute", x, dims=(*range(rank - 2), rank - 1, rank - 2))
    product = build.emit("matmul", _scalar(build, x, rng), turned)
    return build.emit("mul", product, build.constant(0.1))


def _polynomial(build: GraphBuilder, x: str, rng: Rng) -> str:
    return build.emit("polynomial", x, coefficients=(0.1, 0.5, 0.2), low=-3.0, high=4.0)


STEPS: tuple[Step, ...] = (
    _linear,
    _scale,
    _shift,
    _difference,
    _scalar,
    _permute,
    _reshape,
    _batch_norm,
    _slice,
    _mean,
    _residual,
    _square,
    _gram,
    _polynomial,
)


def random_graph(seed: int, length: int) -> Graph:
    rng = np.random.default_rng(seed)
    build = GraphBuilder("random")
    x = build.input("x", (1, 4, 6))
    for _ in range(length):
        x = STEPS[int(rng.integers(len(STEPS)))](build, x, rng)
    return build.finish(x)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), length=st.integers(1, 14))
def test_folding_keeps_the_function(seed: int, length: int):
    graph = random_graph(seed, length)
    folded = verify(fold(graph), "folded")
    inputs = {"x": np.random.default_rng(seed).normal(size=(1, 4, 6))}
    before = exact.run(graph, inputs)[graph.outputs[0]]
    after = exact.run(folded, inputs)[folded.outputs[0]]
    scale = max(1.0, float(np.max(np.abs(before))))
    np.testing.assert_allclose(after / scale, before / scale, rtol=1e-7, atol=1e-9)
    assert [n.op for n in fold(folded)] == [n.op for n in folded]


def ops(graph: Graph) -> list[str]:
    return [n.op for n in graph if n.type.secret and n.op not in ("input", "reshape", "permute")]


def attention() -> Graph:
    """Batch normalisation, packed projection, scaled scores, PowerSoftmax, values, projection."""
    rng = np.random.default_rng(0)
    build = GraphBuilder("attention")
    x = build.input("x", (1, 4, 6))
    weight = build.constant(rng.normal(size=(18, 6)), "w")
    bias = build.constant(rng.normal(size=18), "b")
    qkv = build.emit("linear", _batch_norm_features(build, x, rng), weight, bias)
    parts = build.emit("permute", build.emit("reshape", qkv, shape=(1, 4, 3, 2, 3)), dims=(2, 0, 3, 1, 4))
    each = [build.emit("slice", parts, dim=0, start=i, stop=i + 1, step=1) for i in range(3)]
    q, k, v = (build.emit("reshape", part, shape=(1, 2, 4, 3)) for part in each)
    scores = build.emit("matmul", q, build.emit("permute", k, dims=(0, 1, 3, 2)))
    scores = build.emit("mul", scores, build.constant(0.25))
    weights = build.emit("power_softmax", scores, exponent=4, epsilon=0.5, dim=3)
    mixed = build.emit("permute", build.emit("matmul", weights, v), dims=(0, 2, 1, 3))
    out = build.constant(rng.normal(size=(6, 6)), "out")
    return build.finish(build.emit("linear", build.emit("reshape", mixed, shape=(1, 4, 6)), out))


def _batch_norm_features(build: GraphBuilder, x: str, rng: Rng) -> str:
    turned = build.emit("permute", x, dims=(0, 2, 1))
    parts = rng.normal(size=6), rng.uniform(0.5, 2.0, size=6), rng.normal(size=6), rng.normal(size=6)
    normed = build.emit("batch_norm", turned, *(build.constant(p, "bn") for p in parts), epsilon=1e-5, axis=1)
    return build.emit("permute", normed, dims=(0, 2, 1))


def test_normalisation_scale_and_packed_projection_cost_nothing():
    graph = attention()
    folded = fold(graph)
    assert ops(folded) == ["linear", "linear", "linear", "matmul", "power_softmax", "matmul", "linear"]
    inputs = {"x": np.random.default_rng(2).normal(size=(1, 4, 6))}
    np.testing.assert_allclose(
        exact.run(folded, inputs)[folded.outputs[0]], exact.run(graph, inputs)[graph.outputs[0]], atol=1e-12
    )


@pytest.mark.parametrize("op", ["conv2d", "linear"])
def test_batch_norm_disappears_into_the_layer_in_front(op: str):
    rng = np.random.default_rng(1)
    build = GraphBuilder("layer")
    if op == "conv2d":
        x = build.input("x", (1, 2, 5, 5))
        weight = build.constant(rng.normal(size=(3, 2, 3, 3)), "w")
        attrs = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
        layer = build.emit("conv2d", x, weight, **attrs)
    else:
        x = build.input("x", (1, 3, 2))
        layer = build.emit("linear", x, build.constant(rng.normal(size=(3, 2)), "w"))
        layer = build.emit("permute", layer, dims=(0, 2, 1))
    parts = rng.normal(size=3), rng.uniform(0.5, 2.0, size=3), rng.normal(size=3), rng.normal(size=3)
    normed = build.emit("batch_norm", layer, *(build.constant(p, "bn") for p in parts), epsilon=1e-5, axis=1)
    graph = build.finish(normed)
    folded = fold(graph)
    assert ops(folded) == [op]
    inputs = {"x": rng.normal(size=graph.inputs[0].type.shape)}
    np.testing.assert_allclose(
        exact.run(folded, inputs)[folded.outputs[0]], exact.run(graph, inputs)[normed], atol=1e-12
    )


def test_a_layer_with_two_readers_keeps_its_weights():
    build = GraphBuilder("shared")
    x = build.input("x", (1, 2))
    layer = build.emit("linear", x, build.constant(np.eye(2), "w"))
    doubled = build.emit("mul", layer, build.constant(2.0))
    folded = fold(build.finish(build.emit("mul", doubled, layer)))
    value = exact.run(folded, {"x": np.array([[1.0, 3.0]])})[folded.outputs[0]]
    np.testing.assert_array_equal(value, [[2.0, 18.0]])
    assert ops(folded).count("linear") == 1
