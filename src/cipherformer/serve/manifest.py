"""The list of a client's evaluation keys, and the client's name, which is the digest of that list.

Because the name is the SHA-256 of names, sizes and digests of the keys, nobody can replace another client's
keys on a server, and a key that was damaged on disk is noticed when it is read.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from cipherformer.errors import FormatError
from cipherformer.serve.messages import MAX_KEY_BYTES, MAX_KEYS

FORMAT = "cipherformer-keys-1"
_NAME = re.compile(r"[A-Za-z0-9_.+:-]{1,48}")
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One evaluation key.

    Args:
        name: as the plan's signature names it, e.g. `rotate-16-l12`.
        size: bytes.
        sha256: of those bytes, hexadecimal.
    """

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """All evaluation keys of one client.

    Args:
        parameters: SHA-256 of the encryption parameters they belong to, hexadecimal.
        entries: sorted by name, without repetition.
    """

    parameters: str
    entries: tuple[KeyEntry, ...]

    @property
    def client(self) -> str:
        """The client's name: SHA-256 of `to_bytes()`, hexadecimal."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all keys together."""
        return sum(entry.size for entry in self.entries)

    def by_name(self) -> dict[str, KeyEntry]:
        """Entries by name."""
        return {entry.name: entry for entry in self.entries}

    def to_bytes(self) -> bytes:
        """Canonical JSON: the same manifest always gives the same bytes."""
        keys = [[entry.name, entry.size, entry.sha256] for entry in self.entries]
        record = {"format": FORMAT, "keys": keys, "parameters": self.parameters}
        return json.dumps(record, separators=(",", ":"), sort_keys=True).encode()

    @classmethod
    def from_bytes(cls, data: bytes, *, where: str = "manifest of keys") -> Manifest:
        """Reads and checks a manifest.

        Raises:
            FormatError: if it is not one, or not in canonical form.
        """
        try:
            record = json.loads(data.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise FormatError("not a manifest: not JSON", where=where) from error
        if not isinstance(record, dict) or set(record) != {"format", "keys", "parameters"}:
            raise FormatError("not a manifest: wrong fields", where=where)
        if record["format"] != FORMAT:
            raise FormatError("a manifest of another format", where=where, fix="make the keys again")
        if not isinstance(record["keys"], list) or len(record["keys"]) > MAX_KEYS:
            raise FormatError("a bad list of keys", where=where, why=f"at most {MAX_KEYS} keys are allowed")
        if not _is_digest(record["parameters"]):
            raise FormatError("a bad digest of parameters", where=where)
        entries = tuple(_entry(item, where) for item in record["keys"])
        names = [entry.name for entry in entries]
        if names != sorted(set(names)):
            raise FormatError("a list of keys that is not sorted or repeats a name", where=where)
        return cls(record["parameters"], entries)


def _entry(item: Any, where: str) -> KeyEntry:
    if not isinstance(item, list) or len(item) != 3:
        raise FormatError("a bad entry in the list of keys", where=where)
    name, size, sha256 = item
    if not isinstance(name, str) or not _NAME.fullmatch(name) or not _is_digest(sha256):
        raise FormatError("a bad entry in the list of keys", where=where)
    if type(size) is not int or not 0 < size <= MAX_KEY_BYTES:
        raise FormatError("a bad size in the list of keys", where=where)
    return KeyEntry(name, size, sha256)


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _HEX.fullmatch(value) is not None
