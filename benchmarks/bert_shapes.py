"""BERT shapes in private form with random weights: PowerSoftmax, polynomial GELU, batch normalisation.

The weights come from a transformers model of the configuration, so a checkpoint would carry over in the same
way; the client embeds its tokens (a public table) and sends 128 vectors.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cipherformer.nn import BatchNorm, PolynomialActivation, PowerSoftmax, SelfAttention

TOKENS = 128
SHAPES = {"bert-tiny-128": (2, 128, 2), "bert-mini-128": (4, 256, 4)}
"""Layers, features, heads; the MLP is four times as wide."""

EXPONENT, EPSILON = 4, 1.5
DEGREE = 7
STATISTICS = 8
"""Inputs that normalisation statistics and intervals are taken from."""


class Layer(nn.Module):
    """One encoder layer, normalised after each residual sum, as BERT does."""

    def __init__(self, layer: nn.Module, heads: int) -> None:
        super().__init__()
        own, out = layer.attention.self, layer.attention.output
        width = out.dense.out_features
        self.attention = SelfAttention(width, heads, PowerSoftmax(EXPONENT, EPSILON))
        self.attention.query, self.attention.key, self.attention.value = own.query, own.key, own.value
        self.attention.out = out.dense
        self.attention_norm = BatchNorm(width, momentum=None)
        self.expand, self.contract = layer.intermediate.dense, layer.output.dense
        self.activation: nn.Module = nn.GELU()
        self.norm = BatchNorm(width, momentum=None)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, C] -> [B, T, C]."""
        x = self.attention_norm(x + self.attention(x))
        return self.norm(x + self.contract(self.activation(self.expand(x))))


class PrivateBert(nn.Module):
    """Embeddings [B, T, C] -> logits [B, 2] of the first token."""

    def __init__(self, name: str, seed: int = 0) -> None:
        super().__init__()
        from transformers import BertConfig, BertModel

        layers, width, heads = SHAPES[name]
        torch.manual_seed(seed)
        config = BertConfig(
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=4 * width,
            max_position_embeddings=TOKENS,
            initializer_range=width**-0.5,
        )
        bert = BertModel(config, add_pooling_layer=False)
        self.layers = nn.ModuleList(Layer(layer, heads) for layer in bert.encoder.layer)
        self.head = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        """The layers, and the head on the first token."""
        for layer in self.layers:
            x = layer(x)
        return self.head(x[:, 0])


def embeddings(name: str, count: int, seed: int = 1) -> NDArray[np.float64]:
    """Inputs [count, T, C] as an embedding layer with its normalisation gives them."""
    rng = np.random.default_rng(seed)
    drawn = rng.standard_normal((count, TOKENS, SHAPES[name][1]))
    centred = drawn - drawn.mean(axis=-1, keepdims=True)
    return np.asarray(centred / centred.std(axis=-1, keepdims=True))


def private_bert(name: str, seed: int = 0) -> PrivateBert:
    """The model with statistics from random inputs and activations fitted to the ranges that these reach."""
    model = PrivateBert(name, seed)
    x = torch.as_tensor(embeddings(name, STATISTICS, seed + 2)).float()
    model.train()
    with torch.no_grad():
        for layer in model.layers:
            attended = layer.attention_norm(x + layer.attention(x))
            reach = float(layer.expand(attended).abs().max()) * 1.1
            layer.activation = PolynomialActivation.fit(degree=DEGREE, low=-reach, high=reach)
            x = layer.norm(attended + layer.contract(layer.activation(layer.expand(attended))))
    return model.eval()
