"""The client's key folder, addresses and manifests."""

from __future__ import annotations

import os
import stat

import pytest
from fake_backend import KEY_NAMES, make_keys
from hypothesis import given
from hypothesis import strategies as st

from cipherformer.errors import DataError, FormatError, KeyMismatchError
from cipherformer.serve.address import Address
from cipherformer.serve.keys import load
from cipherformer.serve.manifest import KeyEntry, Manifest


def test_a_key_folder_comes_back_and_the_secret_is_private(tmp_path) -> None:
    made = make_keys(tmp_path / "keys")
    read = load(tmp_path / "keys")
    assert read == made
    assert stat.S_IMODE(os.stat(read.secret_path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(tmp_path / "keys").st_mode) == 0o700
    assert [entry.name for entry in read.manifest.entries] == sorted(KEY_NAMES)


def test_a_secret_key_is_never_overwritten(tmp_path) -> None:
    made = make_keys(tmp_path / "keys")
    before = made.secret_path.read_bytes()
    with pytest.raises(KeyMismatchError, match="already"):
        make_keys(tmp_path / "keys")
    assert made.secret_path.read_bytes() == before


def test_a_readable_secret_is_refused(tmp_path) -> None:
    made = make_keys(tmp_path / "keys")
    os.chmod(made.secret_path, 0o644)
    with pytest.raises(KeyMismatchError, match="others can read"):
        load(tmp_path / "keys")


def test_a_damaged_key_is_noticed(tmp_path) -> None:
    made = make_keys(tmp_path / "keys")
    entry = made.manifest.entries[0]
    path = tmp_path / "keys" / "evaluation" / entry.name
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    with pytest.raises(FormatError, match="damaged"):
        list(load(tmp_path / "keys").read_chunks(entry))
    path.write_bytes(data[:-1])
    with pytest.raises(FormatError, match="damaged"):
        load(tmp_path / "keys")


def test_another_folder_is_a_clear_error(tmp_path) -> None:
    with pytest.raises(FormatError, match="not a folder of keys"):
        load(tmp_path)


@given(st.binary(max_size=200))
def test_random_bytes_are_no_manifest(data: bytes) -> None:
    with pytest.raises(FormatError):
        Manifest.from_bytes(data)


ENTRIES = st.lists(
    st.builds(
        KeyEntry,
        st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True),
        st.integers(1, 2**31),
        st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
    ),
    unique_by=lambda entry: entry.name,
    max_size=5,
)


@given(ENTRIES)
def test_a_manifest_comes_back_and_names_its_client(entries: list[KeyEntry]) -> None:
    made = Manifest("0" * 64, tuple(sorted(entries, key=lambda entry: entry.name)))
    read = Manifest.from_bytes(made.to_bytes())
    assert read == made and read.client == made.client
    assert Manifest("1" * 64, made.entries).client != made.client


@pytest.mark.parametrize(
    "entry",
    [["../x", 1, "0" * 64], ["a/b", 1, "0" * 64], ["a", 0, "0" * 64], ["a", 1, "0"], ["a", True, "0" * 64]],
)
def test_a_bad_entry_is_refused(entry) -> None:
    import json

    record = {"format": "cipherformer-keys-1", "keys": [entry], "parameters": "0" * 64}
    with pytest.raises(FormatError):
        Manifest.from_bytes(json.dumps(record).encode())


@pytest.mark.parametrize("text", ["unix:/tmp/x", "tcp:127.0.0.1:80", "tcp:::1:80"])
def test_an_address_comes_back(text: str) -> None:
    assert str(Address.parse(text)) == text and Address.parse(text).is_local


@pytest.mark.parametrize("text", ["", "unix:", "tcp:host", "tcp:host:x", "tcp::1", "http://x", "tcp:h:70000"])
def test_a_bad_address_is_refused(text: str) -> None:
    with pytest.raises(DataError):
        Address.parse(text)


def test_a_long_socket_path_is_refused() -> None:
    with pytest.raises(DataError, match="too long"):
        Address.parse("unix:/" + "x" * 200)
