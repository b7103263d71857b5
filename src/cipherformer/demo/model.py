"""A small vision transformer for 8x8 digits: stock (softmax, GELU) or private (PowerSoftmax, polynomial)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from cipherformer.nn import BatchNorm, PolynomialActivation, PowerSoftmax, SelfAttention, Softmax

Variant = Literal["private", "baseline"]


@dataclass(frozen=True, slots=True)
class DigitsConfig:
    """Sizes and forms of a `DigitsViT`.

    Args:
        variant: `private` or `baseline`; both have the same trainable tensors.
        width: features of a token.
        heads: attention heads.
        hidden: features inside the MLP.
        exponent: p of PowerSoftmax.
        epsilon: of PowerSoftmax.
        degree: of the polynomial activation.
        interval: the activation is fitted on [-interval, interval].
    """

    variant: Variant = "private"
    width: int = 32
    heads: int = 2
    hidden: int = 64
    exponent: int = 4
    epsilon: float = 0.03
    degree: int = 6
    interval: float = 6.0


class DigitsViT(nn.Module):
    """[B, 1, 8, 8] in [0, 1] -> logits [B, 10]: 16 patches, one pre-norm block, mean pool, head."""

    def __init__(self, config: DigitsConfig) -> None:
        super().__init__()
        private = config.variant == "private"
        self.patches = nn.Conv2d(1, config.width, 2, stride=2)
        self.positions = nn.Parameter(torch.randn(1, 16, config.width) * 0.1)
        self.norm_attention = BatchNorm(config.width)
        weights = PowerSoftmax(config.exponent, config.epsilon) if private else Softmax()
        self.attention = SelfAttention(config.width, config.heads, weights)
        self.norm_mlp = BatchNorm(config.width)
        self.expand = nn.Linear(config.width, config.hidden)
        self.activation: nn.Module = nn.GELU()
        if private:
            self.activation = PolynomialActivation.fit(
                degree=config.degree, low=-config.interval, high=config.interval
            )
        self.contract = nn.Linear(config.hidden, config.width)
        self.head = nn.Linear(config.width, 10)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 1, 8, 8] -> [B, 10]."""
        x = self.patches(images).flatten(2).transpose(1, 2) + self.positions
        x = x + self.attention(self.norm_attention(x))
        x = x + self.contract(self.activation(self.expand(self.norm_mlp(x))))
        return self.head(x.mean(dim=1))
