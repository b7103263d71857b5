"""A backend without cryptography behind the interfaces of client and server, and a server process for it.

A "ciphertext" is `FAKE` + 8 bytes naming the parameters + float64 values. The plan doubles its input.
"""

from __future__ import annotations

import argparse
import hashlib
import signal
import sys
import time
from pathlib import Path

import numpy as np

from cipherformer.errors import DataError, FormatError, KeyMismatchError
from cipherformer.serve.address import Address
from cipherformer.serve.interface import PlanFacts
from cipherformer.serve.keys import KeyFolder, create
from cipherformer.serve.server import Server, ServerOptions, json_log

KEY_NAMES = ("relinearise-l3", "rotate-1-l2", "rotate-4-l2")
SHAPE = (4,)
SECRET = b"this is the secret key"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def facts(plan: str = "plan", parameters: str = "parameters") -> PlanFacts:
    return PlanFacts(digest(plan), digest(parameters), KEY_NAMES, queries=2, answers=1)


def tag(parameters: str) -> bytes:
    return b"FAKE" + bytes.fromhex(digest(parameters))[:8]


class FakeEvaluation:
    def __init__(self, parameters: str = "parameters", steps: int = 3, step_s: float = 0.0) -> None:
        self._tag, self._steps, self._step_s = tag(parameters), steps, step_s
        self._keys: set[str] = set()

    def add_key(self, name: str, data: bytes, reread=None, /) -> None:
        if not data.startswith(b"FAKE"):
            raise FormatError("not a key", where=name)
        if not data.startswith(self._tag):
            raise KeyMismatchError("a key of another parameter set", where=name)
        self._keys.add(name)

    def missing_keys(self) -> list[str]:
        return [name for name in KEY_NAMES if name not in self._keys]

    def layer(self, position: int, /) -> str:
        return f"block.{position}"

    def run(self, query, on_step=None):
        for part in query:
            if not part.startswith(self._tag) or len(part) != 12 + 32:
                raise FormatError("a malformed ciphertext")
        for step in range(self._steps):
            time.sleep(self._step_s)
            if on_step is not None:
                on_step(step, self._steps)
        x, y = (np.frombuffer(part[12:]) for part in query)
        if x[0] == 666.0:
            raise RuntimeError("a bug in the engine")
        record = {"layer": "head", "node": "n1", "primitive": "rotate", "calls": 2, "seconds": 0.5}
        return [self._tag + (x + y).tobytes()], [record]


class FakeCipher:
    def __init__(self, parameters: str = "parameters") -> None:
        self._tag = tag(parameters)

    def encrypt(self, x, /):
        if x.shape != SHAPE or not np.isfinite(x).all():
            raise DataError("a bad input", where="input")
        return [self._tag + x.astype(np.float64).tobytes()] * 2

    def decrypt(self, answer, /):
        return np.frombuffer(answer[0][12:])


def make_keys(folder: Path, parameters: str = "parameters", size: int = 100, stated: str = "") -> KeyFolder:
    """A key folder; with `stated` it claims another parameter set than its keys belong to."""
    keys = [(name, tag(parameters) + name.encode() * size) for name in KEY_NAMES]
    return create(
        folder,
        signature="{}",
        parameters=digest(stated or parameters),
        save_secret=lambda path: path.write_bytes(SECRET),
        evaluation_keys=keys,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("store", type=Path)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--step-s", type=float, default=0.0)
    given = parser.parse_args()
    server = Server(
        Address.parse(given.address),
        facts(),
        lambda: FakeEvaluation(steps=given.steps, step_s=given.step_s),
        given.store,
        options=ServerOptions(heartbeat_s=0.1),
        log=json_log(sys.stdout),
    )
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    server.serve_forever()


if __name__ == "__main__":
    main()
