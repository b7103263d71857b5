"""Differentiable references of the private forms. Under `torch.export` each becomes one custom op."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.polynomial import chebyshev
from torch import Tensor

from cipherformer.errors import ParameterError
from cipherformer.nn import custom_ops

_TINY = 1e-12


def _wide(x: Tensor) -> Tensor:
    """Half precision as float32: powers and recurrences lose too much in it."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def check_power(exponent: int, epsilon: float) -> None:
    """Raise ParameterError unless the exponent is positive and even, and epsilon finite and at least 0."""
    if exponent < 2 or exponent % 2:
        raise ParameterError(
            f"PowerSoftmax with exponent {exponent}",
            why="weights must not be negative, so the exponent must be a positive even number",
            fix="use 2, 4, 6 or 8; 4 is the usual choice",
        )
    if not 0.0 <= epsilon < float("inf"):
        raise ParameterError(
            f"PowerSoftmax with epsilon {epsilon}", fix="use a small positive number: 1e-3 .. 1e-1"
        )


def power_softmax(
    scores: Tensor, mask: Tensor | None = None, *, exponent: int = 4, epsilon: float = 1e-3
) -> Tensor:
    """Attention weights by PowerSoftmax over the last axis, in a form that is stable to train.

    With `c = max(max |x|, epsilon^(1/p))` per row and `u = mask (x/c)^p`:

        w = u / (epsilon c^-p + mean(u)) / L

    This equals `x^p / (epsilon + mean(x^p)) / L` for every c, so c needs no gradient. The choice of c keeps u
    in [0, 1] and epsilon c^-p in [0, 1]: nothing overflows, even where all scores of a row vanish.
    Source: Zimerman et al., arXiv 2410.09457, section 3 (stable, Lipschitz and length-agnostic forms in one).

    Args:
        scores: [..., L].
        mask: binary, broadcasts against the scores; multiplied, never added. None means all ones.
        exponent: p, positive and even.
        epsilon: added to the mean; bounds the domain of the reciprocal from below.

    Returns:
        Weights of the shape and dtype of `scores`. Half-precision input is computed in float32. Rows sum to
        `mean / (epsilon + mean)`, slightly below 1.
    """
    if torch.compiler.is_exporting():
        return torch.ops.cipherformer.power_softmax(scores, mask, exponent, epsilon)
    x = _wide(scores)
    if mask is not None:
        x = x * mask.to(x.dtype)
    c = x.detach().abs().amax(dim=-1, keepdim=True).clamp(min=max(epsilon ** (1.0 / exponent), _TINY))
    u = custom_ops.integer_power(x / c, exponent)
    floor = epsilon * custom_ops.integer_power(1.0 / c, exponent) if epsilon > 0.0 else 0.0
    mean = u.mean(dim=-1, keepdim=True)
    # with epsilon = 0 a row of zeros has no defined weights: it gets zeros
    weights = u / (floor + mean if epsilon > 0.0 else mean.clamp(min=_TINY)) / x.shape[-1]
    return weights.to(scores.dtype)


def power_normaliser(scores: Tensor, mask: Tensor | None = None, *, exponent: int, epsilon: float) -> Tensor:
    """`epsilon + mean(mask x^p)` over the last axis: what the encrypted reciprocal is applied to. [...]."""
    x = _wide(scores)
    powers = custom_ops.integer_power(x if mask is None else x * mask.to(x.dtype), exponent)
    return epsilon + powers.mean(dim=-1)


def two_quad(scores: Tensor, mask: Tensor | None = None, *, offset: float = 5.0) -> Tensor:
    """Attention weights `(x + offset)^2 / sum((x + offset)^2)` over the last axis; masked entries get 0.

    Source: Li et al., MPCFormer (ICLR 2023), section 3. The sum has a floor of 1e-12: a masked row gives 0.
    """
    if torch.compiler.is_exporting():
        return torch.ops.cipherformer.two_quad(scores, mask, offset)
    x = _wide(scores)
    squares = (x + offset).square()
    if mask is not None:
        squares = squares * mask.to(x.dtype)
    return (squares / squares.sum(dim=-1, keepdim=True).clamp(min=_TINY)).to(scores.dtype)


def polynomial(x: Tensor, coefficients: Sequence[float] | Tensor, low: float, high: float) -> Tensor:
    """The Chebyshev series `sum_k c_k T_k` on [low, high], elementwise; outside, it grows like x^degree.

    Args:
        x: any shape; half-precision input is computed in float32.
        coefficients: numbers, or a tensor [degree + 1] that receives gradients (which cannot be exported).
        low: left end of the interval.
        high: right end.
    """
    if torch.compiler.is_exporting() and not isinstance(coefficients, Tensor):
        return torch.ops.cipherformer.polynomial(x, list(coefficients), low, high)
    if isinstance(coefficients, Tensor):
        return custom_ops.clenshaw(_wide(x), coefficients, low, high).to(x.dtype)
    return _FixedSeries.apply(_wide(x), tuple(coefficients), low, high).to(x.dtype)


class _FixedSeries(torch.autograd.Function):
    """A series whose gradient is its derivative's series: keeps only the input, not the recurrence."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, coefficients: tuple[float, ...], low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.series = (coefficients, low, high)
        return custom_ops.clenshaw(x, coefficients, low, high)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (x,), (coefficients, low, high) = ctx.saved_tensors, ctx.series
        inner = chebyshev.chebder(np.array(coefficients)) * (2.0 / (high - low))
        return gradient * _FixedSeries.apply(x, tuple(inner.tolist()), low, high), None, None, None
