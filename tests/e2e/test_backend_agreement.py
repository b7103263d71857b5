"""One plan on three algebras: the engine does what the simulator and the counter say."""

from __future__ import annotations

import numpy as np
import pytest
from small_models import attention_graph, ring, samples

from cipherformer.backends import ckks_sim
from cipherformer.backends.ckks.client import ClientKeys, generate_keys
from cipherformer.backends.ckks.server import Evaluation
from cipherformer.compiler import Options, compile_graph
from cipherformer.errors import DataError, FormatError, KeyMismatchError, ParameterError
from cipherformer.plan.plan import Plan
from cipherformer.plan.weights import plan_weights

SHAPE = (1, 8, 3)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return compile_graph(attention_graph(8, 8, 2), samples(SHAPE), Options(insecure_target=ring(12)))


@pytest.fixture(scope="module")
def keys(plan: Plan) -> ClientKeys:
    return generate_keys(plan.signature, insecure=True)


@pytest.fixture(scope="module")
def server(plan: Plan, keys: ClientKeys) -> Evaluation:
    evaluation = Evaluation(plan, threads=1)
    for name, data in keys.evaluation_keys():
        evaluation.add_key(name, data)
    assert evaluation.missing_keys() == ()
    return evaluation


def test_an_encrypted_block_equals_its_graph_within_the_predicted_noise(plan, keys, server):
    errors, simulated = [], []
    for i, sample in enumerate(samples(SHAPE, 4)):
        answer, _ = server.run(keys.encrypt(sample))
        reference = ckks_sim.reference(plan, sample)
        errors.append(keys.decrypt(answer) - reference)
        simulated.append(ckks_sim.run(plan, sample, seed=i).output - reference)
    real, predicted = (float(np.sqrt(np.mean(np.square(e)))) for e in (errors, simulated))
    assert predicted / 4 < real < predicted * 4, (real, predicted)


def test_the_operations_are_exactly_those_that_were_counted(plan, keys, server):
    sample = samples(SHAPE)[0]
    _, trace = server.run(keys.encrypt(sample))
    simulated = ckks_sim.run(plan, sample)
    assert server.ledger.counts == simulated.ledger.counts == plan.ledger.counts
    assert server.ledger.rotations == plan.ledger.rotations
    calls = sum(r.calls for r in trace.records if r.primitive == "rotation")
    assert calls == sum(n for op, n in plan.ledger.counts.items() if op.primitive == "rotation")


def test_two_threads_give_the_same_answer(plan, keys, server):
    query = keys.encrypt(samples(SHAPE)[1])
    second = Evaluation(plan, threads=2)
    for name, data in keys.evaluation_keys():
        second.add_key(name, data)
    # Keys are fresh each time they are made, so the answers differ in noise only.
    a, b = (keys.decrypt(e.run(query)[0]) for e in (server, second))
    assert np.allclose(a, b, atol=1e-4)


def test_compact_weights_take_less_memory_and_give_the_same_bits(plan, keys):
    query, given = keys.encrypt(samples(SHAPE)[1]), list(keys.evaluation_keys())
    answers, held = [], []
    for limit in (1 << 60, 1):
        evaluation = Evaluation(plan, threads=1, max_weight_bytes=limit)
        for name, data in given:
            evaluation.add_key(name, data)
        evaluation.prepare()
        answers.append(evaluation.run(query)[0])
        held.append(sum(t.memory_bytes for t in evaluation.encoded.transforms.values()))
        predicted = plan_weights(plan.steps, plan.transforms, plan.target, limit)
        assert bool(predicted.compact) == bool(predicted.expansions) == (limit == 1)
        assert held[-1] <= predicted.held_bytes <= 2 * held[-1]
    assert answers[0] == answers[1]
    assert held[1] < held[0] / 4


def test_keys_of_another_secret_give_noise_not_answers(plan, server):
    sample = samples(SHAPE)[0]
    stranger = generate_keys(plan.signature, insecure=True)
    answer, _ = server.run(stranger.encrypt(sample))
    try:
        out = stranger.decrypt(answer)
    except DataError:
        return
    assert np.abs(out - ckks_sim.reference(plan, sample)).max() > 1


def test_what_does_not_fit_is_refused(plan, keys, server):
    sample = samples(SHAPE)[0]
    query = keys.encrypt(sample)
    with pytest.raises(FormatError, match="ciphertexts"):
        server.run(query[:-1])
    with pytest.raises(FormatError):
        server.run([query[0][:100], *query[1:]])
    with pytest.raises(FormatError, match="level"):
        server.run([query[-1]] * len(query))
    with pytest.raises(KeyMismatchError, match="missing"):
        Evaluation(plan).run(query)
    name, data = next(iter(keys.evaluation_keys()))
    with pytest.raises(KeyMismatchError, match="does not fit"):
        Evaluation(plan).add_key("rotate-77", data)
    with pytest.raises(FormatError):
        Evaluation(plan).add_key(name, data[:1000])
    for bad in (np.full(SHAPE, np.nan), np.full(SHAPE, 50.0), np.zeros((1, 8, 4))):
        with pytest.raises(DataError):
            keys.encrypt(bad)
    answer, _ = server.run(query)
    assert np.isfinite(keys.decrypt(answer)).all()


def test_a_secret_key_file_is_private_and_only_for_its_parameters(plan, keys, tmp_path):
    path = keys.save_secret(tmp_path / "secret.key")
    assert path.stat().st_mode & 0o777 == 0o600
    again = ClientKeys.load(plan.signature, path)
    sample = samples(SHAPE)[0]
    assert len(again.encrypt(sample)) == len(plan.signature.inputs)
    with pytest.raises(FormatError, match="already"):
        keys.save_secret(path)
    other = compile_graph(attention_graph(4, 8, 2), samples((1, 4, 3)), Options(insecure_target=ring(11)))
    with pytest.raises(KeyMismatchError):
        ClientKeys.load(other.signature, path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(FormatError):
        ClientKeys.load(plan.signature, path)


def test_keys_for_insecure_parameters_are_the_clients_own_decision(plan):
    with pytest.raises(ParameterError, match="not secure"):
        generate_keys(plan.signature)
