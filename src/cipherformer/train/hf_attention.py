"""Attention of Hugging Face transformers through their own interface: the weighting becomes a module."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cipherformer.capture.export import evaluation
from cipherformer.nn.attention import Softmax, repeat_heads

NAME = "cipherformer"
"""Name of the attention implementation that `lift_attention` registers and selects."""

SITE = "attention_weights"
"""The weighting's name inside an attention module."""

CLOSED_BELOW = -50.0
"""An additive mask below this closes a position, as -100 does in Swin: exp(-50) is 0 beside 1 in float32."""

_found: list[nn.Module] = []


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """Attention with the weighting of `module.attention_weights`; called by models of transformers.

    Args:
        module: the attention module; without a weighting of its own it gets softmax.
        query: [B, H, T, d].
        key: [B, G, S, d], G dividing H: grouped queries.
        value: [B, G, S, d].
        attention_mask: boolean (true: attend), or additive with numbers below `CLOSED_BELOW` where masked.
        scaling: of the scores; 1/sqrt(d) by default.
        dropout: of the weights, in training.
        softcap: bound of the scores, by tanh.

    Returns:
        Values [B, T, H, d] and weights [B, H, T, S].
    """
    if SITE not in module._modules:
        _found.append(module)
        module.add_module(SITE, Softmax())
    key, value = (repeat_heads(x, query.shape[1]) for x in (key, value))
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    mask, bias = split_mask(attention_mask, scores.shape[-1])
    if bias is not None:
        scores = scores + bias
    weights = module._modules[SITE](scores, mask)  # type: ignore[misc]
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    return (weights @ value).transpose(1, 2).contiguous(), weights


def split_mask(mask: Tensor | None, length: int) -> tuple[Tensor | None, Tensor | None]:
    """A mask of transformers as a binary mask (1: attend) and a finite bias, each possibly None."""
    if mask is None:
        return None, None
    mask = mask[..., :length]
    if mask.dtype == torch.bool:
        return mask, None
    open_ = mask > CLOSED_BELOW
    return open_, torch.where(open_, mask, torch.zeros_like(mask))


def _boolean_mask(*args: Any, **kwargs: Any) -> Tensor | None:
    """A mask that is written out even where torch's attention could do without: private forms multiply it."""
    from transformers.masking_utils import sdpa_mask

    kwargs["allow_is_causal_skip"] = False
    mask: Tensor | None = sdpa_mask(*args, **kwargs)
    return mask


def register() -> None:
    """Make the implementation known to transformers; harmless to repeat."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, _boolean_mask)


def lift_attention(model: nn.Module, example_inputs: tuple[Tensor, ...]) -> int:
    """Select the implementation in every transformers model inside `model`, in place, and run it once.

    Returns:
        The number of attention modules that now have a weighting of their own.
    """
    outer = [m for m in model.modules() if callable(getattr(m, "set_attn_implementation", None))]
    if not outer:
        return 0
    register()
    for module in outer:
        module.set_attn_implementation(NAME)  # type: ignore[operator]
    _found.clear()
    with evaluation(model), torch.no_grad():
        model(*example_inputs)
    found = len(_found)
    _found.clear()
    return found
