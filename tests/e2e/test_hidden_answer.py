"""Plans that hide the weights: cleared slots, re-randomised answers, precision as the plan foretells."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import insecure_target, samples, secure_plan

from cipherformer.backends.ckks.client import ClientKeys, generate_keys, release
from cipherformer.backends.ckks.server import Evaluation
from cipherformer.backends.ckks_sim import reference
from cipherformer.compiler import Options
from cipherformer.errors import FormatError, KeyMismatchError, ParameterError
from cipherformer.plan.plan import Plan

X = samples()
FLOOD_BITS = 20


@pytest.fixture(scope="module")
def plans() -> dict[bool, Plan]:
    target = insecure_target()
    return {
        hidden: secure_plan(Options(insecure_target=target, flood_bits=FLOOD_BITS if hidden else -1))
        for hidden in (False, True)
    }


def served(plan: Plan) -> tuple[ClientKeys, Evaluation]:
    keys = generate_keys(plan.signature, insecure=True)
    server = Evaluation(plan, threads=1)
    for name, data in keys.evaluation_keys():
        server.add_key(name, data)
    return keys, server


def slots_of(keys: ClientKeys, answer: list[bytes]) -> np.ndarray:
    return np.real(keys._context.decode(keys._secret.decrypt(keys._context.ciphertext(answer[0]))))


def test_unused_slots_tell_nothing(plans: dict[bool, Plan]) -> None:
    largest = {}
    for hidden, plan in plans.items():
        keys, server = served(plan)
        slots = slots_of(keys, server.run(keys.encrypt(X[:1]))[0])
        largest[hidden] = np.abs(np.delete(slots, plan.signature.outputs[0].slots)).max()
    assert largest[False] > 1e-2  # what is hidden was there
    assert largest[True] < 1e-3  # the flood alone


def test_the_error_is_the_predicted_one(plans: dict[bool, Plan]) -> None:
    plan = plans[True]
    keys, server = served(plan)
    errors = [keys.decrypt(server.run(keys.encrypt(x[None]))[0]) - reference(plan, x[None]) for x in X]
    found = float(np.sqrt(np.mean(np.square(errors))))
    assert plan.predicted_rms_error > 20 * plans[False].predicted_rms_error
    assert plan.predicted_rms_error / 2 < found < plan.predicted_rms_error * 2


def test_answers_differ_from_one_run_to_the_next(plans: dict[bool, Plan]) -> None:
    for hidden, plan in plans.items():
        keys, server = served(plan)
        query = keys.encrypt(X[:1])
        assert (server.run(query)[0] == server.run(query)[0]) is not hidden


def test_the_public_key_is_asked_for_and_checked(plans: dict[bool, Plan]) -> None:
    plan = plans[True]
    assert "public" in plan.signature.keys and "public" not in plans[False].signature.keys
    keys = generate_keys(plan.signature, insecure=True)
    server = Evaluation(plan, threads=1)
    for name, data in keys.evaluation_keys():
        if name != "public":
            server.add_key(name, data)
    assert server.missing_keys() == ("public",)
    with pytest.raises(KeyMismatchError, match="public"):
        server.run(keys.encrypt(X[:1]))
    with pytest.raises((FormatError, KeyMismatchError)):
        server.add_key("public", dict(keys.evaluation_keys())["relinearise"])
    other = Evaluation(plans[False], threads=1)
    with pytest.raises((FormatError, KeyMismatchError)):
        other.add_key("public", dict(keys.evaluation_keys())["public"])


def test_a_plan_keeps_its_flood(plans: dict[bool, Plan], tmp_path) -> None:
    plan = plans[True]
    loaded = Plan.load(plan.save(tmp_path))
    assert loaded.flood_bits == loaded.signature.flood_bits == FLOOD_BITS


def test_a_flood_without_room_is_refused() -> None:
    with pytest.raises(ParameterError, match="flood_bits is 49"):
        secure_plan(Options(insecure_target=insecure_target(), flood_bits=49))


def test_released_values_do_not_show_the_error() -> None:
    """Values a multiple of 2^-8 away from boundaries, under errors below a quarter of that: always equal."""
    rng = np.random.default_rng(0)
    exact = rng.integers(-1000, 1000, 500) / 256
    for _ in range(20):
        noisy = exact + rng.uniform(-1, 1, 500) / 1024
        assert (release(noisy, 8) == exact).all()
