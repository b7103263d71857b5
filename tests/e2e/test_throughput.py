"""Throughput mode: a batch fills the slots, a stack of ciphertexts holds a tensor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_models import attention_graph, deep_perceptron, ring, samples
from test_refreshed_plan import short

from cipherformer import _native as native
from cipherformer.backends import ckks_sim
from cipherformer.backends.ckks.client import generate_keys
from cipherformer.backends.ckks.engine import make_context
from cipherformer.backends.ckks.fake_bootstrap import FakeRefresh
from cipherformer.backends.ckks.server import Evaluation
from cipherformer.compiler import Options, compile_graph
from cipherformer.errors import DataError, LimitError, ParameterError
from cipherformer.graph import Graph
from cipherformer.graph.rewrite import GraphBuilder
from cipherformer.plan import throughput
from cipherformer.plan.plan import Plan
from cipherformer.plan.signature import Signature

TOKENS = 8


def options(log_n: int = 9, levels: int = 20) -> Options:
    return Options(mode="throughput", insecure_target=ring(log_n, levels))


def with_tokens() -> Plan:
    """One encoder layer, its tokens in the slots; an odd number of features in a head."""
    graph = attention_graph(TOKENS, 6, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(throughput, "MAX_STACK", 16)  # a ciphertext for each coordinate is not to be had
        return compile_graph(graph, samples((1, TOKENS, 3)), options())


def without_tokens() -> Plan:
    return compile_graph(attention_graph(4, 4, 2), samples((1, 4, 3)), options())


def perceptron() -> Plan:
    return compile_graph(deep_perceptron(2), samples((1, 8)), options(levels=8))


PLANS = {"tokens": with_tokens, "coordinates": without_tokens, "perceptron": perceptron}


@pytest.fixture(scope="module", params=PLANS)
def plan(request: pytest.FixtureRequest) -> Plan:
    return PLANS[request.param]()


def batch_of(plan: Plan, count: int | None = None) -> np.ndarray:
    shape = plan.graph.inputs[0].type.shape[1:]
    return np.random.default_rng(9).uniform(-1, 1, (count or plan.batch, *shape))


def answered(plan: Plan, x: np.ndarray, fake: bool = False) -> tuple[np.ndarray, Evaluation]:
    keys = generate_keys(plan.signature, insecure=True, seed=bytes(32))
    refresher = None
    if fake:
        context = make_context(plan.target)
        assert plan.bootstrap is not None
        refresher = FakeRefresh(context, native.SecretKey(context, bytes(32)), plan.bootstrap)
    server = Evaluation(plan, threads=1, refresher=refresher)
    for name, data in keys.evaluation_keys():
        server.add_key(name, data)
    return keys.decrypt(server.run(keys.encrypt(x))[0]), server


def test_a_batch_is_answered_as_its_inputs_alone(plan):
    x = batch_of(plan)
    expected = ckks_sim.reference(plan, x)
    assert expected.shape[0] == plan.batch == plan.target.slots // (TOKENS if plan.batch == 32 else 1)
    # Weights are rounded to 28 bits for a row.
    assert np.abs(ckks_sim.run(plan, x, seed=None).output - expected).max() < 1e-6
    found, server = answered(plan, x)
    error = float(np.sqrt(np.mean(np.square(found - expected))))
    assert np.abs(found - expected).max() < 1e-6
    assert plan.predicted_rms_error / 4 < error < plan.predicted_rms_error * 4
    assert server.ledger.counts == plan.ledger.counts


def test_linear_layers_do_not_rotate(plan):
    rotating = {o.step for o in plan.ledger.counts if o.primitive in ("rotation", "rotations")}
    by_name = {s.name: s for s in plan.steps}
    for name in rotating:
        step = by_name[name]
        # Sums over keys, or over tokens, rotate.
        assert step.kernel in ("scores", "attended") or step.sums or step.terms[0].post
    if plan.batch == plan.target.slots:
        assert not rotating


def test_a_plan_and_its_signature_are_read_as_they_were_written(plan, tmp_path):
    plan.save(tmp_path)
    again = Plan.load(tmp_path)
    assert again.fingerprint == plan.fingerprint and again.steps == plan.steps
    x = batch_of(plan)
    signature = Signature.from_json(again.signature.to_json())
    packed, before = signature.pack(x), plan.signature.pack(x)
    assert all(np.array_equal(a, b) for a, b in zip(packed, before, strict=True))
    slots = ckks_sim.run(plan, x, seed=None)
    assert slots.output.shape == (plan.batch, 5 if plan.name == "attention" else 3)


def test_a_smaller_batch_is_filled_up(plan):
    x = batch_of(plan, 3)
    found = ckks_sim.run(plan, x, seed=None).output
    assert np.abs(found[:3] - ckks_sim.reference(plan, x)).max() < 1e-6
    with pytest.raises(DataError, match="the model takes"):
        plan.signature.pack(batch_of(plan, plan.batch + 1))


def test_refreshes_are_placed_by_the_size_of_stacks():
    plan = compile_graph(deep_perceptron(4), samples((1, 8)), Options(mode="throughput", bootstrap=short(5)))
    widths = [s.stack for s in plan.steps if s.kernel == "refresh"]
    assert widths and plan.summary()["bootstraps"] == sum((w + 1) // 2 for w in widths)
    x = batch_of(plan)
    found, server = answered(plan, x, fake=True)
    assert np.abs(found - ckks_sim.reference(plan, x)).max() < 2e-3
    assert server.ledger.counts == plan.ledger.counts


def test_hidden_states_of_all_tokens_can_be_read():
    g = GraphBuilder("states")
    rng = np.random.default_rng(2)
    h = g.emit("linear", g.input("x", (1, TOKENS, 3)), g.constant(rng.normal(size=(2, 3))))
    graph = g.finish(g.emit("add", g.emit("power", h, exponent=2), g.constant(rng.normal(size=(TOKENS, 2)))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(throughput, "MAX_STACK", 4)
        plan = compile_graph(graph, samples((1, TOKENS, 3)), options(levels=4))
    x = batch_of(plan)
    found, _ = answered(plan, x)
    assert found.shape == (plan.batch, TOKENS, 2)
    assert np.abs(found - ckks_sim.reference(plan, x)).max() < 1e-6


def of_tokens(kind: str) -> Graph:
    """A model that does with tokens what stacks cannot."""
    g = GraphBuilder(kind)
    rng = np.random.default_rng(0)
    x = g.input("x", (1, TOKENS, 3))
    if kind == "mixed":
        turned = g.emit("permute", x, dims=(0, 2, 1))
        out = g.emit("power", g.emit("linear", turned, g.constant(rng.normal(size=(5, TOKENS)))), exponent=2)
    else:
        first = g.emit("slice", x, dim=1, start=0, stop=1, step=1)
        out = g.emit("power", g.emit("linear", first, g.constant(rng.normal(size=(2, 3)))), exponent=2)
    return g.finish(g.emit("linear", out, g.constant(rng.normal(size=(2, g.type_of(out).shape[-1])))))


@pytest.mark.parametrize(
    ("kind", "message"), [("mixed", "mixes tokens"), ("one", "non-linear operation on one token")]
)
def test_what_stacks_cannot_do_is_a_clear_error(kind, message, monkeypatch):
    monkeypatch.setattr(throughput, "MAX_STACK", 4)
    with pytest.raises(LimitError, match=message):
        compile_graph(of_tokens(kind), samples((1, TOKENS, 3)), options(levels=4))


def test_wrong_options_are_clear_errors():
    graph, inputs = deep_perceptron(1), samples((1, 8))
    with pytest.raises(ParameterError, match="no mode is called 'fast'"):
        compile_graph(graph, inputs, Options(mode="fast"))
    with pytest.raises(ParameterError, match="flood_bits in throughput mode"):
        compile_graph(graph, inputs, replace(options(), flood_bits=10))
