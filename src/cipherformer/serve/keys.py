"""The client's key folder.

KEYS/secret.key         mode 0600; never leaves this folder
KEYS/signature.json     of the plan the keys were made for: public
KEYS/manifest.json      names, sizes and digests of the evaluation keys: public
KEYS/evaluation/NAME    one file an evaluation key: public
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cipherformer.errors import FormatError, KeyMismatchError
from cipherformer.serve.manifest import KeyEntry, Manifest
from cipherformer.serve.wire import CHUNK_BYTES

SECRET, SIGNATURE, MANIFEST, EVALUATION = "secret.key", "signature.json", "manifest.json", "evaluation"


@dataclass(frozen=True, slots=True)
class KeyFolder:
    """A folder of keys whose list has been read; the keys themselves are read when they are needed.

    Args:
        folder: where it is.
        manifest: the evaluation keys.
        signature: text of the plan's signature.
    """

    folder: Path
    manifest: Manifest
    signature: str

    @property
    def secret_path(self) -> Path:
        """The file of the secret key."""
        return self.folder / SECRET

    def read_chunks(self, entry: KeyEntry) -> Iterator[bytes]:
        """One evaluation key in pieces of at most 4 MiB.

        Raises:
            FormatError: if its file is gone, or is not the one in the manifest.
        """
        path, state, size = self.folder / EVALUATION / entry.name, hashlib.sha256(), 0
        try:
            with path.open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    state.update(chunk)
                    size += len(chunk)
                    if size > entry.size:
                        break
                    yield chunk
        except OSError as error:
            raise _damaged(path, str(error)) from error
        if size != entry.size or state.hexdigest() != entry.sha256:
            raise _damaged(path, "its size or digest differs from manifest.json")


def create(
    folder: Path,
    *,
    signature: str,
    parameters: str,
    save_secret: Callable[[Path], object],
    evaluation_keys: Iterable[tuple[str, bytes]],
    on_key: Callable[[str, int], None] = lambda name, size: None,
) -> KeyFolder:
    """Writes a new key folder.

    Args:
        folder: must not hold keys yet.
        signature: text of the plan's signature.
        parameters: SHA-256 of the encryption parameters, hexadecimal.
        save_secret: writes the secret key to a path.
        evaluation_keys: pairs of name and bytes, made one at a time.
        on_key: called with name and size after each key.

    Raises:
        KeyMismatchError: if the folder holds keys already; a secret key is never overwritten.
    """
    if (folder / SECRET).exists():
        raise KeyMismatchError(
            "there are keys in this folder already",
            where=str(folder),
            fix="choose another folder, or remove this one if its answers are no longer needed",
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chmod(folder, 0o700)
    public = folder / EVALUATION
    shutil.rmtree(public, ignore_errors=True)
    public.mkdir()
    entries = []
    for name, data in evaluation_keys:
        (public / name).write_bytes(data)
        entries.append(KeyEntry(name, len(data), hashlib.sha256(data).hexdigest()))
        on_key(name, len(data))
    manifest = Manifest(parameters, tuple(sorted(entries, key=lambda entry: entry.name)))
    Manifest.from_bytes(manifest.to_bytes())  # the names and sizes are ones that a server takes
    (folder / SIGNATURE).write_text(signature)
    (folder / MANIFEST).write_bytes(manifest.to_bytes())
    _save_private(folder / SECRET, save_secret)
    return KeyFolder(folder, manifest, signature)


def load(folder: Path) -> KeyFolder:
    """Reads a key folder.

    Raises:
        FormatError: if a file is missing or malformed.
        KeyMismatchError: if others than the owner may read the secret key.
    """
    try:
        manifest = Manifest.from_bytes((folder / MANIFEST).read_bytes(), where=str(folder / MANIFEST))
        signature = (folder / SIGNATURE).read_text()
        mode = (folder / SECRET).stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(
            "this is not a folder of keys",
            where=str(folder),
            why=str(error),
            fix="make keys with `cipherformer keygen`",
        ) from error
    if stat.S_IMODE(mode) & 0o077:
        raise KeyMismatchError(
            "others can read the secret key",
            where=str(folder / SECRET),
            why=f"its mode is {stat.S_IMODE(mode):04o}",
            fix=f"chmod 600 {folder / SECRET}",
        )
    for entry in manifest.entries:
        path = folder / EVALUATION / entry.name
        if not path.is_file() or path.stat().st_size != entry.size:
            raise _damaged(path, "it is missing or has another size than manifest.json says")
    return KeyFolder(folder, manifest, signature)


def _save_private(path: Path, save: Callable[[Path], object]) -> None:
    """Lets `save` write a file in the folder (mode 0700), and puts it in place when it is complete."""
    aside = path.with_name(f".{path.name}.new")
    aside.unlink(missing_ok=True)
    try:
        save(aside)
        os.chmod(aside, 0o600)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _damaged(path: Path, why: str) -> FormatError:
    return FormatError(
        "an evaluation key is damaged", where=str(path), why=why, fix="make keys with `cipherformer keygen`"
    )
