"""Train the digits model twice: with softmax and GELU, then, from those weights, in its private form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from cipherformer.demo.data import Split, warp
from cipherformer.demo.model import DigitsConfig, DigitsViT
from cipherformer.train import (
    Contract,
    Progress,
    Recipe,
    SiteRange,
    Targets,
    accuracy,
    check,
    digest,
    measure,
    rescale_scores,
    train,
    train_or_load,
)
from cipherformer.train.swap import polynomial_rule, power_softmax_rule, swap

BASELINE = DigitsConfig("baseline")
PRIVATE = DigitsConfig("private")
BASELINE_RECIPE = Recipe(epochs=80, learning_rate=8e-3)
PRIVATE_RECIPE = Recipe(
    epochs=70,
    learning_rate=8e-3,
    warm_up=0.2,
    site_weight=0.15,
    targets=Targets(interval_share=0.6, normaliser_ratio=8.0, score_bound=1.2),
)
CONTRACT = Contract(normaliser_ratio=16.0, activation_levels=3, margin=0.1)

OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained model and what is known about it.

    Args:
        model: in evaluation mode.
        accuracy: on the held-out images, in [0, 1].
        ranges: of its sites on training and held-out images.
        seconds: that training took, possibly in an earlier run.
        cached: whether the weights came from the cache.
    """

    model: DigitsViT
    accuracy: float
    ranges: tuple[SiteRange, ...]
    seconds: float
    cached: bool


def ranges(model: nn.Module, images: Tensor) -> tuple[SiteRange, ...]:
    """Ranges of normalisers and polynomial inputs over images [n, 1, 8, 8]: all rows and heads."""
    return measure(model, images.split(512))


def train_baseline(
    split: Split,
    cache: Path | None = None,
    *,
    seed: int = 0,
    retrain: bool = False,
    progress: OnProgress | None = None,
) -> Trained:
    """The network with softmax and GELU, from random weights.

    Args:
        split: the images.
        cache: folder of weights; used if they are there for the same configuration and seed, else written.
        seed: of the weights, the shuffling and the augmentation.
        retrain: train even if there are cached weights.
        progress: called after every step.

    Raises:
        FormatError: cached weights that are damaged.
    """

    def run() -> DigitsViT:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = DigitsViT(BASELINE)
        recipe = replace(BASELINE_RECIPE, seed=seed)
        train(model, split.train_images, split.train_labels, recipe, augment=warp, progress=progress)
        return model

    key = {"recipe": asdict(BASELINE_RECIPE), "seed": seed}
    return _trained(run, BASELINE, key, split, cache, retrain)


def train_private(
    split: Split,
    baseline: Trained,
    cache: Path | None = None,
    *,
    seed: int = 0,
    retrain: bool = False,
    progress: OnProgress | None = None,
) -> Trained:
    """The baseline with PowerSoftmax and a polynomial swapped in, fine-tuned with the baseline as teacher.

    Args and errors as for `train_baseline`, and:

    Raises:
        LimitError: the result breaks `CONTRACT`; lists every site.
    """

    def run() -> DigitsViT:
        model = to_private(baseline.model, split.train_images)
        recipe = replace(PRIVATE_RECIPE, seed=seed)
        images, labels = split.train_images, split.train_labels
        train(model, images, labels, recipe, augment=warp, teacher=baseline.model, progress=progress)
        return model

    key = {"recipe": asdict(PRIVATE_RECIPE), "seed": seed, "baseline": digest(baseline.model)}
    trained = _trained(run, PRIVATE, key, split, cache, retrain)
    check(trained.ranges, CONTRACT)
    return trained


def to_private(baseline: DigitsViT, images: Tensor) -> DigitsViT:
    """A copy with one attention and one activation replaced, its scores scaled to [-1, 1] on the images."""
    rules = [
        power_softmax_rule(PRIVATE.exponent, PRIVATE.epsilon),
        polynomial_rule(PRIVATE.degree, (-PRIVATE.interval, PRIVATE.interval)),
    ]
    model = swap(baseline, rules, expected={"attention": 1, "activation": 1}).model
    rescale_scores(model, images, PRIVATE_RECIPE.targets.score_bound)
    return cast(DigitsViT, model)


def _trained(
    run: Callable[[], DigitsViT],
    config: DigitsConfig,
    key: dict[str, Any],
    split: Split,
    cache: Path | None,
    retrain: bool,
) -> Trained:
    def right(model: DigitsViT) -> float:
        return accuracy(model, split.test_images, split.test_labels)

    fitted = train_or_load(
        cache,
        f"digits-{config.variant}",
        {"config": asdict(config), **key},
        skeleton=lambda: DigitsViT(config),
        run=run,
        facts=lambda model: {"accuracy": right(model)},
        retrain=retrain,
    )
    sites = ranges(fitted.model, torch.cat([split.train_images, split.test_images]))
    return Trained(fitted.model, right(fitted.model), sites, fitted.seconds, fitted.cached)
