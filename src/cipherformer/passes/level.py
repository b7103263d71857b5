"""Levels: every step runs as late, that is at as low a level, as its readers allow, because fewer limbs cost
less."""

from __future__ import annotations

from collections.abc import Sequence

from cipherformer.errors import CompileError
from cipherformer.kernels.run import depth
from cipherformer.kernels.step import Step


def assign_levels(steps: Sequence[Step], outputs: Sequence[str], output_level: int = 0) -> tuple[Step, ...]:
    """Steps with `level_in` and `level`; an input's level is the largest that a reader needs.

    Raises:
        CompileError: if a step is read by nobody.
    """
    need = dict.fromkeys(outputs, output_level)
    done: list[Step] = []
    for step in reversed(steps):
        if step.name not in need:
            raise CompileError("a step without readers", where=step.origin or step.name)
        level = need[step.name]
        level_in = level + depth(step)
        for name in step.inputs:
            need[name] = max(need.get(name, 0), level_in)
        done.append(step.with_(level=level, level_in=level_in))
    return tuple(reversed(done))


def levels_needed(steps: Sequence[Step]) -> int:
    """Levels that the client's ciphertexts must have."""
    return max((s.level for s in steps if s.kernel == "input"), default=0)
