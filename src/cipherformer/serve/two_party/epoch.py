"""Model epochs: the server draws the masks of its weights once, and a client that has opened them keeps them.

The server's seed stays in a file of its own, and it tells the dealer in each session; the client's file holds
masked weights, named by a digest of that seed, the programs and the model, so that other weights are another
epoch. Everything else in a session has fresh masks.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from cipherformer.backends.mpc2.chain import Chain
from cipherformer.backends.mpc2.prg import SEED_BYTES, fresh_seed
from cipherformer.backends.mpc2.protocols import PROTOCOLS
from cipherformer.backends.mpc2.store import Store
from cipherformer.serve.two_party.config import Config
from cipherformer.serve.two_party.connection import Connection, Kind

NAME_BYTES, SEAL_BYTES = 32, 32
_BLOCK = 1 << 22


def epoch_seed(config: Config, chain: Chain, model: bytes) -> bytes:
    """The server's: from its folder, made when it comes first, or fresh where it has no folder."""
    if not config.epoch:
        return fresh_seed()
    folder = Path(config.epoch)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{hashlib.sha256(chain.digest() + model).hexdigest()}.seed"
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(fresh_seed())
            os.fsync(file.fileno())
    seed = path.read_bytes()
    return seed if len(seed) == SEED_BYTES else fresh_seed()


def offer(client: Connection, dealer: Connection, chain: Chain, model: bytes, seed: bytes) -> bool:
    """The server names the epoch: whether the client has its weights."""
    dealer.send(Kind.EPOCH, seed)
    client.send(Kind.EPOCH, hashlib.sha256(b"cipherformer epoch 2" + seed + chain.digest() + model).digest())
    return bytes(client.receive(Kind.EPOCH, length=1)) == b"\1"


class Weights:
    """The client's masked weights: a file without a name, or one that later sessions of the epoch find.

    Args:
        config: of the client.
        chain: programs, which say how many bytes each weight has.
        server: that names the epoch.
    """

    def __init__(self, config: Config, chain: Chain, server: Connection) -> None:
        name = bytes(server.receive(Kind.EPOCH, length=NAME_BYTES)).hex()
        self._path = Path(config.epoch) / name if config.epoch else None
        self._size, places = 0, {}
        program = chain.programs[0]
        for step in program.of("weight"):
            (slot,) = PROTOCOLS["weight"].opened(step, program)
            places[step.name] = (self._size, slot.bytes)
            self._size += slot.bytes
        self.known = self._path is not None and self._is_sealed(self._path)
        self._file = self._open(config)
        self.store = Store(self._file, places if self.known else None)
        server.send(Kind.EPOCH, b"\1" if self.known else b"\0")

    def _open(self, config: Config) -> IO[bytes]:
        if self._path is None:
            return TemporaryFile(dir=Path(config.journal).parent)
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self._path.open("rb" if self.known else "w+b")

    def seal(self) -> None:
        """Everything is there: later sessions may rely on it."""
        if self._path is not None and not self.known:
            self._file.write(_digest(self._file, self._size))
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _is_sealed(self, path: Path) -> bool:
        if not path.is_file() or path.stat().st_size != self._size + SEAL_BYTES:
            return False
        with path.open("rb") as file:
            return _digest(file, self._size) == file.read(SEAL_BYTES)


def _digest(file: IO[bytes], size: int) -> bytes:
    """SHA-256 of the first bytes; leaves the file behind them."""
    state, left = hashlib.sha256(), size
    file.seek(0)
    while left:
        data = file.read(min(_BLOCK, left))
        state.update(data)
        left -= len(data)
        if not data:
            break
    return state.digest()
