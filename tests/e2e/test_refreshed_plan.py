"""Plans deeper than their ring: refreshes are placed, counted, simulated, and run with a fake."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_models import attention_graph, deep_perceptron, ring, samples, two_branches

from cipherformer import _native as native
from cipherformer.backends import ckks_sim
from cipherformer.backends.ckks.client import generate_keys
from cipherformer.backends.ckks.engine import make_context
from cipherformer.backends.ckks.fake_bootstrap import FakeRefresh
from cipherformer.backends.ckks.server import Evaluation
from cipherformer.compiler import Options, check_refreshed, compile_graph
from cipherformer.errors import LimitError, ParameterError
from cipherformer.ops import ErrorBudget
from cipherformer.plan.plan import Plan
from cipherformer.plan.signature import Signature
from cipherformer.targets.bootstrap import BootstrapSet, bootstrap_set

SHAPE = (1, 8)


def short(levels_left: int) -> BootstrapSet:
    """A ring for tests in which few levels are left."""
    return replace(bootstrap_set("insecure-n11"), name="insecure-short", levels_left=levels_left)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return compile_graph(deep_perceptron(5), samples(SHAPE), Options(bootstrap=short(5)))


@pytest.fixture(scope="module")
def branched() -> Plan:
    return compile_graph(two_branches(), samples(SHAPE), Options(bootstrap=short(4)))


def run_with_fake(plan: Plan, count: int) -> tuple[Evaluation, list[np.ndarray]]:
    """Answers of an encrypted run whose refreshes decrypt and encrypt again."""
    keys = generate_keys(plan.signature, insecure=True, seed=bytes(32))
    context = make_context(plan.target)
    secret = native.SecretKey(context, bytes(32))
    assert plan.bootstrap is not None
    server = Evaluation(plan, threads=1, refresher=FakeRefresh(context, secret, plan.bootstrap))
    for name, data in keys.evaluation_keys():
        server.add_key(name, data)
    return server, [keys.decrypt(server.run(keys.encrypt(x))[0]) for x in samples(SHAPE, count)]


def rms(errors: list[np.ndarray]) -> float:
    return float(np.sqrt(np.mean(np.square(errors))))


def test_a_deep_model_equals_its_graph(plan):
    assert plan.ledger.counts.total() and plan.summary()["bootstraps"] >= 2
    for sample in samples(SHAPE):
        exact = ckks_sim.run(plan, sample, seed=None).output
        assert np.allclose(exact, ckks_sim.reference(plan, sample), atol=1e-9)


def test_every_step_stays_below_the_levels_of_a_refresh(plan):
    by_name = {s.name: s for s in plan.steps}
    assert plan.bootstrap is not None
    for step in plan.steps:
        assert 0 <= step.level <= plan.bootstrap.output_level
        for name in step.inputs:
            assert by_name[name].level >= step.level_in
        if step.kernel == "refresh":
            assert step.level_in == plan.bootstrap.input_level
            assert step.level == plan.bootstrap.output_level


def test_a_refresh_says_why_it_stands_there(plan):
    refreshed = [line for line in plan.text().splitlines() if "refresh(" in line]
    assert len(refreshed) == plan.summary()["bootstraps"]
    assert all("serves" in line and ("elsewhere" in line or "no plan" in line) for line in refreshed)


def test_a_refreshed_plan_survives_its_folder(plan, tmp_path):
    again = Plan.load(plan.save(tmp_path / "plan"))
    assert again.fingerprint == plan.fingerprint
    assert again.bootstrap == plan.bootstrap and again.steps == plan.steps
    signature = Signature.from_json(plan.signature.to_json())
    assert signature.keys == plan.signature.keys
    assert signature.target == plan.target


def test_an_encrypted_run_has_the_predicted_error(plan):
    server, answers = run_with_fake(plan, 4)
    inputs = samples(SHAPE, 4)
    exact = [ckks_sim.reference(plan, x) for x in inputs]
    real = rms([a - e for a, e in zip(answers, exact, strict=True)])
    simulated = rms([ckks_sim.run(plan, x, seed=i).output - exact[i] for i, x in enumerate(inputs)])
    assert simulated / 4 < real < simulated * 4
    assert server.ledger.counts == plan.ledger.counts


def test_the_real_bootstrapping_answers_as_the_fake_one(plan):
    keys = generate_keys(plan.signature, insecure=True)
    server = Evaluation(plan, threads=1)
    for name, data in keys.evaluation_keys():
        server.add_key(name, data)
    assert server.missing_keys() == ()
    inputs = samples(SHAPE, 2)
    answers = [keys.decrypt(server.run(keys.encrypt(x))[0]) for x in inputs]
    exact = [ckks_sim.reference(plan, x) for x in inputs]
    error = rms([a - e for a, e in zip(answers, exact, strict=True)])
    assert error < 4 * plan.predicted_rms_error
    assert server.ledger.counts == plan.ledger.counts
    assert server.ledger.rotations == plan.ledger.rotations


def test_two_branches_share_their_calls(branched):
    calls = [s for s in branched.steps if s.kernel == "refresh"]
    assert any(len(s.inputs) == 2 for s in calls)
    assert {s.inputs[0] for s in branched.steps if s.kernel == "part"} <= {s.name for s in calls}
    for sample in samples(SHAPE):
        exact = ckks_sim.run(branched, sample, seed=None).output
        assert np.allclose(exact, ckks_sim.reference(branched, sample), atol=1e-9)
    server, answers = run_with_fake(branched, 1)
    assert np.allclose(answers[0], ckks_sim.reference(branched, samples(SHAPE, 1)[0]), atol=1e-3)
    assert server.ledger.counts == branched.ledger.counts


def answers_of(plan: Plan, inputs: list[dict[str, np.ndarray]], threads: int = 1) -> list[np.ndarray]:
    """Answers of an encrypted run with the plan's own keys and bootstrapping."""
    keys = generate_keys(plan.signature, insecure=True)
    server = Evaluation(plan, threads=threads)
    for name, data in keys.evaluation_keys():
        server.add_key(name, data)
    return [keys.decrypt(server.run(keys.encrypt(x))[0]) for x in inputs]


