"""Self-attention whose weighting (softmax, PowerSoftmax, 2Quad) is a replaceable module of its own."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cipherformer.errors import ModelError, ParameterError
from cipherformer.nn import functional
from cipherformer.nn.activation import PolynomialActivation
from cipherformer.nn.norm import HeadBatchNorm


class Softmax(nn.Module):
    """Stock softmax weighting over the last axis, with a binary mask; what training starts from."""

    def forward(self, scores: Tensor, mask: Tensor | None = None) -> Tensor:
        """Weights [..., L] from scores [..., L]."""
        if mask is not None:
            scores = scores.masked_fill(mask == 0, -math.inf)
        return torch.softmax(scores, dim=-1)


class PowerSoftmax(nn.Module):
    """`x^p / (epsilon + mean(x^p)) / L` over the last axis: see `functional.power_softmax`.

    Args:
        exponent: p, positive and even.
        epsilon: the Lipschitz constant's inverse; also the lower end of the reciprocal's domain.
    """

    def __init__(self, exponent: int = 4, epsilon: float = 1e-3) -> None:
        super().__init__()
        functional.check_power(exponent, epsilon)
        self.exponent, self.epsilon = exponent, float(epsilon)

    def forward(self, scores: Tensor, mask: Tensor | None = None) -> Tensor:
        """Weights [..., L] from scores [..., L]; a mask is binary and multiplied."""
        return functional.power_softmax(scores, mask, exponent=self.exponent, epsilon=self.epsilon)

    def scaled(self, scores: Tensor) -> Tensor:
        """What is raised to the power: the scores themselves."""
        return scores

    def normaliser(self, scores: Tensor, mask: Tensor | None = None) -> Tensor:
        """`epsilon + mean(x^p)` [...]: the values whose reciprocal encryption must compute."""
        return functional.power_normaliser(scores, mask, exponent=self.exponent, epsilon=self.epsilon)

    def extra_repr(self) -> str:
        """For printing."""
        return f"exponent={self.exponent}, epsilon={self.epsilon:g}"


class ScaledPowerSoftmax(PowerSoftmax):
    """PowerSoftmax of `factor x + shift`, each row by the number of positions that its mask leaves open.

    Factor and shift are public: one number, or one for each head, set by `rescale`. With a shift of p and
    a factor of 1, up to a common scale, (p + x)^p = p^p (1 + x/p)^p is near exp(x) for small x. Counting
    the open positions keeps the normaliser of a causal model's first rows as large as that of its last ones.
    """

    def __init__(self, exponent: int = 4, epsilon: float = 1e-3) -> None:
        super().__init__(exponent, epsilon)
        self.factor: Tensor
        self.shift: Tensor
        self.register_buffer("factor", torch.ones(()), persistent=False)
        self.register_buffer("shift", torch.zeros(()), persistent=False)

    def scaled(self, scores: Tensor) -> Tensor:
        """`factor x + shift`: scores [B, H, T, S] or [..., S]."""
        return scores * self.factor + self.shift

    def rescale(self, factor: Tensor, shift: Tensor | None = None) -> None:
        """Set factor and shift (0 by default): numbers [], or [H, 1, 1] for heads."""
        self.factor = factor.to(self.factor)
        self.shift = torch.zeros_like(self.factor) if shift is None else shift.to(self.factor)

    def forward(self, scores: Tensor, mask: Tensor | None = None) -> Tensor:
        """Weights [..., L] from scores [..., L]; a mask is binary and multiplied."""
        weights = functional.power_softmax(
            self.scaled(scores), mask, exponent=self.exponent, epsilon=self.epsilon, counted=True
        )
        return weights.to(scores.dtype)  # factors are float32

    def normaliser(self, scores: Tensor, mask: Tensor | None = None) -> Tensor:
        """`epsilon + mean((factor x + shift)^p)` over open positions [...]."""
        return functional.power_normaliser(
            self.scaled(scores), mask, exponent=self.exponent, epsilon=self.epsilon, counted=True
        )

    def get_extra_state(self) -> Tensor:
        """Factor and shift, float32: [2] or [2, H, 1, 1]."""
        return torch.stack([self.factor, self.shift])

    def set_extra_state(self, state: Tensor) -> None:
        """Take over factor and shift."""
        self.factor, self.shift = state.to(self.factor).unbind()


class TwoQuad(nn.Module):
    """`(x + offset)^2 / sum((x + offset)^2)` over the last axis: see `functional.two_quad`."""

    def __init__(self, offset: float = 5.0) -> None:
        super().__init__()
        self.offset = float(offset)

    def forward(self, scores: Tensor, mask: Tensor | None = None) -> Tensor:
        """Weights [..., L] from scores [..., L]; a mask is binary and multiplied."""
        return functional.two_quad(scores, mask, offset=self.offset)

    def normaliser(self, scores: Tensor, mask: Tensor | None = None) -> Tensor:
        """`mean((x + offset)^2)` over the last axis [...]: the values whose reciprocal encryption must
        compute.
        """
        return functional.power_normaliser(scores + self.offset, mask, exponent=2, epsilon=0.0)

    def extra_repr(self) -> str:
        """For printing."""
        return f"offset={self.offset:g}"


class Pointwise(nn.Module):
    """`mask activation(x) / sqrt(L)` over the last axis, L its length: attention without a normaliser.

    The scaling stands after the activation, where it is folded into the values' product. For training from
    scratch; deep models need a normaliser. Source: Zimerman et al., arXiv 2311.08610, section 3.

    Args:
        activation: GELU by default; a polynomial later.
        scaled: without it the factor is 1, for comparison.
        heads: number of heads for a BatchNorm2d over them, on the scores in front of the activation; None
            for no norm. In evaluation it is affine (section 4, vision models).
    """

    def __init__(
        self, activation: nn.Module | None = None, *, scaled: bool = True, heads: int | None = None
    ) -> None:
        super().__init__()
        self.norm = None if heads is None else HeadBatchNorm(heads)
        self.activation = nn.GELU() if activation is None else activation
        self.scaled = scaled

    def forward(self, scores: Tensor, mask: Tensor | None = None) -> Tensor:
        """Weights [..., L] from scores [..., L]; a mask is binary and multiplied after the activation."""
        if self.norm is not None:
            scores = self.norm(scores)
        scale = scores.shape[-1] ** -0.5 if self.scaled else 1.0
        if torch.compiler.is_exporting() and isinstance(self.activation, PolynomialActivation):
            return torch.ops.cipherformer.pointwise(scores, mask, *self.activation.constants(), scale)
        weights = self.activation(scores)
        if mask is not None:
            weights = weights * mask.to(weights.dtype)
        return weights * scale if self.scaled else weights

    def extra_repr(self) -> str:
        """For printing."""
        return f"scaled={self.scaled}"


def repeat_heads(x: Tensor, heads: int) -> Tensor:
    """Keys or values [B, G, S, d] of grouped-query attention -> [B, heads, S, d], each group's in turn."""
    times = heads // x.shape[1]
    return x if times == 1 else x.repeat_interleave(times, dim=1)


