"""Mixed-integer programs: variables, rows, and HiGHS behind SciPy."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from cipherformer.errors import LimitError

Terms = Mapping[int, float]
_GAP = 1e-4


@contextmanager
def _quiet() -> Iterator[None]:
    """HiGHS writes a line of its own to the standard output where it repairs a solution."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


class Rows:
    """Variables, bounds, costs and rows of a program."""

    def __init__(self) -> None:
        self.cost: list[float] = []
        self.low: list[float] = []
        self.high: list[float] = []
        self.whole: list[int] = []
        self._entries: tuple[list[float], list[int], list[int]] = ([], [], [])
        self._least: list[float] = []

    def new(self, low: float, high: float, *, cost: float = 0.0, whole: bool = False) -> int:
        """A variable."""
        self.cost.append(cost)
        self.low.append(low)
        self.high.append(high)
        self.whole.append(int(whole))
        return len(self.cost) - 1

    def flag(self, cost: float = 0.0) -> int:
        """A variable that is 0 or 1."""
        return self.new(0.0, 1.0, cost=cost, whole=True)

    def at_least(self, terms: Terms, constant: float) -> None:
        """sum of coefficient x variable >= constant."""
        values, rows, columns = self._entries
        for variable, coefficient in terms.items():
            values.append(coefficient)
            rows.append(len(self._least))
            columns.append(variable)
        self._least.append(constant)

    def solve(self, seconds: float) -> tuple[np.ndarray | None, float, bool]:
        """Values, the bound, and whether time ran out; no values if there is no solution (in time).

        The bound is infinite if there is certainly none.
        """
        try:
            from scipy.optimize import Bounds, LinearConstraint, milp
            from scipy.sparse import csr_array
        except ImportError as error:
            raise LimitError(
                "the policy optimal needs SciPy", why=str(error), fix="pip install 'cipherformer[solver]'"
            ) from error
        values, rows, columns = self._entries
        matrix = csr_array((values, (rows, columns)), shape=(len(self._least), len(self.cost)))
        rest = {
            "bounds": Bounds(np.array(self.low), np.array(self.high)),
            "constraints": LinearConstraint(matrix, lb=np.array(self._least)),
        }
        costs, options = np.array(self.cost), {"time_limit": seconds, "mip_rel_gap": _GAP}
        with _quiet():
            found = milp(costs, integrality=np.array(self.whole), options=options, **rest)
        if found.status == 2:
            return None, np.inf, False
        bound = found.get("mip_dual_bound")
        if bound is None or not np.isfinite(bound):  # nothing found in time: the bound without integrality
            relaxed = milp(costs, **rest)
            bound = relaxed.fun if relaxed.status == 0 else -np.inf
        return found.x, float(bound), found.status == 1


def plus(*parts: Terms) -> dict[int, float]:
    """A sum of linear terms."""
    out: dict[int, float] = {}
    for part in parts:
        for variable, coefficient in part.items():
            out[variable] = out.get(variable, 0.0) + coefficient
    return out


def times(terms: Terms, factor: float) -> dict[int, float]:
    """Linear terms times a number."""
    return {variable: coefficient * factor for variable, coefficient in terms.items()}
