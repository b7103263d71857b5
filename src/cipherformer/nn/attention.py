"""Self-attention whose weighting (softmax, PowerSoftmax, 2Quad) is a replaceable module of its own."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cipherformer.errors import ModelError, ParameterError
from cipherformer.nn import functional


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

    def normaliser(self, scores: Tensor, mask: Tensor | None = None) -> Tensor:
        """`epsilon + mean(x^p)` [...]: the values whose reciprocal encryption must compute."""
        return functional.power_normaliser(scores, mask, exponent=self.exponent, epsilon=self.epsilon)

    def extra_repr(self) -> str:
        """For printing."""
        return f"exponent={self.exponent}, epsilon={self.epsilon:g}"


class TwoQuad(nn.Module):
    """`(x + offset)^2 / sum((x + offset)^2)` over the last axis: see `functional.two_quad`."""

    def __init__(self, offset: float = 5.0) -> None:
        super().__init__()
        self.offset = float(offset)

    def forward(self, scores: Tensor, mask: Tensor | None = None) -> Tensor:
        """Weights [..., L] from scores [..., L]; a mask is binary and multiplied."""
        return functional.two_quad(scores, mask, offset=self.offset)

    def extra_repr(self) -> str:
        """For printing."""
        return f"offset={self.offset:g}"


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
