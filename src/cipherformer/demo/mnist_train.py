"""Convert the two published MNIST models to private form, fine-tune them, and keep the weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cipherformer.demo.data import Split
from cipherformer.demo.mnist import LeNet, TinyViT
from cipherformer.train import (
    Contract,
    Progress,
    Recipe,
    SiteRange,
    Targets,
    accuracy,
    check,
    digest,
    intervals,
    measure,
    measure_batch_norm,
    rescale_scores,
    train,
    train_or_load,
)
from cipherformer.train.swap import Interval, batch_norm_rule, polynomial_rule, power_softmax_rule, swap

VIT_RECIPE = Recipe(
    epochs=12,
    learning_rate=6e-3,
    warm_up=0.2,
    weight_decay=0.01,
    distillation_weight=0.0,
    site_weight=0.15,
    targets=Targets(interval_share=0.6, normaliser_ratio=8.0, score_bound=1.2),
)
VIT_CONTRACT = Contract(normaliser_ratio=16.0, activation_levels=3, margin=0.1)
LENET_RECIPE = Recipe(
    epochs=6,
    learning_rate=1e-3,
    warm_up=0.2,
    weight_decay=0.0,
    label_smoothing=0.0,
    site_weight=0.3,
    targets=Targets(interval_share=0.75),
)
LENET_CONTRACT = Contract(activation_levels=3, margin=0.1)
LENET_DEGREE = 7


@dataclass(frozen=True, slots=True)
class Converted:
    """A converted model.

    Args:
        model: in evaluation mode, in private form.
        accuracy_original: of the published model on the held-out images, in [0, 1].
        accuracy: of the converted one on the same images.
        ranges: of its sites on all images.
        seconds: that fine-tuning took, possibly in an earlier run.
        cached: whether the weights came from the cache.
    """

    model: nn.Module
    accuracy_original: float
    accuracy: float
    ranges: tuple[SiteRange, ...]
    seconds: float
    cached: bool


def convert_vit(
    original: TinyViT,
    split: Split,
    cache: Path | None = None,
    *,
    seed: int = 0,
    retrain: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Converted:
    """PowerSoftmax for softmax, BatchNorm for LayerNorm, a polynomial for GELU; then fine-tuned on labels.

    Args:
        original: as published.
        split: see `load_mnist`.
        cache: folder of weights; used if they are there, else written.
        seed: of shuffling.
        retrain: train even if there are cached weights.
        progress: called after every step.

    Raises:
        FormatError: cached weights that are damaged.
        LimitError: the result breaks `VIT_CONTRACT`; lists every site.
    """

    def skeleton() -> nn.Module:
        rules = [power_softmax_rule(4, 0.03), batch_norm_rule(), polynomial_rule(6, (-6.0, 6.0))]
        return swap(original, rules, expected={"attention": 1, "norm": 3, "activation": 1}).model

    def run() -> nn.Module:
        model = skeleton()
        rescale_scores(model, split.train_images[:1024], VIT_RECIPE.targets.score_bound)
        measure_batch_norm(model, split.train_images.split(1000))
        recipe = replace(VIT_RECIPE, seed=seed)
        train(model, split.train_images, split.train_labels, recipe, progress=progress)
        return model

    key = {"recipe": asdict(VIT_RECIPE), "seed": seed}
    return _converted("mnist-vit", original, key, skeleton, run, split, cache, retrain, VIT_CONTRACT)


def convert_lenet(
    original: LeNet,
    split: Split,
    cache: Path | None = None,
    *,
    seed: int = 0,
    retrain: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Converted:
    """Polynomials for the four ReLUs, fitted on their measured ranges, then distilled from the original.

    Source: Baruch et al., arXiv 2304.14836, steps 2 to 6. Arguments and errors as for `convert_vit`.
    """

    def skeleton() -> nn.Module:
        return _with_polynomials(original, (-1.0, 1.0))

    def run() -> nn.Module:
        measured = measure(original, split.train_images.split(1000), (nn.ReLU,))
        model = _with_polynomials(original, intervals(measured, 0.0))
        recipe = replace(LENET_RECIPE, seed=seed)
        images, labels = split.train_images, split.train_labels
        train(model, images, labels, recipe, teacher=original, progress=progress)
        return model

    key = {"recipe": asdict(LENET_RECIPE), "seed": seed, "degree": LENET_DEGREE}
    return _converted("mnist-lenet", original, key, skeleton, run, split, cache, retrain, LENET_CONTRACT)


def _with_polynomials(lenet: LeNet, where: Interval | Mapping[str, Interval]) -> nn.Module:
    return swap(lenet, [polynomial_rule(LENET_DEGREE, where)], expected={"activation": 4}).model


def _converted(
    name: str,
    original: nn.Module,
    key: dict[str, Any],
    skeleton: Callable[[], nn.Module],
    run: Callable[[], nn.Module],
    split: Split,
    cache: Path | None,
    retrain: bool,
    contract: Contract,
) -> Converted:
    """Load or run, measure on all images, and check the contract."""

    def right(model: nn.Module) -> float:
        return accuracy(model, split.test_images, split.test_labels)

    fitted = train_or_load(
        cache,
        name,
        {**key, "original": digest(original)},
        skeleton=skeleton,
        run=run,
        facts=lambda model: {"accuracy": right(model), "accuracy_original": right(original)},
        retrain=retrain,
    )
    images = torch.cat([split.train_images, split.test_images])
    sites = measure(fitted.model, images.split(1000))
    check(sites, contract)
    return Converted(fitted.model, right(original), right(fitted.model), sites, fitted.seconds, fitted.cached)
