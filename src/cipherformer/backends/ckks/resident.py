"""Evaluation keys in memory, by liveness: read when a step needs them, given up when memory is short.

A plan says before it runs which keys each step needs. So the key to give up is the one whose next use is
farthest, which no other rule can beat in the number of keys read again (Belady 1966, for equal sizes). Steps
repeat from query to query: after the last step comes the first.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cipherformer import _native as native

Reread = Callable[[], native.SwitchingKey]
"""Gives a key again, as it was when it was added."""


@dataclass(slots=True)
class _Known:
    """A key that was added: its bytes in memory, and how to get it again (None: it stays)."""

    kind: str
    steps: int
    memory_bytes: int
    reread: Reread | None


@dataclass(slots=True)
class ResidentKeys:
    """The keys of one client that are in memory now.

    Args:
        keys: where the engine looks for them.
        needs: names of the keys that each step needs, in the order of steps.
        limit: bytes that keys may take; the keys of one step are held together in any case. None: no limit.
    """

    keys: native.KeySet
    needs: Sequence[frozenset[str]]
    limit: int | None = None
    loads: int = 0
    peak_bytes: int = 0
    _known: dict[str, _Known] = field(default_factory=dict)
    _here: set[str] = field(default_factory=set)
    _uses: dict[str, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for at, names in enumerate(self.needs):
            for name in names:
                self._uses.setdefault(name, []).append(at)

    @property
    def held_bytes(self) -> int:
        """Of the keys in memory."""
        return sum(self._known[name].memory_bytes for name in self._here)

    def add(self, name: str, key: native.SwitchingKey, reread: Reread | None) -> None:
        """Take a key; it stays in memory if it cannot be read again, or while there is room."""
        self._known[name] = _Known(key.kind, key.steps, key.memory_bytes, reread)
        if reread is None or self.limit is None or self.held_bytes + key.memory_bytes <= self.limit:
            self._hold(name, key)

    def enter(self, step: int) -> None:
        """Bring the keys of a step into memory, and give up others if need be.

        Raises:
            FormatError, KeyMismatchError: a key can no longer be read; it is then unknown.
        """
        wanted = self.needs[step]
        for name in sorted(wanted - self._here):
            known = self._known[name]
            self._make_room(known.memory_bytes, wanted, step)
            assert known.reread is not None
            try:
                key = known.reread()
            except Exception:
                del self._known[name]
                raise
            self._hold(name, key)
            self.loads += 1

    def knows(self, name: str) -> bool:
        """Whether a key was added and can be had."""
        return name in self._known

    def _hold(self, name: str, key: native.SwitchingKey) -> None:
        self.keys.add(key)
        self._here.add(name)
        self.peak_bytes = max(self.peak_bytes, self.held_bytes)

    def _make_room(self, size: int, pinned: frozenset[str], step: int) -> None:
        if self.limit is None:
            return
        free = self._here - pinned
        candidates = sorted((n for n in free if self._known[n].reread is not None), key=self._distance(step))
        while candidates and self.held_bytes + size > self.limit:
            name = candidates.pop()
            self.keys.remove(self._known[name].kind, self._known[name].steps)
            self._here.remove(name)

    def _distance(self, step: int) -> Callable[[str], int]:
        """Steps until a key is used next, this query or the next one."""

        def distance(name: str) -> int:
            uses = self._uses.get(name, [])
            at = bisect_left(uses, step)
            count = len(self.needs)
            return uses[at] - step if at < len(uses) else (uses[0] + count - step if uses else 2 * count)

        return distance
