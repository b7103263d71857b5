"""Which randomness was used up: a query's version is written, and synced, before anything of it is opened.

Masks are one-time pads. After a crash, or for whatever reason a version comes a second time, it is refused.
"""

from __future__ import annotations

import os
from pathlib import Path

from cipherformer.errors import ProtocolError


class Journal:
    """A file with one line for each version used.

    Args:
        path: of the file; it is made if it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        self._used = set(path.read_text().split())

    def consume(self, version: bytes) -> None:
        """Notes a version, for good.

        Raises:
            ProtocolError: if it was used before.
        """
        name = version.hex()
        if name in self._used:
            raise ProtocolError(
                "this randomness was used before",
                where=str(self._path),
                why="a mask that is used twice shows the difference of two secrets",
                fix="start a new session, which draws fresh randomness",
            )
        self._used.add(name)
        with self._path.open("a") as file:
            file.write(f"{name}\n")
            file.flush()
            os.fsync(file.fileno())
