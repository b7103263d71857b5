"""Sentences and images beside texts: all-MiniLM-L6-v2 on SST-2, and an image tower against class prompts."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import training_data as real
from benchmarks import training_small as small
from cipherformer.train.data import Data, Part
from examples import resnet_cifar, sentences

LENGTH = 32
HELD_OUT = (3, 8)
"""Classes of CIFAR-10 that the image tower's projection never saw: cat and ship."""


class Masked(nn.Module):
    """Embedded tokens [B, L, C] and their mask [B, L] -> scores [B, 2]: a mean over tokens, a linear head."""

    def __init__(self, encoder: Any, head: nn.Linear) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """See the class."""
        hidden = self.encoder(inputs_embeds=x, attention_mask=mask).last_hidden_state
        open_ = mask[:, :, None].to(x.dtype)
        return self.head((hidden * open_).sum(1) / open_.sum(1))


def _encoder() -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    logging.getLogger("transformers").setLevel(logging.ERROR)
    folder = sentences.model_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return AutoModel.from_pretrained(folder, attn_implementation="eager").eval(), tokenizer


def sentiment(folder: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """MiniLM with a head fitted by least squares to embeddings of 3,000 training sentences."""
    encoder, tokenizer = _encoder()
    texts, labels = sentences.read_rows(Path(folder) / "sst2/train.tsv")
    found = sentences.fit_head(sentences.embed(encoder, tokenizer(texts[:3000])["input_ids"]), labels[:3000])
    head = nn.Linear(found.shape[1] - 1, 2)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(found[:, :-1]))
        head.bias.copy_(torch.from_numpy(found[:, -1]))
    width = encoder.config.hidden_size
    return Masked(encoder, head).eval(), (torch.zeros(1, LENGTH, width), torch.ones(1, LENGTH).bool())


def sst2(folder: str) -> Data:
    """SST-2: sentences of at most 32 tokens, filled up; the training rows after the head's, the test rows."""
    _, tokenizer = _encoder()
    parts = []
    for name, first in (("train", 3000), ("test", 0)):
        texts, labels = sentences.read_rows(Path(folder) / f"sst2/{name}.tsv")
        parts.append(filled(tokenizer(texts[first:])["input_ids"], labels[first:]))
    return Data(parts[0], parts[1])


def filled(tokens: list[list[int]], labels: Any) -> Part:
    """Rows of `LENGTH` tokens with their mask; longer ones are cut."""
    inputs, mask = torch.zeros(len(tokens), LENGTH, dtype=torch.long), torch.zeros(len(tokens), LENGTH).bool()
    for row, ids in enumerate(tokens):
        ids = ids[:LENGTH]
        inputs[row, : len(ids)], mask[row, : len(ids)] = torch.tensor(ids), True
    return Part(inputs, torch.as_tensor(np.asarray(labels)), mask)


def tower(folder: str) -> tuple[nn.Module, Tensor]:
    """ResNet-20, its features mapped to MiniLM's embeddings of class prompts; logits are likenesses.

    The map is fitted by least squares to 4,000 training images of the eight classes that are not held out.
    """
    model, example = real.resnet20(folder)
    assert isinstance(model, resnet_cifar.ResNet)
    encoder, tokenizer = _encoder()
    prompts = [f"a photo of a {name}" for name in resnet_cifar.CLASSES]
    texts = torch.from_numpy(sentences.embed(encoder, tokenizer(prompts)["input_ids"])).float()
    return with_prompts(model, texts, real.cifar10(folder, "5000").train), example


def with_prompts(model: resnet_cifar.ResNet, texts: Tensor, part: Part) -> nn.Module:
    """The model with a last layer that compares mapped features with texts [classes, width]."""
    texts = nn.functional.normalize(texts - texts.mean(0), dim=1)
    seen = torch.tensor([label not in HELD_OUT for label in part.labels.tolist()])
    features = _features(model, part.inputs[seen]).double()
    wide = torch.cat([features, torch.ones(len(features), 1, dtype=torch.float64)], dim=1)
    penalty = 1e-3 * len(wide) * torch.eye(wide.shape[1], dtype=torch.float64)
    mapped = torch.linalg.solve(wide.mT @ wide + penalty, wide.mT @ texts[part.labels[seen]].double())
    whole = 20.0 * (texts.double() @ mapped.mT)
    head = nn.Linear(features.shape[1], len(texts))
    with torch.no_grad():
        head.weight.copy_(whole[:, :-1])
        head.bias.copy_(whole[:, -1])
    model.linear = head
    return model.eval()


def _features(model: resnet_cifar.ResNet, images: Tensor) -> Tensor:
    head, model.linear = model.linear, nn.Identity()
    with torch.no_grad():
        out = torch.cat([model.eval()(x) for x in images.split(250)])
    model.linear = head
    return out


def quick_sentiment(_: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A BERT of one layer with random weights."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=64,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=LENGTH,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = Masked(BertModel(config, add_pooling_layer=False), nn.Linear(16, 2)).eval()
    return model, (torch.zeros(1, LENGTH, 16), torch.ones(1, LENGTH).bool())


def quick_sst2(_: str) -> Data:
    """Random tokens of different lengths, labelled by which of two occurs more."""
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(1, 64, (n,), generator=generator).tolist() for n in range(4, 28)] * 4
    part = filled(rows, [int(sum(row) > 32 * len(row)) for row in rows])
    return Data(part, part.first(24))


def quick_tower(_: str) -> tuple[nn.Module, Tensor]:
    """A ResNet with random weights and random texts."""
    torch.manual_seed(0)
    part = small.blobs(32, classes=10, size=8)
    return with_prompts(resnet_cifar.ResNet(1), torch.randn(10, 24), part), part.inputs[:1]


def quick_images(_: str) -> Data:
    """Spots with noise."""
    return Data(small.blobs(64, classes=10, size=8), small.blobs(32, classes=10, size=8, seed=1))