def test_a_transformer_of_two_blocks():
    bootstrap = replace(bootstrap_set("insecure-n11"), log_n=12)
    budget = ErrorBudget(activation=0.1, max_reciprocal_ratio=100.0)
    data = samples((1, 4, 3))
    plan = compile_graph(
        attention_graph(4, 8, 2, blocks=2), data, Options(bootstrap=bootstrap, budget=budget)
    )
    assert plan.summary()["bootstraps"] >= 1
    (answer,) = answers_of(plan, data[:1])
    exact = ckks_sim.reference(plan, data[0])
    assert np.allclose(ckks_sim.run(plan, data[0], seed=None).output, exact, atol=1e-9)
    assert rms([answer - exact]) < 4 * plan.predicted_rms_error < 1e-3


@pytest.mark.slow
def test_a_deep_model_at_full_size():
    bootstrap = replace(bootstrap_set("n16-dense"), name="insecure-n16")
    plan = compile_graph(deep_perceptron(8), samples(SHAPE), Options(bootstrap=bootstrap))
    assert plan.summary()["bootstraps"] >= 1
    inputs = samples(SHAPE, 1)
    (answer,) = answers_of(plan, inputs, threads=2)
    assert rms([answer - ckks_sim.reference(plan, inputs[0])]) < 4 * plan.predicted_rms_error


def test_a_model_that_fits_is_not_refreshed():
    graph, data = deep_perceptron(1), samples(SHAPE)
    leveled = compile_graph(graph, data)
    assert leveled.bootstrap is None and leveled.target.security_bits == 128
    roomy = compile_graph(graph, data, Options(bootstrap=short(5)))
    assert roomy.summary()["bootstraps"] == 0


def test_without_bootstrapping_a_deep_model_is_refused():
    with pytest.raises(LimitError, match="levels"):
        compile_graph(
            deep_perceptron(5),
            samples(SHAPE),
            Options(insecure_target=ring(11, 6), bootstrap="never", max_levels=6),
        )
    with pytest.raises(ParameterError, match="no bootstrapping set"):
        compile_graph(deep_perceptron(1), samples(SHAPE), Options(bootstrap="unknown"))


def test_values_beyond_their_range_are_named(plan):
    check_refreshed(plan, samples(SHAPE))
    with pytest.raises(LimitError, match=r"blocks\.\d.*refreshed"):
        check_refreshed(plan, corners(plan))


def corners(plan: Plan) -> list[dict[str, np.ndarray]]:
    """The corners of the calibrated box, which the samples did not reach."""
    spec = plan.signature.inputs[0]
    return [{"x": np.full(SHAPE, v)} for v in (spec.low, spec.high)]


def test_a_fake_needs_an_insecure_set(plan):
    context = make_context(plan.target)
    with pytest.raises(ParameterError, match="secret key"):
        FakeRefresh(context, native.SecretKey(context), bootstrap_set("n16-dense"))
