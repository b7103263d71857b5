"""Lowerings for masked wires: smooth functions of one number as sums of sines and cosines of a power-of-two
period.

Such a sum costs one opening there, whatever its terms and the width of the range, where a piecewise
polynomial costs comparisons and a chain of products. What grows linearly (GELU, SiLU) is fitted without its
linear part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cipherformer.approx import fourier
from cipherformer.ops.ring_functions import interval
from cipherformer.ops.spec import Attrs, Builder, ErrorBudget, Lower, Lowering

SET = "masked"

Floats = NDArray[np.float64]

_HALVED = ("gelu", "silu")
"""f(x) - x/2 is even."""

_WAVES = (*_HALVED, "exp", "tanh", "sigmoid", "erf")
_SLACK = 0.02
"""By which the fitted interval is wider than the calibrated one, of its length: roundings cross its ends."""


def _waves(function: Callable[[Floats, Attrs], Floats], *, halved: bool) -> Lower:
    def lower(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
        x = inputs[0]
        low, high = interval(build, x)
        slack = _SLACK * (high - low)

        def rest(t: Floats) -> Floats:
            return np.asarray(function(t, attrs) - t / 2.0 if halved else function(t, attrs))

        found = fourier.fit(rest, low - slack, high + slack, budget.activation, even=halved)
        waves = build.emit(
            "fourier",
            x,
            log_period=found.log_period,
            constant=found.constant,
            cosines=found.cosines,
            sines=found.sines,
        )
        return build.emit("add", waves, build.emit("mul", x, build.constant(0.5))) if halved else waves

    return lower


def lowerings(op: str, function: Callable[[Floats, Attrs], Floats]) -> dict[str, Lowering]:
    """The lowering `ring.masked` of an op that has one."""
    if op not in _WAVES:
        return {}
    return {f"ring.{SET}": Lowering(_waves(function, halved=op in _HALVED), needs_range=True)}
