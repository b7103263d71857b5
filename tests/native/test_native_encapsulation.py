"""Raising the modulus: what comes out, and that the ephemeral secret's key stays at the lowest modulus."""

from __future__ import annotations

import numpy as np
import pytest
from native_party import Party, make_parameters, make_party

import cipherformer._native as native

SCALE = 2.0**40


@pytest.fixture(scope="module")
def party() -> Party:
    made = make_party(make_parameters(11, 5, digit_size=2, special=2))
    made.keys.add(made.secret.encapsulation_key())
    made.keys.add(made.secret.decapsulation_key(made.top))
    return made


def multiples(party: Party, raised: native.Ciphertext, z: np.ndarray) -> tuple[np.ndarray, float]:
    """I and the largest error of (coefficients of `raised`) - (those of z) - q_0 I, in units of q_0."""
    slots = party.slots
    powers = np.array([pow(5, j, 4 * slots) for j in range(slots)])
    matrix = np.exp(2j * np.pi * (np.outer(powers, np.arange(slots)) % (4 * slots)) / (4 * slots))
    q0 = party.context.params.moduli[0]
    w = matrix.conj().T @ (party.decrypt(raised) - z) / slots * (SCALE / q0)
    integers = np.rint(w.real) + 1j * np.rint(w.imag)
    return integers, float(np.abs(w - integers).max())


@pytest.mark.parametrize("level", [5, 3])
def test_the_plaintext_gains_small_multiples_of_q0(party: Party, level: int) -> None:
    z = party.complex()
    raised = party.evaluator.raise_modulus(party.encrypt(z, 0), level)
    assert (raised.level, raised.scale, raised.size) == (level, SCALE, 2)
    found, error = multiples(party, raised, z)
    assert error < 2.0**-38
    assert np.abs(found.real).max() <= 14 and np.abs(found.imag).max() <= 14
    # A secret of weight 32 makes multiples of variance 33/12; the dense one would make 40 times that.
    assert np.mean(found.real**2) == pytest.approx(33 / 12, rel=0.3)


def test_the_encapsulating_key_exists_at_the_lowest_modulus_only(party: Party) -> None:
    key = party.secret.encapsulation_key()
    n, q0, p0 = 2 * party.slots, party.context.params.moduli[0], party.context.params.special_moduli[0]
    packed = sum(-(-n * q.bit_length() // 8) for q in (q0, p0))
    assert (key.kind, key.level, key.steps) == ("encapsulate", 0, 0)
    assert key.memory_bytes == 2 * 2 * n * 8  # two halves of two limbs: q_0 and one special prime
    header = 48 + 8 + 32
    assert key.size_bytes == header + packed
    assert np.log2(float(q0) * p0) < 101


def test_an_encapsulating_key_of_a_higher_level_is_refused(party: Party) -> None:
    forged = bytearray(party.secret.decapsulation_key(2).to_bytes())
    assert party.context.switching_key(bytes(forged)).kind == "decapsulate"
    forged[48] = 3  # the kind
    with pytest.raises(ValueError, match="lowest modulus"):
        party.context.switching_key(bytes(forged))


def test_keys_survive_their_bytes_and_belong_to_the_secret(party: Party) -> None:
    again = native.SecretKey.from_bytes(party.context, party.secret.to_bytes())
    keys = native.KeySet(party.context)
    keys.add(party.context.switching_key(again.encapsulation_key().to_bytes()))
    keys.add(party.context.switching_key(party.secret.decapsulation_key(4).to_bytes()))
    assert (
        keys.has("encapsulate", 0, 0) and keys.has("decapsulate", 0, 4) and not keys.has("decapsulate", 0, 5)
    )
    z = party.complex()
    raised = native.Evaluator(party.context, keys).raise_modulus(party.encrypt(z, 0), 4)
    assert multiples(party, raised, z)[1] < 2.0**-38


def test_refusals(party: Party) -> None:
    x = party.encrypt(party.real(), 1)
    with pytest.raises(ValueError, match="level 0"):
        party.evaluator.raise_modulus(x, 5)
    with pytest.raises(ValueError, match="highest level"):
        party.evaluator.raise_modulus(party.evaluator.drop_level(x, 0), 6)
    bare = native.Evaluator(party.context, native.KeySet(party.context))
    with pytest.raises(ValueError, match="missing key: encapsulate"):
        bare.raise_modulus(party.evaluator.drop_level(x, 0), 5)


def test_paths_and_threads_agree(party: Party) -> None:
    data = party.encrypt(party.complex(), 0).to_bytes()
    keys = [party.secret.encapsulation_key().to_bytes(), party.secret.decapsulation_key(5).to_bytes()]
    found = set()
    for path in native.cpu_kernels():
        context = native.Context(party.context.params, 2, path)
        key_set = native.KeySet(context)
        for key in keys:
            key_set.add(context.switching_key(key))
        found.add(native.Evaluator(context, key_set).raise_modulus(context.ciphertext(data), 5).to_bytes())
    assert len(found) == 1
