"""The conversions that `benchmarks.training` makes: a checkpoint, its data, and the recipes compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from benchmarks import training_data as real
from benchmarks import training_text as text
from cipherformer.train.data import Data
from cipherformer.train.recipes import recipe
from cipherformer.train.stage import Conversion

MakeModel = Callable[[str], tuple[nn.Module, Tensor | tuple[Tensor, ...]]]
MakeData = Callable[[str], Data]


@dataclass(frozen=True)
class Case:
    """A checkpoint, its data and the recipes that are compared; `minutes` on 2 cores for all of them.

    `quick`: a small random model and data for a smoke test, where the recipes are the point.
    """

    about: str
    minutes: float
    model: MakeModel
    data: MakeData
    recipes: tuple[Conversion, ...]
    quick: tuple[MakeModel, MakeData] | None = None


def lengthened(
    name: str, *epochs: float, batch: int = 64, rate: float | None = None, **forms: Any
) -> Conversion:
    """A recipe with other lengths of its stages, batches and, where given, another rate and other forms."""
    found = recipe(name)
    stages = tuple(
        replace(s, epochs=e, batch_size=batch, learning_rate=rate or s.learning_rate)
        for s, e in zip(found.stages, epochs, strict=True)
    )
    return replace(found, stages=stages, forms=replace(found.forms, **forms))


def shortened(conversion: Conversion) -> Conversion:
    """The same with a few small steps a stage."""
    stages = tuple(
        replace(s, epochs=min(s.epochs, 0.5), batch_size=8, recalibrate=0) for s in conversion.stages
    )
    return replace(conversion, stages=stages)


_TEXT = (text.quick_sentiment, text.quick_sst2)
_IMAGES = (text.quick_tower, text.quick_images)

CASES: Mapping[str, Case] = MappingProxyType(
    {
        "cifar-cnn": Case(
            "ResNet-20 on CIFAR-10, polynomials for ReLU",
            12.0,
            real.resnet20,
            real.cifar10,
            (lengthened("default", 6.0, batch=128, trainable=True),),
            _IMAGES,
        ),
        "cifar-cnn-published": Case(
            "the same by the published method, degree 18",
            20.0,
            real.resnet20,
            real.cifar10,
            (lengthened("poly-cnn", 1.0, 1.0),),
            _IMAGES,
        ),
        "kwt1": Case(
            "KWT-1 on Speech Commands, half of the clips to train, half to score",
            10.0,
            real.keyword,
            real.commands,
            (
                lengthened("default", 5.0, batch=32, matched=False),
                lengthened("power-softmax", 4.0, 4.0, 6.0, batch=32),
            ),
        ),
        "lm": Case(
            "stories260K on TinyStories",
            10.0,
            real.stories,
            real.tinystories,
            (lengthened("default", 30.0, rate=2e-3), lengthened("power-softmax", 5.0, 3.0, 2.0)),
        ),
        "lm-characters": Case(
            "BabyLlama-105 on TinyStories, in characters",
            15.0,
            real.babyllama,
            real.tinystories_characters,
            (lengthened("default", 6.0, batch=32, rate=1e-3),),
        ),
        "text-classification": Case(
            "SST-2 by all-MiniLM-L6-v2, padded and masked",
            60.0,
            text.sentiment,
            text.sst2,
            (
                lengthened("secformer", 1.0, 1.0, batch=32),
                lengthened("power-softmax", 1.0, 0.5, 0.5, batch=32),
                lengthened("mpcformer", 1.0, 1.0, batch=32),
            ),
            _TEXT,
        ),
        "clip": Case(
            "images against class prompts, two classes of ten held out of the projection",
            15.0,
            text.tower,
            real.cifar10,
            (lengthened("poly-clip", 2.0, batch=128),),
            _IMAGES,
        ),
    }
)
