"""Evaluation keys on the server's disk: one folder a client, one file a key, named by digest.

    STORE/<client>/manifest.json
    STORE/<client>/<sha256 of the key>.key

A file appears under its name only when it is complete and its digest is right (written aside, then renamed),
so a server that was killed at any moment serves the same keys again after a restart.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cipherformer.errors import FormatError, LimitError
from cipherformer.serve.manifest import KeyEntry, Manifest


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """What a key store accepts.

    Args:
        client_bytes: largest sum of one client's keys.
        clients: most clients whose keys are kept; the least recently used one makes room.
        spare_bytes: disk space that is left free.
    """

    client_bytes: int = 8 << 30
    clients: int = 16
    spare_bytes: int = 1 << 30


class KeyStore:
    """Evaluation keys of many clients in one folder. It never sees a secret key.

    Args:
        folder: created with mode 0700 if it is not there.
        limits: what is accepted.
    """

    def __init__(self, folder: Path, limits: StoreLimits | None = None) -> None:
        self._folder, self._limits = folder, limits or StoreLimits()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for leftover in folder.glob("*/.part-*"):
            leftover.unlink(missing_ok=True)

    def register(self, manifest: Manifest) -> None:
        """Makes room for a client and remembers its manifest.

        Raises:
            LimitError: if its keys are larger than the store accepts, or than the disk.
        """
        if manifest.size > self._limits.client_bytes:
            raise LimitError(
                f"{manifest.size / 1e9:.1f} GB of evaluation keys",
                where="key store",
                why=f"this server accepts {self._limits.client_bytes / 1e9:.1f} GB a client",
                fix="start the server with a larger --max-key-gb, or compile for fewer keys",
            )
        folder = self._client(manifest.client)
        if not folder.exists():
            self._make_room()
            free = shutil.disk_usage(self._folder).free
            if manifest.size + self._limits.spare_bytes > free:
                raise LimitError(
                    f"no space for {manifest.size / 1e9:.1f} GB of evaluation keys",
                    where="key store",
                    why=f"{free / 1e9:.1f} GB are free on the server's disk",
                    fix="free some space, or point --key-store at another disk",
                )
        folder.mkdir(mode=0o700, exist_ok=True)
        with _written_aside(folder / "manifest.json") as file:
            file.write(manifest.to_bytes())
        os.utime(folder)

    def has(self, client: str, entry: KeyEntry) -> bool:
        """True if the key is on disk with the right size; its digest is checked when it is read."""
        try:
            return self._file(client, entry).stat().st_size == entry.size
        except OSError:
            return False

    @contextlib.contextmanager
    def writing(self, client: str, entry: KeyEntry) -> Iterator[KeyWriter]:
        """Receives one key; the file appears when the block ends well.

        Raises:
            FormatError: if the bytes are not those that the manifest announced.
        """
        with _written_aside(self._file(client, entry)) as file:
            writer = KeyWriter(file, entry)
            yield writer
            writer.finish()

    def read(self, client: str, entry: KeyEntry) -> bytes:
        """The bytes of one key, with the right digest. A damaged file is removed.

        Raises:
            FormatError: if the key is not there or is damaged.
        """
        path = self._file(client, entry)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise FormatError("an evaluation key is not on disk", where=entry.name) from error
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            path.unlink(missing_ok=True)
            raise FormatError("an evaluation key is damaged on disk", where=entry.name)
        return data

    def discard(self, client: str, entry: KeyEntry) -> None:
        """Removes one key."""
        self._file(client, entry).unlink(missing_ok=True)

    def clients(self) -> list[str]:
        """Names of the clients, least recently used first."""
        folders = [p for p in self._folder.iterdir() if re.fullmatch(r"[0-9a-f]{64}", p.name)]
        return [p.name for p in sorted(folders, key=lambda p: p.stat().st_mtime_ns)]

    def _make_room(self) -> None:
        known = self.clients()
        for client in known[: max(0, len(known) - self._limits.clients + 1)]:
            shutil.rmtree(self._client(client), ignore_errors=True)

    def _client(self, client: str) -> Path:
        return self._folder / client

    def _file(self, client: str, entry: KeyEntry) -> Path:
        return self._client(client) / f"{entry.sha256}.key"


class KeyWriter:
    """Writes one key that arrives in pieces and checks its size and digest."""

    def __init__(self, file: IO[bytes], entry: KeyEntry) -> None:
        self._file, self._entry = file, entry
        self._state, self._size = hashlib.sha256(), 0

    def write(self, chunk: bytes) -> None:
        """Appends one piece.

        Raises:
            FormatError: if more arrives than was announced.
        """
        self._size += len(chunk)
        if self._size > self._entry.size:
            raise FormatError("an evaluation key is larger than announced", where=self._entry.name)
        self._state.update(chunk)
        self._file.write(chunk)

    def finish(self) -> None:
        """Checks that all arrived.

        Raises:
            FormatError: if the size or the digest is wrong.
        """
        if self._size != self._entry.size or self._state.hexdigest() != self._entry.sha256:
            raise FormatError(
                "an evaluation key is not the announced one",
                where=self._entry.name,
                why="its size or digest differs from the manifest",
                fix="check the client's key folder, or make the keys again",
            )


@contextlib.contextmanager
def _written_aside(path: Path) -> Iterator[IO[bytes]]:
    """A file that is renamed to `path` when the block ends well, and removed otherwise."""
    handle, name = tempfile.mkstemp(prefix=".part-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
