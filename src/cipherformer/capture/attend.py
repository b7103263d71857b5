"""Attention as models write it."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cipherformer.capture.importer import Importer
from cipherformer.capture.obstacle import Refusal
from cipherformer.capture.public import MASKED, Secret


def softmax(imp: Importer, x: Secret, dim: int, *args: Any, **kwargs: Any) -> Secret:
    """Softmax over one axis."""
    return imp.emit("softmax", x, dim=dim % len(imp.shape(x)))


def attention(
    imp: Importer,
    query: Any,
    key: Any,
    value: Any,
    mask: Any = None,
    dropout: float = 0.0,
    is_causal: bool = False,
    *,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Secret:
    """softmax(scale Q K^T + mask) V, written out. The mask must be public."""
    mask = attn_mask if attn_mask is not None else mask
    if dropout or dropout_p:
        raise Refusal("dropout inside attention", "it is random", "put the model into evaluation mode")
    if isinstance(mask, Secret):
        raise Refusal("an attention mask that depends on the input", "it would be secret", "bake the mask in")
    shapes = [imp.shape(x) if isinstance(x, Secret) else tuple(x.shape) for x in (query, key, value)]
    if enable_gqa:
        key, value = (_repeat_heads(imp, x, shapes[0]) for x in (key, value))
    rank = len(imp.shape(key))
    turn = (*range(rank - 2), rank - 1, rank - 2)
    factor = 1.0 / sqrt(shapes[0][-1]) if scale is None else scale
    scaled = imp.emit("mul", query, factor)
    scores = imp.emit("matmul", scaled, imp.emit("permute", key, dims=turn))
    additive = _additive(mask, is_causal, imp.shape(scores))
    if additive is not None:
        scores = imp.emit("add", scores, Secret(imp.operand(additive, mask=True)))
    weights = imp.emit("softmax", scores, dim=len(imp.shape(scores)) - 1)
    return imp.emit("matmul", weights, value)


def _additive(mask: Tensor | None, is_causal: bool, shape: tuple[int, ...]) -> Tensor | None:
    if is_causal:
        mask = torch.ones(shape[-2], shape[-1]).tril().bool()
    if mask is None:
        return None
    return torch.where(mask, 0.0, MASKED).double() if mask.dtype == torch.bool else mask


def _repeat_heads(imp: Importer, x: Secret, like: tuple[int, ...]) -> Secret:
    """[B, H / r, L, d] -> [B, H, L, d], each head r times: grouped-query attention."""
    shape = imp.shape(x)
    times = like[-3] // shape[-3]
    if times == 1:
        return x
    apart = imp.emit("reshape", x, shape=(*shape[:-2], 1, *shape[-2:]))
    wide = imp.emit("expand", apart, shape=(*shape[:-2], times, *shape[-2:]))
    return imp.emit("reshape", wide, shape=(*shape[:-3], like[-3], *shape[-2:]))


def _masked(imp: Importer, scores: Secret, mask: Any) -> tuple[Any, ...]:
    if mask is None or (isinstance(mask, Tensor) and bool(np.all(mask.numpy() == 1))):
        return (scores,)
    if isinstance(mask, Secret):
        raise Refusal("an attention mask that depends on the input", "it would be secret", "bake the mask in")
    return (scores, mask)


def power_softmax(imp: Importer, scores: Secret, mask: Any, exponent: int, epsilon: float) -> Secret:
    """The package's PowerSoftmax over the last axis."""
    dim = len(imp.shape(scores)) - 1
    operands = _masked(imp, scores, mask)
    return imp.emit("power_softmax", *operands, exponent=int(exponent), epsilon=float(epsilon), dim=dim)


def two_quad(imp: Importer, scores: Secret, mask: Any, offset: float) -> Secret:
    """The package's 2Quad over the last axis."""
    dim = len(imp.shape(scores)) - 1
    return imp.emit("two_quad", *_masked(imp, scores, mask), offset=float(offset), dim=dim)


def pointwise(
    imp: Importer,
    scores: Secret,
    mask: Any,
    coefficients: Sequence[float],
    low: float,
    high: float,
    scale: float,
) -> Secret:
    """The package's attention without a normaliser, over the last axis."""
    operands, dim = _masked(imp, scores, mask), len(imp.shape(scores)) - 1
    return imp.emit("pointwise", *operands, **_series(coefficients, low, high), scale=float(scale), dim=dim)


def polynomial(imp: Importer, x: Secret, coefficients: Sequence[float], low: float, high: float) -> Secret:
    """The package's own activation."""
    return imp.emit("polynomial", x, **_series(coefficients, low, high))


def channel_polynomial(
    imp: Importer, x: Secret, scale: Tensor, coefficients: Sequence[float], low: float, high: float
) -> Secret:
    """The same with a public scale for each channel."""
    axis = 1 if len(imp.shape(x)) == 4 else len(imp.shape(x)) - 1
    return imp.emit("channel_polynomial", x, scale, **_series(coefficients, low, high), axis=axis)


def polynomial_norm(
    imp: Importer,
    x: Secret,
    weight: Tensor,
    bias: Tensor | None,
    coefficients: Sequence[float],
    low: float,
    high: float,
    epsilon: float,
    centre: bool,
) -> Secret:
    """The package's LayerNorm or RMSNorm by a polynomial, over the last axis."""
    operands = (x, weight) if bias is None else (x, weight, bias)
    attrs = {"epsilon": float(epsilon), "axes": (len(imp.shape(x)) - 1,), "centre": bool(centre)}
    return imp.emit("polynomial_norm", *operands, **_series(coefficients, low, high), **attrs)


def _series(coefficients: Sequence[float], low: float, high: float) -> dict[str, Any]:
    return {"coefficients": tuple(map(float, coefficients)), "low": float(low), "high": float(high)}
