"""The type of a value in a graph, and the kinds of attribute a node may carry. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

Attr = int | float | bool | str | tuple["Attr", ...]
"""An attribute value: hashable, printable, and saved as JSON (tuples become lists and come back)."""


@dataclass(frozen=True, slots=True)
class Type:
    """Shape, secrecy and calibrated range of one value.

    Args:
        shape: sizes of the logical tensor; the leading batch axis of a captured model is 1.
        secret: True if the value depends on the client's input.
        low: smallest value seen in calibration, margin included; None before calibration.
        high: largest value, likewise.
    """

    shape: tuple[int, ...]
    secret: bool = True
    low: float | None = None
    high: float | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def bound(self) -> float | None:
        """Largest absolute value of the calibrated range, or None."""
        if self.low is None or self.high is None:
            return None
        return max(abs(self.low), abs(self.high))

    def with_range(self, low: float, high: float) -> Type:
        """The same type with a calibrated range."""
        return replace(self, low=low, high=high)
