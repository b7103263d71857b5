"""Activations as polynomials on a stated interval."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cipherformer.approx import chebyshev, remez
from cipherformer.approx.chebyshev import Function, Series
from cipherformer.errors import ModelError, ParameterError
from cipherformer.nn import functional

Name = Literal["gelu", "relu", "silu", "tanh"]
MAX_DEGREE = 31


def _gelu(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * x * (1.0 + np.vectorize(math.erf, otypes=[float])(x / math.sqrt(2.0))))


_FUNCTIONS: dict[str, Function] = {
    "gelu": _gelu,
    "relu": lambda x: np.maximum(x, 0.0),
    "silu": lambda x: x / (1.0 + np.exp(-x)),
    "tanh": np.tanh,
}


def fit_activation(name: Name, degree: int, low: float, high: float) -> Series:
    """The minimax polynomial of a named activation on [low, high] (erf form of GELU).

    Coefficients that vanish by symmetry (GELU - x/2 is even) are exactly 0.
    """
    if not 1 <= degree <= MAX_DEGREE:
        raise ParameterError(f"a polynomial activation of degree {degree}", fix=f"use 1 .. {MAX_DEGREE}")
    series = remez.minimax(_FUNCTIONS[name], low, high, degree)
    floor = 1e-12 * max(abs(c) for c in series.coefficients)
    return replace(series, coefficients=tuple(c if abs(c) > floor else 0.0 for c in series.coefficients))


def function_of(name: Name) -> Function:
    """A named activation, elementwise in float64 (erf form of GELU)."""
    return _FUNCTIONS[name]


class ChannelScaled(nn.Module):
    """`s polynomial(x / s)` with a public scale for each channel: axis 1 of [B, C, H, W], else the last axis.

    ReLU is positively homogeneous, relu(x) = s relu(x / s), so that a narrow channel need not share the
    interval of a wide one. The scales are affine and fold into the neighbouring layers.

    Args:
        polynomial: on the interval of x / s.
        scale: positive, [C].
    """

    def __init__(self, polynomial: PolynomialActivation, scale: Tensor) -> None:
        super().__init__()
        self.polynomial = polynomial
        self.scale: Tensor
        self.register_buffer("scale", scale.float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape that has the channels, elementwise."""
        if torch.compiler.is_exporting():
            inner = self.polynomial.constants()
            return torch.ops.cipherformer.channel_polynomial(x, self.scale.to(x.dtype), *inner)
        scale = self.scale.to(x.dtype)
        scale = scale[:, None, None] if x.dim() == 4 else scale
        return self.polynomial(x / scale) * scale

    def get_extra_state(self) -> Tensor:
        """The scale, float32 [C]."""
        return self.scale

    def set_extra_state(self, state: Tensor) -> None:
        """Take over the scale."""
        self.scale = state.to(self.scale)


class PolynomialActivation(nn.Module):
    """A Chebyshev series on [low, high], elementwise; costs ceil(log2(degree + 1)) levels under encryption.

    A range loss must keep its inputs inside the interval: outside, the polynomial grows like x^degree.

    Args:
        series: coefficients and interval, for example from `fit_activation`.
        trainable: whether the coefficients are a parameter; `frozen` makes them constants again for export.
    """

    def __init__(self, series: Series, *, trainable: bool = False) -> None:
        super().__init__()
        self.series = series
        self.guarded = False
        self.coefficients: nn.Parameter | None = None
        if trainable:
            self.coefficients = nn.Parameter(torch.tensor(series.coefficients).float())

    @classmethod
    def fit(
        cls, name: Name = "gelu", *, degree: int = 7, low: float, high: float, trainable: bool = False
    ) -> PolynomialActivation:
        """The minimax fit of a named activation."""
        return cls(fit_activation(name, degree, low, high), trainable=trainable)

    @property
    def low(self) -> float:
        """Left end of the interval."""
        return self.series.low

    @property
    def high(self) -> float:
        """Right end of the interval."""
        return self.series.high

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, elementwise.

        While `guarded` and in training, the polynomial goes on outside its interval along its tangents: a
        stray value then costs a range loss a step, not the run. Elsewhere it is what it is.
        """
        if self.guarded and self.training and not torch.compiler.is_exporting():
            return self._continued(x)
        return self._polynomial(x)

    def _continued(self, x: Tensor) -> Tensor:
        """The polynomial, and beyond its interval its tangents."""
        return self._polynomial(x, continued=True)

    def _polynomial(self, x: Tensor, *, continued: bool = False) -> Tensor:
        if self.coefficients is None or torch.compiler.is_exporting():
            return functional.polynomial(x, *self.constants(), continued=continued)
        return functional.polynomial(x, self.coefficients, self.low, self.high, continued=continued)

    def constants(self) -> tuple[list[float], float, float]:
        """Coefficients and interval, for export.

        Raises:
            ModelError: the coefficients are a parameter.
        """
        if self.coefficients is not None:
            raise ModelError(
                "exporting a trainable polynomial", fix="call train.freeze_polynomials(model) first"
            )
        return list(self.series.coefficients), self.low, self.high

    def frozen(self) -> PolynomialActivation:
        """The same polynomial with constant coefficients (its `error` is unknown after training: NaN)."""
        if self.coefficients is None:
            return self
        values = tuple(float(c) for c in self.coefficients.detach().double())
        return PolynomialActivation(Series(values, self.low, self.high, math.nan))

    def restate(self, low: float, high: float) -> None:
        """State the same polynomial on another interval, in place; `trainable` ones must be frozen first."""
        old = self.series
        new = chebyshev.fit(old, low, high, old.degree)
        self.series = replace(new, error=math.nan)

    def get_extra_state(self) -> Tensor:
        """Interval and coefficients, float64 [2 + degree + 1]: so a state dict holds all of the module."""
        return torch.tensor([self.low, self.high, *self.series.coefficients], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Take over interval and coefficients; the fit's error is then unknown (NaN)."""
        low, high, *coefficients = (float(value) for value in state)
        chebyshev.check_interval(low, high)
        self.series = Series(tuple(coefficients), low, high, math.nan)

    def extra_repr(self) -> str:
        """For printing."""
        return f"degree={self.series.degree}, low={self.low:.4g}, high={self.high:.4g}"
