"""Scales: which scale each affine step produces, so that no product downstream drifts away from the primes.

A product has scale s_a s_b / q. Relabelling is a free multiplication by a constant, but it moves the scale,
and each squaring doubles the distance of log s from log q. Polynomials and reciprocals relabel their
argument; they therefore ask for an argument whose scale makes up for it, and the wish travels back to the
affine step that can grant it, because an affine step produces any scale for free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import log2

import numpy as np
from numpy.typing import NDArray

from cipherformer.errors import CompileError
from cipherformer.kernels.algebra import Transform
from cipherformer.kernels.count import CountAlgebra, Shadow
from cipherformer.kernels.run import execute
from cipherformer.kernels.step import Step

MAX_DRIFT_BITS = 16.0


def assign_scales(
    steps: Sequence[Step],
    outputs: Sequence[str],
    transforms: Mapping[str, Transform],
    vectors: Mapping[str, NDArray[np.float64]],
    moduli: Sequence[int],
    scale: float,
) -> tuple[Step, ...]:
    """Steps with the scale of every result.

    Raises:
        CompileError: if a scale ends more than `MAX_DRIFT_BITS` away from the target's.
    """
    wishes = _wishes(steps)
    steered = [s.with_(scale=scale * 2.0 ** wishes.get(s.name, 0.0)) for s in steps]
    recorded: dict[str, float] = {}
    algebra = CountAlgebra(moduli, 1)
    inputs = {s.name: Shadow(s.level, scale) for s in steps if s.kernel == "input"}
    final = []
    values: dict[str, Shadow] = dict(inputs)
    for step in steered:
        if step.kernel != "input":
            # One step at a time, so that the scale of every value is seen.
            shadows = {name: values[name] for name in step.inputs}
            stand_ins = [Step(n, "input", (), step.layout, "") for n in dict.fromkeys(step.inputs)]
            out = execute(algebra, [*stand_ins, step], transforms, vectors, shadows, [step.name])
            values[step.name] = out[step.name]
        recorded[step.name] = values[step.name].scale
        drift = log2(recorded[step.name] / scale)
        if abs(drift) > MAX_DRIFT_BITS:
            raise CompileError(
                f"the scale of {step.name} drifts by {drift:.1f} bits",
                where=step.origin,
                why="a constant was folded into a scale where no affine step could make up for it",
            )
        if values[step.name].level != step.level:
            raise CompileError(
                f"{step.name} ends at level {values[step.name].level}, {step.level} was planned",
                where=step.origin,
            )
        final.append(replace(step, scale=recorded[step.name]))
    return tuple(final)


def _wishes(steps: Sequence[Step]) -> dict[str, float]:
    """log2 of scale over the target's scale that a value's readers would like, from the last step to the
    first."""
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
        elif step.kernel == "scalar":
            wish.setdefault(step.inputs[0], mine + log2(abs(step.factor)))
        elif step.kernel == "power" and mine:
            wish.setdefault(step.inputs[0], mine / step.exponent)
        elif step.kernel == "contract" and mine:
            wish.setdefault(step.inputs[0], mine)
    return wish
