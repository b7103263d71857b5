"""Packed arrays by name, in a file or in memory: material until its use, masked weights while they hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO

Places = Mapping[str, tuple[int, int]]
Data = bytes | bytearray | memoryview


class Store:
    """Bytes by name.

    Args:
        file: open for reading and writing; none keeps everything in memory.
        places: start and length of what the file holds already.
        memory_bytes: that are kept in memory before anything is written.
    """

    def __init__(
        self, file: IO[bytes] | None = None, places: Places | None = None, *, memory_bytes: int = 0
    ) -> None:
        self._file, self._free = file, memory_bytes
        self._places = dict(places or {})
        self._kept: dict[str, Data] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._kept or name in self._places

    def put(self, name: str, data: Data) -> None:
        """Adds an entry."""
        if self._file is None or len(data) <= self._free:
            self._kept[name] = data
            self._free -= len(data)
            return
        start = self._file.seek(0, 2)
        self._file.write(data)
        self._places[name] = (start, len(data))

    def get(self, name: str) -> Data:
        """An entry; KeyError if there is none."""
        if self._file is None or name in self._kept:
            return self._kept[name]
        start, length = self._places[name]
        self._file.seek(start)
        return self._file.read(length)

    def take(self, name: str) -> Data:
        """An entry that is not read again."""
        if self._file is None or name in self._kept:
            data = self._kept.pop(name)
            self._free += len(data)
            return data
        data = self.get(name)
        del self._places[name]
        return data
