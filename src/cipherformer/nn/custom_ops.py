"""The torch custom ops that `torch.export` sees instead of a module's inner arithmetic.

Each one is the inference form of its module: what the compiler lowers and the encrypted side computes. The
importer maps them by name to the op table. They carry no gradient; training goes through `nn.functional`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def integer_power(x: Tensor, exponent: int) -> Tensor:
    """`x ** exponent` by repeated squaring: exact gradients, and several times faster than `pow` on a CPU."""
    result: Tensor | None = None
    while exponent:
        if exponent & 1:
            result = x if result is None else result * x
        exponent >>= 1
        if exponent:
            x = x * x
    return torch.ones_like(x) if result is None else result


@torch.library.custom_op("cipherformer::power_softmax", mutates_args=())
def power_softmax(scores: Tensor, mask: Tensor | None, exponent: int, epsilon: float) -> Tensor:
    """`w = u / (epsilon + mean(u)) / L` over the last axis, `u = mask * scores^exponent`, L its length.

    The length-agnostic form of PowerSoftmax (Zimerman et al., arXiv 2410.09457, section 3): the domain of the
    one reciprocal does not grow with L. A mask is binary and broadcasts against the scores.
    """
    powers = integer_power(scores, exponent)
    if mask is not None:
        powers = powers * mask.to(powers.dtype)
    return powers / (epsilon + powers.mean(dim=-1, keepdim=True)) / scores.shape[-1]


@torch.library.custom_op("cipherformer::polynomial", mutates_args=())
def polynomial(x: Tensor, coefficients: Sequence[float], low: float, high: float) -> Tensor:
    """`sum_k coefficients[k] T_k(t)`, `t = (2 x - low - high) / (high - low)`, elementwise, by Clenshaw."""
    return clenshaw(x, list(coefficients), low, high)


@torch.library.custom_op("cipherformer::two_quad", mutates_args=())
def two_quad(scores: Tensor, mask: Tensor | None, offset: float) -> Tensor:
    """`w = (scores + offset)^2 / sum((scores + offset)^2)` over the last axis, masked entries taken as 0.

    Source: Li et al., MPCFormer (ICLR 2023), section 3; used by SecFormer (arXiv 2401.00793) with offset 5.
    """
    squares = (scores + offset) ** 2
    if mask is not None:
        squares = squares * mask.to(squares.dtype)
    return squares / squares.sum(dim=-1, keepdim=True)


@torch.library.custom_op("cipherformer::pointwise", mutates_args=())
def pointwise(
    scores: Tensor, mask: Tensor | None, coefficients: Sequence[float], low: float, high: float, scale: float
) -> Tensor:
    """`scale mask polynomial(scores)`: attention without a normaliser (arXiv 2311.08610, section 3)."""
    weights = clenshaw(scores, list(coefficients), low, high)
    return (weights if mask is None else weights * mask.to(weights.dtype)) * scale


@torch.library.custom_op("cipherformer::channel_polynomial", mutates_args=())
def channel_polynomial(
    x: Tensor, scale: Tensor, coefficients: Sequence[float], low: float, high: float
) -> Tensor:
    """`s polynomial(x / s)`, the scale along axis 1 of four, else the last axis."""
    along = scale[:, None, None] if x.dim() == 4 else scale
    return clenshaw(x / along, list(coefficients), low, high) * along


@torch.library.custom_op("cipherformer::polynomial_norm", mutates_args=())
def polynomial_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    coefficients: Sequence[float],
    low: float,
    high: float,
    epsilon: float,
    centre: bool,
) -> Tensor:
    """`(x - mean) polynomial(variance + epsilon) weight + bias` over the last axis; RMSNorm leaves the mean
    out. Source: Zimerman et al., arXiv 2311.08610, section 3.
    """
    centred = x - x.mean(dim=-1, keepdim=True) if centre else x
    variance = (centred * centred).mean(dim=-1, keepdim=True) + epsilon
    scaled = centred * clenshaw(variance, list(coefficients), low, high) * weight
    return scaled if bias is None else scaled + bias


def clenshaw(x: Tensor, coefficients: Sequence[float] | Tensor, low: float, high: float) -> Tensor:
    """A Chebyshev series on [low, high], elementwise and differentiable; any degree from 0."""
    t = (x * 2.0 - (low + high)) / (high - low)
    doubled = 2.0 * t
    first, second = torch.zeros_like(t), torch.zeros_like(t)
    for k in range(len(coefficients) - 1, 0, -1):
        first, second = doubled * first - second + coefficients[k], first
    return t * first - second + coefficients[0]


@power_softmax.register_fake
def _(scores: Tensor, mask: Tensor | None, exponent: int, epsilon: float) -> Tensor:
    return torch.empty_like(scores)


@polynomial.register_fake
def _(x: Tensor, coefficients: Sequence[float], low: float, high: float) -> Tensor:
    return torch.empty_like(x)


@two_quad.register_fake
def _(scores: Tensor, mask: Tensor | None, offset: float) -> Tensor:
    return torch.empty_like(scores)


@pointwise.register_fake
def _(
    scores: Tensor, mask: Tensor | None, coefficients: Sequence[float], low: float, high: float, scale: float
) -> Tensor:
    return torch.empty_like(scores)


@channel_polynomial.register_fake
def _(x: Tensor, scale: Tensor, coefficients: Sequence[float], low: float, high: float) -> Tensor:
    return torch.empty_like(x)


@polynomial_norm.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    coefficients: Sequence[float],
    low: float,
    high: float,
    epsilon: float,
    centre: bool,
) -> Tensor:
    return torch.empty_like(x)
