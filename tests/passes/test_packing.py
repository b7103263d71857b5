"""Packing, levels and scales: a compiled plan on simulated slots equals the graph it came from."""

from __future__ import annotations

import re

import numpy as np
import pytest
from small_models import attention_graph, convolutions, ring, samples

from cipherformer.backends import ckks_sim
from cipherformer.compiler import Options, compile_graph
from cipherformer.errors import FormatError, LimitError
from cipherformer.graph.rewrite import GraphBuilder
from cipherformer.ops import ErrorBudget
from cipherformer.passes.level import assign_levels
from cipherformer.passes.pack import MAX_DIAGONALS, pack
from cipherformer.passes.pipeline import Settings, run_passes
from cipherformer.passes.regions import regions
from cipherformer.plan.plan import Plan
from cipherformer.plan.signature import Signature


@pytest.fixture(scope="module")
def plan() -> Plan:
    return compile_graph(attention_graph(8, 8, 2), samples((1, 8, 3)), Options(insecure_target=ring(12)))


@pytest.mark.parametrize(
    ("tokens", "width", "heads", "log_n"), [(8, 8, 2, 12), (4, 16, 1, 11), (5, 6, 3, 12)]
)
def test_a_transformer_block_equals_its_graph(tokens, width, heads, log_n):
    graph, data = attention_graph(tokens, width, heads), samples((1, tokens, 3))
    plan = compile_graph(graph, data, Options(insecure_target=ring(log_n)))
    for sample in data:
        exact = ckks_sim.run(plan, sample, seed=None).output
        assert np.allclose(exact, ckks_sim.reference(plan, sample), atol=1e-9)


def test_two_small_maps_replace_a_large_one():
    graph, data = attention_graph(16, 16, 1), samples((1, 16, 3))
    keep = next(n.name for n in graph if n.op == "add" and n.type.shape == (1, 16, 16))
    lowered = run_passes(graph, Settings(data))
    parts, outputs = regions(lowered, frozenset({keep}))
    widest = {
        stepwise: max(
            len(t.rotations) for t in pack(parts, outputs, 12, stepwise=stepwise).transforms.values()
        )
        for stepwise in (False, True)
    }
    assert widest[True] <= MAX_DIAGONALS < widest[False]


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolutional_network_equals_its_graph(stride):
    data = samples((1, 1, 12, 12))
    loose = ErrorBudget(activation=0.1)
    plan = compile_graph(convolutions(stride), data, Options(insecure_target=ring(11), budget=loose))
    for sample in data:
        exact = ckks_sim.run(plan, sample, seed=None).output
        assert np.allclose(exact, ckks_sim.reference(plan, sample), atol=1e-8)


def test_an_input_that_goes_straight_into_a_product():
    g = GraphBuilder("square")
    x = g.input("x", (1, 5))
    data = samples((1, 5))
    plan = compile_graph(g.finish(g.emit("mul", x, x)), data, Options(insecure_target=ring(10)))
    assert np.allclose(ckks_sim.run(plan, data[0], seed=None).output, data[0]["x"] ** 2)


def test_junk_in_padding_is_not_summed():
    """A polynomial of the zero padding is not zero; five tokens leave three padded ones."""
    rng = np.random.default_rng(2)
    g = GraphBuilder("padding")
    x = g.input("x", (1, 4, 5))
    bent = [
        g.emit(
            "polynomial",
            g.emit("mul", x, g.constant(0.5 + i)),
            coefficients=(0.7, 0.3, 0.2),
            low=-2.0,
            high=2.0,
        )
        for i in range(2)
    ]
    product = g.emit("matmul", bent[0], g.emit("permute", bent[1], dims=(0, 2, 1)))
    out = g.emit("linear", product, g.constant(rng.normal(size=(3, 4))))
    data = samples((1, 4, 5))
    plan = compile_graph(g.finish(out), data, Options(insecure_target=ring(10)))
    for sample in data:
        assert np.allclose(ckks_sim.run(plan, sample, seed=None).output, ckks_sim.reference(plan, sample))


def test_levels_fall_by_each_kernels_depth(plan):
    by_name = {s.name: s for s in plan.steps}
    for step in plan.steps:
        for name in step.inputs:
            assert by_name[name].level >= step.level_in >= step.level >= 0
    assert min(by_name[o].level for o in plan.outputs) == 0
    assert assign_levels(plan.steps, plan.outputs) == plan.steps


def test_scales_stay_near_the_primes(plan):
    assert all(abs(np.log2(s.scale) - 40) < 8 for s in plan.steps)


def test_noise_is_predicted(plan):
    assert 0 < plan.predicted_rms_error < 2**-12


def test_a_plan_survives_its_folder(plan, tmp_path):
    again = Plan.load(plan.save(tmp_path / "plan"))
    assert again.fingerprint == plan.fingerprint
    assert again.steps == plan.steps
    assert again.text() == plan.text()
    x = samples((1, 8, 3))[0]
    assert np.array_equal(ckks_sim.run(again, x).output, ckks_sim.run(plan, x).output)


def test_a_changed_plan_is_refused(plan, tmp_path):
    folder = plan.save(tmp_path / "plan")
    text = (folder / "plan.json").read_text()
    (folder / "plan.json").write_text(text.replace('"log_scale": 40', '"log_scale": 39'))
    with pytest.raises(FormatError, match="fingerprint"):
        Plan.load(folder)
    (folder / "plan.json").write_text("{}")
    with pytest.raises(FormatError):
        Plan.load(folder)
    with pytest.raises(FormatError, match="no readable plan"):
        Plan.load(tmp_path / "nowhere")


def test_a_signature_survives_its_text_and_holds_no_weights(plan):
    signature = plan.signature
    again = Signature.from_json(signature.to_json())
    assert again.fingerprint == plan.fingerprint and again.keys == signature.keys
    assert all(
        np.array_equal(a.packing, b.packing) for a, b in zip(again.inputs, signature.inputs, strict=True)
    )
    assert "coefficients" not in signature.to_json()
    for text in ("", "{}", "[]", re.sub(r'"version": \d+', '"version": 77', signature.to_json())):
        with pytest.raises(FormatError):
            Signature.from_json(text)


def test_too_many_levels_name_the_reason():
    with pytest.raises(LimitError, match="levels"):
        compile_graph(
            attention_graph(8, 8, 2),
            samples((1, 8, 3)),
            Options(insecure_target=ring(12), max_levels=6),
        )


def test_a_secure_ring_is_chosen():
    g = GraphBuilder("mlp")
    x = g.input("x", (1, 16))
    h = g.emit("power", g.emit("linear", x, g.constant(np.eye(16) / 2)), exponent=2)
    plan = compile_graph(g.finish(g.emit("linear", h, g.constant(np.ones((3, 16))))), samples((1, 16)))
    assert plan.target.security_bits == 128
    assert plan.target.log_n <= 14
    assert plan.levels == 3
