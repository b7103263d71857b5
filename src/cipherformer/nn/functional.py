"""Differentiable references of the private forms. Under `torch.export` each becomes one custom op."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    scores: Tensor,
    mask: Tensor | None = None,
    *,
    exponent: int = 4,
    epsilon: float = 1e-3,
    counted: bool = False,
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
        counted: the mean is over the open positions of each row, not over all L: public numbers, as the
            mask is.

    Returns:
        Weights of the shape and dtype of `scores`. Half-precision input is computed in float32. Rows sum to
        `mean / (epsilon + mean)`, slightly below 1.
    """
    share = _share(mask, scores) if counted else None
    if torch.compiler.is_exporting():
        mask = mask if share is None or mask is None else mask.to(scores.dtype) * share
        return torch.ops.cipherformer.power_softmax(scores, mask, exponent, epsilon)
    x = _wide(scores)
    if mask is not None:
        x = x * mask.to(x.dtype)
    c = x.detach().abs().amax(dim=-1, keepdim=True).clamp(min=max(epsilon ** (1.0 / exponent), _TINY))
    u = custom_ops.integer_power(x / c, exponent)
    if share is not None:
        u = u * share
    floor = epsilon * custom_ops.integer_power(1.0 / c, exponent) if epsilon > 0.0 else 0.0
    mean = u.mean(dim=-1, keepdim=True)
    # with epsilon = 0 a row of zeros has no defined weights: it gets zeros
    weights = u / (floor + mean if epsilon > 0.0 else mean.clamp(min=_TINY)) / x.shape[-1]
    return weights.to(scores.dtype)


def power_normaliser(
    scores: Tensor, mask: Tensor | None = None, *, exponent: int, epsilon: float, counted: bool = False
) -> Tensor:
    """`epsilon + mean(mask x^p)` over the last axis: what the encrypted reciprocal is applied to. [...].

    `counted`: the mean over open positions, see `power_softmax`.
    """
    x = _wide(scores)
    powers = custom_ops.integer_power(x if mask is None else x * mask.to(x.dtype), exponent)
    share = _share(mask, x) if counted else None
    return epsilon + (powers if share is None else powers * share).mean(dim=-1)


def _share(mask: Tensor | None, x: Tensor) -> Tensor | None:
    """L over the number of open positions of each row [..., 1]; a row without any counts as one of one."""
    if mask is None:
        return None
    wide = mask.to(_wide(x).dtype)
    return x.shape[-1] / wide.sum(dim=-1, keepdim=True).clamp(min=1.0)


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


def polynomial(
    x: Tensor, coefficients: Sequence[float] | Tensor, low: float, high: float, *, continued: bool = False
) -> Tensor:
    """The Chebyshev series `sum_k c_k T_k` on [low, high], elementwise; outside, it grows like x^degree.

    Args:
        x: any shape; half-precision input is computed in float32.
        coefficients: numbers, or a tensor [degree + 1] that receives gradients (which cannot be exported).
        low: left end of the interval.
        high: right end.
        continued: outside, along the tangents at its ends instead, which is for training alone; the
            coefficients get no gradient through the tangents.
    """
    if torch.compiler.is_exporting() and not isinstance(coefficients, Tensor):
        return torch.ops.cipherformer.polynomial(x, list(coefficients), low, high)
    wide = _wide(x)
    values = coefficients if isinstance(coefficients, Tensor) else wide.new_tensor(coefficients)
    return _Series.apply(wide, values.to(wide.dtype), low, high, continued).to(x.dtype)


_BLOCK = 1 << 14
"""Elements whose Chebyshev polynomials are made at a time: what is made of them stays in the cache."""


def _bases(x: Tensor, degree: int, low: float, high: float, continued: bool) -> Iterator[Tensor]:
    """T_0 .. T_degree [degree + 1, n] of flat x, mapped from [low, high] to [-1, 1], block by block.

    The blocks share their memory: each must be used before the next is asked for. `continued`: of the nearest
    point of the interval.
    """
    memory = x.new_empty(degree + 1, min(_BLOCK, max(x.numel(), 1)))
    for block in x.reshape(-1).split(_BLOCK):
        basis = memory[:, : len(block)]
        rows = basis.unbind()
        rows[0].fill_(1.0)
        if degree:
            torch.mul(block, 2.0 / (high - low), out=rows[1]).sub_((low + high) / (high - low))
            if continued:
                rows[1].clamp_(-1.0, 1.0)
            doubled = 2.0 * rows[1]
        for k in range(2, degree + 1):
            torch.mul(doubled, rows[k - 1], out=rows[k]).sub_(rows[k - 2])
        yield basis


def _blockwise(x: Tensor, coefficients: Tensor, low: float, high: float, continued: bool) -> Tensor:
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    ends = _end_slopes(coefficients, low, high) if continued else None
    bases = _bases(x, len(coefficients) - 1, low, high, continued)
    for basis, block, own in zip(bases, out.view(-1).split(_BLOCK), x.reshape(-1).split(_BLOCK), strict=True):
        torch.mv(basis.T, coefficients, out=block)
        if ends is not None:
            beyond = own - own.clamp(low, high)
            if beyond.any():
                block.add_(beyond.clamp(max=0.0), alpha=ends[0]).add_(beyond.clamp(min=0.0), alpha=ends[1])
    return out


def _end_slopes(coefficients: Tensor, low: float, high: float) -> tuple[float, float]:
    """The derivative of a series at both ends of its interval."""
    slope = _derivative(coefficients) * (2.0 / (high - low))
    signs = slope.new_tensor([1.0, -1.0]).repeat(len(slope))[: len(slope)]
    return float(slope @ signs), float(slope.sum())


class _Series(torch.autograd.Function):
    """A series that keeps only its input, not the recurrence, and works through it block by block."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, coefficients: Tensor, low: float, high: float, continued: bool
    ) -> Tensor:
        ctx.save_for_backward(x, coefficients)
        ctx.domain = (low, high, continued)
        return _blockwise(x, coefficients, low, high, continued)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None, None, None]:
        x, coefficients = ctx.saved_tensors
        low, high, continued = ctx.domain
        slope = _derivative(coefficients) * (2.0 / (high - low))
        if torch.is_grad_enabled():  # a second derivative is asked for
            inside = x.clamp(low, high) if continued else x
            return gradient * _Series.apply(inside, slope, low, high, False), None, None, None, None
        into_x = torch.empty_like(x, memory_format=torch.contiguous_format)
        into_coefficients = torch.zeros_like(coefficients) if ctx.needs_input_grad[1] else None
        bases = _bases(x, len(coefficients) - 1, low, high, continued)
        outs, gradients = into_x.view(-1).split(_BLOCK), gradient.reshape(-1).split(_BLOCK)
        for basis, out, g in zip(bases, outs, gradients, strict=True):
            torch.mv(basis[: len(slope)].T, slope, out=out).mul_(g)
            if into_coefficients is not None:
                into_coefficients += basis @ g
        return into_x, into_coefficients, None, None, None


def _derivative(coefficients: Tensor) -> Tensor:
    """The Chebyshev coefficients of the derivative of a series [degree + 1]: [degree], or [1] of a
    constant.
    """
    matrix = chebyshev.chebder(np.eye(len(coefficients)), axis=0)
    return torch.from_numpy(matrix).to(coefficients) @ coefficients
