"""Axes that are no power of two, filled up with copies of their first index."""

from __future__ import annotations

import numpy as np
import pytest
from small_models import attention_graph, ring, samples

from cipherformer.backends import ckks_sim
from cipherformer.backends.ckks.client import generate_keys
from cipherformer.backends.ckks.server import Evaluation
from cipherformer.compiler import Options, compile_graph
from cipherformer.graph import Graph
from cipherformer.graph.rewrite import GraphBuilder
from cipherformer.ops import ErrorBudget
from cipherformer.passes import regions as affine
from cipherformer.passes.padded import padded
from cipherformer.passes.pipeline import Settings, run_passes
from cipherformer.passes.regions import Region, regions

LOOSE = ErrorBudget(activation=0.1, max_reciprocal_ratio=100.0)


@pytest.fixture(autouse=True)
def structured(monkeypatch):
    """Small terms are treated as large ones are."""
    monkeypatch.setattr(affine, "MAX_DENSE", 128)
    monkeypatch.setattr(affine, "MAX_PROBED", 128)


def keyword_graph(frames: int, width: int) -> Graph:
    """A class token in front of projected frames, shifted power attention, a norm by its variance, an MLP,
    and a head on the class token: the parts of a keyword transformer."""
    rng = np.random.default_rng(0)
    g = GraphBuilder("keyword")

    def weight(*shape: int) -> str:
        return g.constant(rng.normal(size=shape) / np.sqrt(shape[-1]))

    def vector(size: int) -> str:
        return g.constant(rng.normal(size=size) * 0.1)

    x = g.input("x", (1, frames, 3))
    z = g.emit(
        "concat", g.constant(rng.normal(size=(1, 1, width))), g.emit("linear", x, weight(width, 3)), dim=1
    )
    z = g.emit("add", z, g.constant(rng.normal(size=(frames + 1, width)) * 0.1))
    q, k, v = (g.emit("linear", z, weight(width, width), vector(width)) for _ in range(3))
    scores = g.emit("matmul", g.emit("mul", q, g.constant(0.2)), g.emit("permute", k, dims=(0, 2, 1)))
    weights = g.emit("power", g.emit("add", scores, g.constant(0.3)), exponent=4)
    total = g.emit("add", g.emit("mean", weights, dims=(2,), keepdim=True), g.constant(0.5))
    attended = g.emit("mul", g.emit("matmul", weights, v), g.emit("reciprocal", total))
    y = g.emit("add", z, g.emit("linear", attended, weight(width, width), vector(width)))
    centred = g.emit("sub", y, g.emit("mean", y, dims=(2,), keepdim=True))
    variance = g.emit("mean", g.emit("mul", centred, centred), dims=(2,), keepdim=True)
    scale = g.emit("polynomial", variance, coefficients=(0.7, -0.3, 0.1), low=0.0, high=8.0)
    y = g.emit("mul", centred, scale)
    h = g.emit("power", g.emit("linear", y, weight(4 * width, width), vector(4 * width)), exponent=2)
    y = g.emit("add", y, g.emit("linear", h, weight(width, 4 * width)))
    token = g.emit("reshape", g.emit("slice", y, dim=1, start=0, stop=1, step=1), shape=(1, width))
    return g.finish(g.emit("linear", token, weight(5, width), vector(5)))


def evaluate(graph: tuple[Region, ...], name: str, given: np.ndarray) -> dict[str, np.ndarray]:
    """Every value of a graph of regions."""
    values: dict[str, np.ndarray] = {}
    for r in graph:
        x = [values[i] for i in r.inputs if r.kind != "affine"]
        match r.kind:
            case "input":
                values[r.name] = given
            case "affine":
                total = sum(t.apply(values[t.source], r.shape) for t in r.terms)
                values[r.name] = total + r.bias.reshape(r.shape)
            case "matmul":
                values[r.name] = x[0] @ x[1]
            case "mul":
                values[r.name] = x[0] * x[1]
            case "power":
                values[r.name] = x[0] ** r.attrs["exponent"]
            case "polynomial":
                t = (2 * x[0] - r.attrs["low"] - r.attrs["high"]) / (r.attrs["high"] - r.attrs["low"])
                values[r.name] = np.polynomial.chebyshev.chebval(t, r.attrs["coefficients"])
            case "reciprocal":
                values[r.name] = 1.0 / x[0]
    return values


def test_further_indices_are_copies_of_the_first():
    graph = keyword_graph(8, 4)
    data = samples((1, 8, 3))
    lowered = run_passes(graph, Settings(data, 0.1, LOOSE))
    parts, outputs = regions(lowered)
    wide = padded(parts, outputs)
    before = evaluate(parts, outputs[0], data[0]["x"])
    after = evaluate(wide, outputs[0], data[0]["x"])
    filled = 0
    for name, value in before.items():
        wider = after[name]
        assert np.allclose(wider[tuple(slice(s) for s in value.shape)], value), name
        for axis, (old, new) in enumerate(zip(value.shape, wider.shape, strict=True)):
            if old != new:
                filled += 1
                assert (old, new) == (9, 16)
                first = np.take(wider, [0], axis=axis)
                assert np.allclose(np.take(wider, range(old, new), axis=axis), first), name
    assert filled > 15
    assert after[outputs[0]].shape == before[outputs[0]].shape


def test_nothing_is_filled_up_where_axes_are_powers_of_two():
    lowered = run_passes(attention_graph(8, 8, 2), Settings(samples((1, 8, 3)), 0.1, LOOSE))
    parts, outputs = regions(lowered)
    assert padded(parts, outputs) == tuple(parts)


def test_a_keyword_transformer_runs_encrypted_as_its_graph():
    data = samples((1, 8, 3))
    plan = compile_graph(keyword_graph(8, 4), data, Options(insecure_target=ring(9, 24), budget=LOOSE))
    exact = ckks_sim.run(plan, data[0], seed=None).output
    expected = ckks_sim.reference(plan, data[0])
    assert np.allclose(exact, expected, atol=1e-9)
    keys = generate_keys(plan.signature, insecure=True)
    server = Evaluation(plan, threads=1)
    for name, key in keys.evaluation_keys():
        server.add_key(name, key)
    answer, _ = server.run(keys.encrypt(data[0]))
    assert np.abs(keys.decrypt(answer) - expected).max() < 2**-8
