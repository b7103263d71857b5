"""Small models that are trained from scratch, with data that cost nothing, for studies of training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cipherformer.capture import pretrained
from cipherformer.nn import Pointwise
from cipherformer.train.data import IGNORED, Data, Part
from cipherformer.train.lift import lift
from cipherformer.train.losses import Targets
from cipherformer.train.rules import weighting_rule
from cipherformer.train.stage import Stage
from cipherformer.train.steps import Step, count_steps, make_optimizer, run_steps
from cipherformer.train.swap import power_softmax_rule, swap

Attention = Literal["softmax", "power", "pointwise", "pointwise-unscaled"]


def decoder(
    *,
    vocabulary: int,
    width: int,
    layers: int,
    tokens: int,
    heads: int = 2,
    inner: int | None = None,
    seed: int = 0,
) -> nn.Module:
    """A Llama of this size with random weights, on embedded tokens, its calls lifted to modules."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=inner or 2 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=2 * tokens,
        tie_word_embeddings=False,
        attn_implementation="eager",
        use_cache=False,
    )
    return _lifted(LlamaForCausalLM, config, tokens, seed)


def vision(*, classes: int, width: int, layers: int, patch: int, size: int = 32, seed: int = 0) -> nn.Module:
    """A vision transformer with random weights, its calls lifted to modules."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        image_size=size,
        patch_size=patch,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // 32),
        intermediate_size=2 * width,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        num_labels=classes,
        attn_implementation="eager",
    )
    return _lifted(ViTForImageClassification, config, 1, seed)


def _lifted(cls: Any, config: Any, tokens: int, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        loaded = pretrained.wrapped(cls(config).eval(), cls.__name__, tokens=tokens)
    return lift(loaded.module, *loaded.example_inputs)


def attending(model: nn.Module, attention: Attention, exponent: int = 4) -> nn.Module:
    """A copy with another weighting."""
    if attention == "softmax":
        return model
    if attention == "power":
        return swap(model, [power_softmax_rule(exponent, 1e-2, scaled=True)]).model
    return swap(model, [weighting_rule(lambda: Pointwise(scaled=attention == "pointwise"))]).model


def fit(
    model: nn.Module,
    data: Data,
    *,
    epochs: float,
    rate: float,
    batch: int = 32,
    sites: float = 0.0,
    targets: Targets | None = None,
    recalibrate: int = 0,
    seed: int = 0,
) -> list[float]:
    """Train in place, no teacher; the losses of all steps."""
    stage = Stage("train", epochs=epochs, batch_size=batch, learning_rate=rate, clip_norm=1.0)
    stage = replace(stage, sites=sites, targets=targets or Targets(), recalibrate=recalibrate)
    losses: list[float] = []

    def after(step: Step) -> None:
        losses.append(step.task)

    if count_steps(stage, data):
        optimizer = make_optimizer(model, stage)
        run_steps(model, model, data, stage, optimizer, seed=seed, start=0, after=after)
    return losses


def recall(count: int, *, pairs: int = 6, symbols: int = 16, seed: int = 0) -> Part:
    """Associative recall: `k1 v1 k2 v2 .. q`, and the value that followed q; one answer a row.

    The keys of a row differ, so that the answer follows from its context alone.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(count, symbols, generator=generator).argsort(1)[:, :pairs]
    values = torch.randint(symbols, 2 * symbols, (count, pairs), generator=generator)
    asked = torch.randint(pairs, (count, 1), generator=generator)
    rows = torch.stack([order, values], dim=2).flatten(1)
    inputs = torch.cat([rows, order.gather(1, asked)], dim=1)
    labels = torch.full_like(inputs, IGNORED)
    labels[:, -1:] = values.gather(1, asked)
    return Part(inputs, labels)


def text_windows(text: bytes, length: int, count: int) -> Part:
    """Windows of bytes, evenly over a text, with the next byte of each place."""
    tokens = torch.tensor(list(text), dtype=torch.long)
    starts = torch.linspace(0, len(tokens) - length - 1, count).long()
    rows = torch.stack([tokens[s : s + length + 1] for s in starts])
    return Part(rows[:, :-1].contiguous(), rows[:, 1:].contiguous())


def blobs(count: int, *, classes: int = 4, size: int = 8, seed: int = 0) -> Part:
    """Images of a bright spot whose quarter is the class, with noise; for smoke tests."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=generator)
    images = 0.3 * torch.randn(count, 3, size, size, generator=generator)
    half = size // 2
    for row, label in enumerate(labels.tolist()):
        top, left = half * (label // 2), half * (label % 2)
        images[row, :, top : top + half, left : left + half] += 1.0
    return Part(images, labels)


def weights_of(model: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """What each weighting of a model gives: attention weights [B, H, T, S] by module path."""
    from cipherformer.nn import PowerSoftmax, Softmax
    from cipherformer.train.data import embed

    found: dict[str, Tensor] = {}
    handles = [
        module.register_forward_hook(lambda _m, _a, out, name=name: found.__setitem__(name, out.detach()))
        for name, module in model.named_modules()
        if isinstance(module, PowerSoftmax | Pointwise | Softmax)
    ]
    try:
        with torch.no_grad():
            model.eval()(embed(model, inputs))
    finally:
        for handle in handles:
            handle.remove()
    return found
