"""Where the seconds of a run went: by step and primitive."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TraceRecord:
    """Time of one primitive in one step.

    Args:
        layer: module path in the user's model.
        node: the step.
        primitive: as in `kernels.count.Operation`, and `encode`.
        calls: how often.
        seconds: in all.
    """

    layer: str
    node: str
    primitive: str
    calls: int
    seconds: float


@dataclass(slots=True)
class Trace:
    """Collects times during a run."""

    layer: str = ""
    node: str = ""
    _cells: dict[tuple[str, str, str], tuple[int, float]] = field(default_factory=dict)

    @contextmanager
    def timed(self, primitive: str) -> Iterator[None]:
        """Time one call of the current step."""
        start = time.perf_counter()
        yield
        seconds = time.perf_counter() - start
        key = (self.layer, self.node, primitive)
        calls, total = self._cells.get(key, (0, 0.0))
        self._cells[key] = (calls + 1, total + seconds)

    def beside(self) -> Trace:
        """An empty one for a thread that runs beside this."""
        return Trace(self.layer, self.node)

    def join(self, others: Sequence[Trace], seconds: float) -> None:
        """Add the times of threads that ran side by side for so many seconds in all: each gets its share of
        them."""
        total = sum(spent for other in others for _, spent in other._cells.values())
        for other in others:
            for key, (calls, spent) in other._cells.items():
                known, before = self._cells.get(key, (0, 0.0))
                self._cells[key] = (known + calls, before + spent * (seconds / total))

    @property
    def records(self) -> list[TraceRecord]:
        """One record for each step and primitive, in order of first use."""
        return [TraceRecord(*key, calls, seconds) for key, (calls, seconds) in self._cells.items()]
