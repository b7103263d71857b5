"""Byte forms: round trips, refusals, fuzzing. A reader returns a valid object or raises ValueError."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_party import Party, make_parameters, make_party

import cipherformer._native as native

PARTY = make_party(make_parameters(4, 3), (1,))
OTHER = make_party(make_parameters(4, 2))
CONTEXT = PARTY.context

READERS: dict[str, Callable[[bytes], object]] = {
    "parameters": native.Parameters.from_bytes,
    "ciphertext": CONTEXT.ciphertext,
    "public_key": CONTEXT.public_key,
    "switching_key": CONTEXT.switching_key,
    "secret_key": lambda data: native.SecretKey.from_bytes(CONTEXT, data),
}


def samples(party: Party) -> dict[str, bytes]:
    return {
        "parameters": party.context.params.to_bytes(),
        "ciphertext": party.encrypt(party.real()).to_bytes(),
        "public_key": party.secret.public_key().to_bytes(),
        "switching_key": party.secret.conjugation_key(2).to_bytes(),
        "secret_key": party.secret.to_bytes(),
    }


SAMPLES, FOREIGN = samples(PARTY), samples(OTHER)
EXPANDED = PARTY.evaluator.negate(PARTY.encrypt(PARTY.real())).to_bytes()
THREE_PARTS = PARTY.evaluator.square(PARTY.encrypt(PARTY.real()), relinearise=False).to_bytes()
VALID = [*SAMPLES.items(), ("ciphertext", EXPANDED), ("ciphertext", THREE_PARTS)]
KINDS = sorted(READERS)


@pytest.mark.parametrize(("kind", "data"), VALID)
def test_round_trip(kind: str, data: bytes) -> None:
    assert READERS[kind](data).to_bytes() == data
    assert READERS[kind](bytearray(data)).to_bytes() == data
    assert READERS[kind](memoryview(data)).to_bytes() == data


def test_values_survive() -> None:
    values = PARTY.complex()
    for ciphertext in (PARTY.encrypt(values), PARTY.evaluator.rotate(PARTY.encrypt(values), 1)):
        again = CONTEXT.ciphertext(ciphertext.to_bytes())
        assert np.array_equal(PARTY.decrypt(again), PARTY.decrypt(ciphertext))
        assert (again.level, again.scale, again.digest) == (
            ciphertext.level,
            ciphertext.scale,
            CONTEXT.params.digest,
        )


def test_keys_survive(party: Party) -> None:
    values = party.complex()
    keys = native.KeySet(party.context)
    for key in (
        party.secret.relinearisation_key(3),
        party.secret.rotation_key(6, 4),
        party.secret.conjugation_key(2),
    ):
        again = party.context.switching_key(key.to_bytes())
        assert (again.kind, again.steps, again.level) == (key.kind, key.steps, key.level)
        keys.add(again)
    evaluator = native.Evaluator(party.context, keys)
    a = party.encrypt(values, 2)
    assert party.error(evaluator.rotate(a, 6), np.roll(values, -6)) < 2**-24
    assert party.error(evaluator.conjugate(a), values.conj()) < 2**-24
    assert party.error(evaluator.square(a), values**2) < 2**-24
    secret = native.SecretKey.from_bytes(party.context, party.secret.to_bytes())
    assert np.array_equal(party.context.decode(secret.decrypt(a)), party.decrypt(a))
    public = party.context.public_key(party.secret.public_key().to_bytes())
    assert party.error(public.encrypt(party.encode(values)), values) < 2**-20


def test_seeds_halve_messages(party: Party) -> None:
    fresh = party.encrypt(party.real())
    assert len(fresh.to_bytes()) < 0.51 * len(party.evaluator.negate(fresh).to_bytes())
    bits = sum(q.bit_length() for q in party.context.params.moduli)
    assert len(fresh.to_bytes()) < bits * 4096 / 8 + 128
    key = party.secret.rotation_key(1, 5)
    assert key.size_bytes < 0.5 * key.memory_bytes


@pytest.mark.parametrize("kind", KINDS)
def test_every_truncation_is_refused(kind: str) -> None:
    data = SAMPLES[kind]
    lengths = {*range(0, len(data), max(1, len(data) // 200)), *range(min(64, len(data))), len(data) - 1}
    for length in lengths:
        with pytest.raises(ValueError, match=r"truncated|CFHE|end early"):
            READERS[kind](data[:length])
    with pytest.raises(ValueError, match="truncated or extended"):
        READERS[kind](data + b"\0")


@pytest.mark.parametrize("kind", KINDS)
def test_version_kind_and_parameters(kind: str) -> None:
    data = SAMPLES[kind]
    with pytest.raises(ValueError, match="format version 9, this build reads 1"):
        READERS[kind](data[:4] + b"\x09\x00" + data[6:])
    other = "public_key" if kind == "ciphertext" else "ciphertext"
    with pytest.raises(ValueError, match="these bytes hold"):
        READERS[kind](SAMPLES[other])
    with pytest.raises(ValueError, match="do not start with CFHE"):
        READERS[kind](b"PK\x03\x04" + data[4:])
    if kind != "parameters":
        with pytest.raises(ValueError, match="other parameters"):
            READERS[kind](FOREIGN[kind])


def test_fields_are_checked() -> None:
    """Offsets after the 48-byte header, as serialise.cpp writes them."""
    ciphertext, key, secret = (bytearray(SAMPLES[k]) for k in ("ciphertext", "switching_key", "secret_key"))

    def edited(data: bytearray, at: int, value: bytes) -> bytes:
        return bytes(data[: 48 + at] + value + data[48 + at + len(value) :])

    for data, at, value, message in (
        (ciphertext, 0, b"\x04", "number of parts"),
        (ciphertext, 0, b"\x03", "number of parts"),
        (ciphertext, 1, b"\x02", "seed flag"),
        (ciphertext, 2, b"\xff\xff", "level 65535"),
        (ciphertext, 2, b"\x00\x00", "length is wrong"),
        (ciphertext, 4, np.float64(np.nan).tobytes(), "scale"),
        (ciphertext, 4, np.float64(-1).tobytes(), "scale"),
        (ciphertext, 4 + 8 + 32, b"\xff" * 16, "not below its modulus"),
        (key, 0, b"\x09", "unknown kind"),
        (key, 1, b"\x01", "unknown kind"),
        (key, 0, b"\x01", "rotation by 0"),
        (key, 2, b"\x09\x00", "level 9"),
        (key, 4, b"\x01\x00\x00\x00", "rotation by 1"),
        (secret, 0, b"\xff", "not below its modulus"),
    ):
        reader = {id(ciphertext): "ciphertext", id(key): "switching_key", id(secret): "secret_key"}[id(data)]
        with pytest.raises(ValueError, match=message):
            READERS[reader](edited(data, at, value))


def test_a_sparse_secret_key_has_its_weight() -> None:
    params = make_parameters(6, 1, hamming_weight=20)
    context = native.Context(params)
    data = native.SecretKey(context).to_bytes()
    assert sum((byte >> shift & 3) != 1 for byte in data[48:] for shift in (0, 2, 4, 6)) == 20
    native.SecretKey.from_bytes(context, data)
    with pytest.raises(ValueError, match="Hamming weight"):
        native.SecretKey.from_bytes(context, data[:48] + b"\x55" * (len(data) - 48))


def test_only_bytes_are_read() -> None:
    for reader in READERS.values():
        with pytest.raises(TypeError):
            reader("text")


def survives(kind: str, data: bytes) -> None:
    try:
        again = READERS[kind](data)
    except ValueError as error:
        assert str(error)
    else:
        assert READERS[kind](again.to_bytes()).to_bytes() == again.to_bytes()


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(KINDS), st.binary(max_size=300))
def test_random_bytes(kind: str, data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        READERS[kind](data)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(KINDS), st.binary(max_size=300))
def test_random_bytes_after_a_good_header(kind: str, data: bytes) -> None:
    header = SAMPLES[kind][:40] + len(data).to_bytes(8, "little")
    survives(kind, header + data)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(VALID), st.data())
def test_bit_flips(sample: tuple[str, bytes], data: st.DataObject) -> None:
    kind, valid = sample
    damaged = bytearray(valid)
    for bit in data.draw(st.lists(st.integers(0, 8 * len(valid) - 1), min_size=1, max_size=8)):
        damaged[bit // 8] ^= 1 << bit % 8
    survives(kind, bytes(damaged))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(VALID), st.data())
def test_cut_and_spliced(sample: tuple[str, bytes], data: st.DataObject) -> None:
    kind, valid = sample
    cut = data.draw(st.integers(0, len(valid)))
    survives(
        kind, valid[:cut] + data.draw(st.binary(max_size=64)) + valid[data.draw(st.integers(0, len(valid))) :]
    )
