"""Deep CNNs and a Swin of published shapes with random weights: converted, priced, trained for some steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import training_small as small
from benchmarks.training_large import peak_gib, swapped
from benchmarks.training_place import Place, Row, Study
from cipherformer.capture import pretrained
from cipherformer.train.data import Data
from cipherformer.train.lift import lift
from cipherformer.train.price import prices
from cipherformer.train.recipes import recipe

DEGREES = (3, 7, 15)
STEPS = 3


def resnet(
    depths: Sequence[int], widths: Sequence[int], size: int, classes: int, stem: int = 64
) -> nn.Module:
    """A ResNet of bottlenecks."""
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(
        embedding_size=stem, hidden_sizes=list(widths), depths=list(depths), num_labels=classes
    )
    config.image_size = size
    return _lifted(ResNetForImageClassification, config)


def convnext(depths: Sequence[int], widths: Sequence[int], size: int, classes: int) -> nn.Module:
    """A ConvNeXt."""
    from transformers import ConvNextConfig, ConvNextForImageClassification

    config = ConvNextConfig(
        hidden_sizes=list(widths), depths=list(depths), num_labels=classes, image_size=size
    )
    return _lifted(ConvNextForImageClassification, config)


def swin(depths: Sequence[int], width: int, size: int, window: int, classes: int) -> nn.Module:
    """A Swin on patches of 2 x 2."""
    from transformers import SwinConfig, SwinForImageClassification

    config = SwinConfig(
        image_size=size,
        patch_size=2,
        embed_dim=width,
        depths=list(depths),
        num_heads=[max(1, width * 2**i // 32) for i in range(len(depths))],
        window_size=window,
        num_labels=classes,
        drop_path_rate=0.0,
        attn_implementation="eager",
    )
    return _lifted(SwinForImageClassification, config)


def _lifted(cls: Any, config: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        loaded = pretrained.wrapped(cls(config).eval(), cls.__name__, tokens=1)
    return lift(loaded.module, *loaded.example_inputs)


def shapes(place: Place) -> list[Row]:
    """ResNet-152, ConvNeXt-T and, on Tiny-ImageNet's shape, Swin-T: converted, captured, priced for two
    parties before and after, the CNNs trained for some steps.
    """
    size, classes = (32, 4) if place.quick else (64, 200)
    made: Mapping[str, Callable[[], nn.Module]] = {
        "ResNet-152": lambda: resnet((3, 8, 36, 3), (256, 512, 1024, 2048), size, classes),
        "ConvNeXt-T": lambda: convnext((3, 3, 9, 3), (96, 192, 384, 768), size, classes),
        "Swin-T": lambda: swin((2, 2, 6, 2), 96, size, 8, classes),
    }
    if place.quick:
        made = {
            "ResNet-152": lambda: resnet((1, 1), (8, 8), size, classes, 4),
            "ConvNeXt-T": lambda: convnext((1, 1, 1, 1), (8, 8, 8, 8), size, classes),
            "Swin-T": lambda: swin((1, 1), 8, size, 4, classes),
        }
    images = small.blobs(8, classes=4, size=size)
    data = Data(images, images.first(2))
    return [_shape(name, make(), data, steps=name != "Swin-T") for name, make in made.items()]


def _shape(name: str, model: nn.Module, data: Data, *, steps: bool) -> Row:
    start = time.perf_counter()
    before = _two_party(model, data.test.inputs)
    new = swapped(model, recipe("default"), data)
    row: Row = {"model": name, "parameters": float(sum(p.numel() for p in new.parameters()))}
    if steps:
        losses = small.fit(new, data, epochs=STEPS / 4, rate=1e-4, batch=2, sites=0.1)
        row |= {"first_loss": losses[0], "last_loss": losses[-1]}
    after = _two_party(new.eval(), data.test.inputs)
    row |= {f"{key}_before": value for key, value in before.items()}
    row |= {f"{key}_after": value for key, value in after.items()}
    return row | {"seconds": time.perf_counter() - start, "peak_gib": peak_gib()}


def _two_party(model: nn.Module, images: Tensor) -> dict[str, float]:
    found = prices(model, images[:1], encrypted=False)["two_party"]
    return (
        {}
        if "reason" in found
        else {"rounds": float(found["rounds"]), "wan": found["predicted_seconds"]["wan"]}
    )


class Blocks(nn.Module):
    """Residual blocks of two 3 x 3 convolutions, with a skip connection over every `reach` of them.

    Args:
        blocks: their number.
        channels: of all.
        reach: 0 for no skip connections.
    """

    def __init__(self, blocks: int, channels: int, reach: int) -> None:
        super().__init__()
        self.reach = reach
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2 * blocks)
        )
        self.activations = nn.ModuleList(nn.ReLU() for _ in range(2 * blocks))
        self.head = nn.Linear(channels, 4)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, 4]."""
        kept = x = self.first(x)
        for number, (convolution, activation) in enumerate(
            zip(self.convolutions, self.activations, strict=True), start=1
        ):
            x = activation(convolution(x))
            if self.reach and number % (2 * self.reach) == 0:
                kept = x = x + kept
        return self.head(x.mean((2, 3)))


def skips(place: Place) -> list[Row]:
    """Levels, refreshes and predicted seconds of one topology by degree and by what skip connections span: a
    narrow one, which a ciphertext holds, since what they cost is in levels.
    """
    blocks, channels, size = (1, 2, 4) if place.quick else (4, 4, 8)
    rows: list[Row] = []
    images = small.blobs(8, size=size)
    data = Data(images, images)
    for reach in (1,) if place.quick else (0, 1, 2):
        for degree in DEGREES[: 1 if place.quick else None]:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                model = Blocks(blocks, channels, reach).eval()
            default = recipe("default")
            conversion = replace(default, forms=replace(default.forms, activation=degree))
            lifted = lift(model, images.inputs[:1]).eval()
            start = time.perf_counter()
            found = prices(swapped(lifted, conversion, data).eval(), images.inputs)["encrypted"]
            row: Row = {"model": f"{blocks} blocks", "skip_over": str(reach), "degree": str(degree)}
            if "reason" not in found:
                row |= {name: float(found[name]) for name in ("levels", "bootstraps", "predicted_seconds")}
            rows.append(row | {"seconds": time.perf_counter() - start})
    return rows


CNN: Mapping[str, Study] = MappingProxyType(
    {
        "cifar-cnn-shapes": Study(
            "ResNet-152, ConvNeXt-T and Swin-T, and skip connections and degrees against latency",
            30.0,
            shapes,
        ),
        "cifar-cnn-skips": Study(
            "skip connections and degrees against predicted encrypted latency", 2.0, skips
        ),
    }
)