class DotProductAttention(nn.Module):
    """Called like torch's `scaled_dot_product_attention`, with a replaceable weighting.

    Args:
        weights: the weighting; softmax by default.
        scale: of the scores; 1/sqrt(d) by default.
        grouped: fewer heads of keys and values than of queries are repeated.
    """

    def __init__(
        self, weights: nn.Module | None = None, *, scale: float | None = None, grouped: bool = False
    ) -> None:
        super().__init__()
        self.weights = Softmax() if weights is None else weights
        self.scale, self.grouped = scale, grouped

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """[B, H, T, d], [B, H, S, d], [B, H, S, d] -> [B, H, T, d]. A mask must be boolean (true: attend)."""
        if attn_mask is not None and attn_mask.dtype != torch.bool:
            raise ModelError("an additive mask", why="masks are multiplied", fix="pass a boolean mask")
        if self.grouped:
            key, value = (repeat_heads(x, query.shape[1]) for x in (key, value))
        if is_causal:
            attn_mask = torch.ones(
                query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device
            ).tril()
        scale = query.shape[-1] ** -0.5 if self.scale is None else self.scale
        weights = self.weights(query * scale @ key.mT, attn_mask)
        return nn.functional.dropout(weights, dropout_p, training=dropout_p > 0.0) @ value


class SelfAttention(nn.Module):
    """Multi-head self-attention: `out(weights(q k^T / sqrt(d)) v)`.

    The trainable tensors are those of stock attention whatever the weighting is: a checkpoint carries over,
    and only `weights` changes. The scale stands at the queries, where a compiler folds it into their matrix.

    Source: Vaswani et al., arXiv 1706.03762, section 3.2; the frame for the weightings is that of Zimerman et
    al., arXiv 2410.09457.

    Args:
        width: features of the input and output.
        heads: number of heads; divides the width.
        weights: module `(scores [B, H, T, T], mask or None) -> [B, H, T, T]`; by default PowerSoftmax, p = 4.
        bias: whether the four projections have biases.
    """

    def __init__(
        self, width: int, heads: int, weights: nn.Module | None = None, *, bias: bool = True
    ) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ParameterError(f"{heads} heads do not divide width {width}")
        self.heads, self.head_width = heads, width // heads
        self.query = nn.Linear(width, width, bias=bias)
        self.key = nn.Linear(width, width, bias=bias)
        self.value = nn.Linear(width, width, bias=bias)
        self.out = nn.Linear(width, width, bias=bias)
        self.weights = PowerSoftmax() if weights is None else weights

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, T, C] -> [B, T, C]; a mask is binary and broadcasts against [B, H, T, T] (1 = attend)."""
        batch, tokens, width = x.shape
        shape = (batch, tokens, self.heads, self.head_width)
        q = (self.query(x) * self.head_width**-0.5).view(shape).transpose(1, 2)
        k = self.key(x).view(shape).transpose(1, 2)
        v = self.value(x).view(shape).transpose(1, 2)
        weights = self.weights(q @ k.transpose(-2, -1), mask)
        return self.out((weights @ v).transpose(1, 2).reshape(batch, tokens, width))


class MultiheadAdapter(nn.Module):
    """A `SelfAttention` that is called like `torch.nn.MultiheadAttention(batch_first=True)`.

    Boolean masks follow torch's convention there (True = do not attend) and are turned round.
    Cross-attention, float masks, and weights that are asked for raise ModelError.
    """

    def __init__(self, attention: SelfAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, None]:
        """[B, T, C] three times the same tensor -> ([B, T, C], None)."""
        where = "MultiheadAttention"
        if query is not key or key is not value:
            raise ModelError("cross-attention cannot be replaced", where=where, fix="use self-attention")
        if need_weights:
            raise ModelError(
                "the model asks for attention weights", where=where, fix="call it with need_weights=False"
            )
        blocked = [] if attn_mask is None else [attn_mask]
        if key_padding_mask is not None:
            blocked.append(key_padding_mask[:, None, None, :])
        if any(mask.dtype != torch.bool for mask in blocked):
            raise ModelError(
                "an additive mask", where=where, why="masks are multiplied", fix="pass boolean masks"
            )
        mask = None
        for one in blocked:
            mask = ~one if mask is None else mask & ~one
        return self.attention(query, mask), None
