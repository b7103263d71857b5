"""Scales: which scale each affine step produces, so that no product downstream drifts away from the primes.

A product has scale s_a s_b / q. Relabelling is a free multiplication by a constant, but it moves the scale,
and each squaring doubles the distance of log s from log q. Polynomials and reciprocals relabel their
argument; they therefore ask for an argument whose scale makes up for it, and the wish travels back to the
affine step that can grant it, because an affine step produces any scale for free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil, log2
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.errors import CompileError
from cipherformer.kernels.algebra import Transform
from cipherformer.kernels.count import CountAlgebra, shadows_of
from cipherformer.kernels.run import execute
from cipherformer.kernels.step import Step
from cipherformer.targets.bootstrap import BootstrapSet

MAX_DRIFT_BITS = 16.0
ROUNDING = 2.0**-20


def assign_scales(
    steps: Sequence[Step],
    outputs: Sequence[str],
    transforms: Mapping[str, Transform],
    vectors: Mapping[str, NDArray[np.float64]],
    moduli: Sequence[int],
    scale: float,
    bootstrap: BootstrapSet | None = None,
) -> tuple[Step, ...]:
    """Steps with the scale of every result.

    Raises:
        CompileError: if a scale ends more than `MAX_DRIFT_BITS` away from the target's.
    """
    steered = _steered(steps, scale)
    recorded: dict[str, float] = {}
    algebra = CountAlgebra(moduli, 1, bootstrap=bootstrap)
    final = []
    values: dict[str, Any] = shadows_of(steps, scale)  # stacks and bundles are lists
    for step in steered:
        if step.kernel != "input":
            # One step at a time, so that the scale of every value is seen.
            shadows = {name: values[name] for name in step.inputs}
            stand_ins = [Step(n, "input", (), step.layout, "") for n in dict.fromkeys(step.inputs)]
            out = execute(algebra, [*stand_ins, step], transforms, vectors, shadows, [step.name])
            values[step.name] = out[step.name]
        value = values[step.name][0] if isinstance(values[step.name], list) else values[step.name]
        recorded[step.name] = value.scale
        drift = log2(recorded[step.name] / scale)
        if abs(drift) > MAX_DRIFT_BITS:
            raise CompileError(
                f"the scale of {step.name} drifts by {drift:.1f} bits",
                where=step.origin,
                why="a constant was folded into a scale where no affine step could make up for it",
            )
        if value.level != step.level:
            raise CompileError(
                f"{step.name} ends at level {value.level}, {step.level} was planned",
                where=step.origin,
            )
        final.append(replace(step, scale=recorded[step.name]))
    return tuple(final)


def _steered(steps: Sequence[Step], scale: float) -> list[Step]:
    """Steps with the scales that their readers wish; refreshes with the bounds and gains that make them."""
    wishes, gains = _wishes(steps)
    out = []
    for step in steps:
        if step.kernel == "refresh":
            bounds, mine = gains[step.name]
            step = step.with_(scale=scale * mine[0] / bounds[0], bounds=bounds, gains=mine)
        else:
            step = step.with_(scale=scale * 2.0 ** wishes.get(step.name, 0.0))
        out.append(step)
    return out


def _gain(bound: float, wish: float | None) -> tuple[float, int]:
    """The bound, not smaller than it was, and the integer gain that give gain / bound = 2^wish exactly.

    Goldschmidt's steps double what a scale is off, so rounding to a power of two would not do.
    """
    if wish is None:
        return bound, max(1, round(bound))
    exponent = max(0, ceil(log2(bound) + wish - ROUNDING))
    return float(2.0 ** (exponent - wish)), 1 << exponent


def _wishes(
    steps: Sequence[Step],
) -> tuple[dict[str, float], dict[str, tuple[tuple[float, ...], tuple[int, ...]]]]:
    """log2 of scale over the target's scale that a value's readers would like, from the last step to the
    first; and the bounds and gains of refreshes."""
    parts = {(s.inputs[0], s.index): s.name for s in steps if s.kernel == "part"}
    gains = {}
    wish: dict[str, float] = {}
    for step in reversed(steps):
        mine = wish.get(step.name, 0.0)
        if step.kernel == "polynomial":
            low, high = step.interval
            wish.setdefault(step.inputs[0], -log2((high - low) / 2))
        elif step.kernel == "reciprocal":
            # Scale deviation d_i before step i obeys d_{i+1} = 2 d_i - 2 log k_i; the start that ends at 0.
            deviation = 0.0
            for k in reversed(step.relaxations):
                deviation = log2(k) + deviation / 2
            wish.setdefault(step.inputs[0], deviation - log2(step.interval[1]))
        elif step.kernel == "refresh":
            read = [parts.get((step.name, k), step.name) for k in range(len(step.inputs))]
            pairs = [_gain(b, wish.get(n)) for b, n in zip(step.bounds, read, strict=True)]
            gains[step.name] = tuple(b for b, _ in pairs), tuple(g for _, g in pairs)
            for name, (bound, _) in zip(step.inputs, pairs, strict=True):
                wish.setdefault(name, -log2(bound))
        elif step.kernel == "scalar":
            wish.setdefault(step.inputs[0], mine + log2(abs(step.factor)))
        elif step.kernel == "power" and mine:
            wish.setdefault(step.inputs[0], mine / step.exponent)
        elif step.kernel in ("scores", "attended"):
            # Sums with a conjugate are read at twice their scale.
            operand = 0 if step.kernel == "scores" else 1
            wish.setdefault(step.inputs[operand], mine - 1.0)
        elif step.kernel in ("contract", "pairs") and mine:
            wish.setdefault(step.inputs[0], mine)
    return wish, gains
