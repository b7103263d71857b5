"""Secrets stay with the client; paths, threads and contexts do not change a bit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import ckks_reference as reference
import numpy as np
import pytest
from native_party import SCALE, Party, make_parameters, make_party

import cipherformer._native as native


def public_artefacts(party: Party) -> dict[str, bytes]:
    secret = party.secret
    return {
        "parameters": party.context.params.to_bytes(),
        "public key": secret.public_key().to_bytes(),
        "relinearisation key": secret.relinearisation_key(party.top).to_bytes(),
        "rotation key": secret.rotation_key(1, party.top).to_bytes(),
        "conjugation key": secret.conjugation_key(party.top).to_bytes(),
        "ciphertext": party.encrypt(party.real()).to_bytes(),
    }


def encodings_of_secret(party: Party) -> list[bytes]:
    """The secret as it could leak: packed as it is saved, as integers of usual widths, as residues."""
    ring = reference.Ring.of(party.context.params)
    coefficients = reference.read_secret(party.secret.to_bytes(), ring)
    out = [party.secret.to_bytes()[48:80]]
    for dtype in ("i1", "<i4", "<i8", "<f8"):
        out.append(np.array(coefficients[:64], dtype).tobytes())
    for q in ring.moduli:
        out.append(np.array([c % q for c in coefficients[:64]], "<u8").tobytes())
    return out


def test_no_public_artefact_contains_the_secret(party: Party) -> None:
    needles = encodings_of_secret(party)
    assert party.secret.to_bytes().find(needles[0]) >= 0
    for name, data in public_artefacts(party).items():
        assert all(data.find(needle) < 0 for needle in needles), name


def test_no_public_class_gives_the_secret_away() -> None:
    for cls in (native.Context, native.PublicKey, native.SwitchingKey, native.KeySet, native.Evaluator):
        assert not [name for name in dir(cls) if "secret" in name or "decrypt" in name]


def test_uniform_halves_never_repeat(party: Party) -> None:
    """Equal requests draw different seeds (bytes 12 .. 44 of a ciphertext, 8 .. 40 of a key)."""
    plaintext = party.encode(party.real())
    seeds = [party.secret.encrypt(plaintext).to_bytes()[48 + 12 : 48 + 44] for _ in range(20)]
    seeds += [party.secret.rotation_key(1, 0).to_bytes()[48 + 8 : 48 + 40] for _ in range(5)]
    seeds += [party.secret.public_key().to_bytes()[48 : 48 + 32] for _ in range(5)]
    assert len(set(seeds)) == 30


def test_a_seed_determines_the_secret_and_nothing_else(party: Party) -> None:
    one, two = (native.SecretKey(party.context, b"s" * 32) for _ in range(2))
    assert one.to_bytes() == two.to_bytes()
    assert one.to_bytes() != native.SecretKey(party.context, b"t" * 32).to_bytes()
    assert native.SecretKey(party.context).to_bytes() != native.SecretKey(party.context).to_bytes()
    plaintext = party.encode(party.real())
    assert one.encrypt(plaintext).to_bytes() != two.encrypt(plaintext).to_bytes()
    with pytest.raises(ValueError, match="31 bytes"):
        native.SecretKey(party.context, b"s" * 31)


def test_the_secret_is_uniform_ternary(party: Party) -> None:
    ring = reference.Ring.of(party.context.params)
    values, counts = np.unique(reference.read_secret(party.secret.to_bytes(), ring), return_counts=True)
    assert list(values) == [-1, 0, 1]
    assert np.abs(counts / ring.n - 1 / 3).max() < 6 * np.sqrt(2 / 9 / ring.n)


class Scenario:
    """A fixed set of operations on fixed bytes."""

    def __init__(self, party: Party) -> None:
        self.values = party.complex()
        self.inputs = [party.encrypt(party.complex()).to_bytes() for _ in range(2)]
        self.keys = [
            party.secret.relinearisation_key(party.top).to_bytes(),
            party.secret.conjugation_key(party.top).to_bytes(),
            *(party.secret.rotation_key(steps, party.top).to_bytes() for steps in (1, 2, 4)),
        ]
        self.diagonals = party.complex(6 * 64).reshape(6, 64)

    def run(self, context: native.Context) -> list[bytes]:
        keys = native.KeySet(context)
        for data in self.keys:
            keys.add(context.switching_key(data))
        evaluator = native.Evaluator(context, keys)
        a, b = (context.ciphertext(data) for data in self.inputs)
        plaintext = context.encode(self.values, 5, SCALE)
        transform = context.linear_transform(list(range(6)), self.diagonals, 5, SCALE, 4 if keys else 1)
        results = [
            evaluator.add(a, b),
            evaluator.sub_plain(a, plaintext),
            evaluator.mul_plain(b, plaintext),
            evaluator.multiply(a, b),
            evaluator.multiply(a, b, rescale=True),
            evaluator.rescale(a),
            evaluator.conjugate(b),
            *evaluator.rotate_hoisted(a, [1, 2]),
            evaluator.rotate(evaluator.drop_level(a, 2), 4),
            evaluator.apply(transform, a),
            evaluator.apply(transform, b, rescale=True),
        ]
        return [result.to_bytes() for result in results]


@pytest.fixture(scope="module")
def scenario(party: Party) -> tuple[Scenario, list[bytes]]:
    party.keys.add(party.secret.rotation_key(3, 5))
    scenario = Scenario(party)
    scenario.keys.append(party.secret.rotation_key(3, 5).to_bytes())
    return scenario, scenario.run(native.Context(party.context.params, 1, "portable"))


@pytest.mark.parametrize("kernels", native.cpu_kernels())
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_paths_and_threads_give_the_same_bits(
    party: Party, scenario: tuple[Scenario, list[bytes]], kernels: str, threads: int
) -> None:
    inputs, expected = scenario
    assert inputs.run(native.Context(party.context.params, threads, kernels)) == expected


def test_one_context_serves_many_threads(party: Party, scenario: tuple[Scenario, list[bytes]]) -> None:
    inputs, expected = scenario
    context = native.Context(party.context.params, 2)
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda _: inputs.run(context), range(8)):
            assert result == expected


def test_many_contexts_in_many_threads() -> None:
    def work(index: int) -> float:
        party = make_party(make_parameters(10, 2 + index % 3), (1,), threads=1 + index % 2)
        x = party.complex()
        return party.error(party.evaluator.rotate(party.encrypt(x), 1), np.roll(x, -1))

    with ThreadPoolExecutor(4) as pool:
        assert max(pool.map(work, range(12))) < 2**-24


def test_objects_outlive_their_context() -> None:
    party = make_party(make_parameters(10, 2), (1,))
    x = party.real()
    a = party.encrypt(x)
    context, secret, evaluator = party.context, party.secret, party.evaluator
    del party, context
    rotated = evaluator.rotate(a, 1)
    del evaluator, a
    assert secret.decrypt(rotated).level == 2
