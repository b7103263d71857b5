"""A small training loop for classifiers that fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from cipherformer.errors import DataError
from cipherformer.train.guard import check_finite
from cipherformer.train.losses import Targets, distillation_loss, site_loss
from cipherformer.train.observe import observe


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train.

    Args:
        epochs: passes over the data.
        batch_size: images a step; an incomplete last batch is left out.
        learning_rate: peak of the one-cycle schedule (AdamW).
        warm_up: share of the steps before the peak.
        weight_decay: of tensors with two axes or more.
        label_smoothing: of the cross-entropy.
        clip_norm: of the gradient.
        site_weight: of the losses of `targets`; 0 leaves them out.
        targets: where the losses of sites start.
        distillation_weight: of the distillation loss, if there is a teacher.
        temperature: of the distillation.
        seed: of shuffling and augmentation.
    """

    epochs: int
    batch_size: int = 64
    learning_rate: float = 6e-3
    warm_up: float = 0.1
    weight_decay: float = 0.05
    label_smoothing: float = 0.05
    clip_norm: float = 1.0
    site_weight: float = 0.0
    targets: Targets = field(default_factory=Targets)
    distillation_weight: float = 1.0
    temperature: float = 2.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """State of a run after a step: steps done and in all, the loss, and the part of it that sites cause."""

    step: int
    steps: int
    loss: float
    site_loss: float


Augment = Callable[[Tensor, torch.Generator], Tensor]


def train(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    *,
    augment: Augment | None = None,
    teacher: nn.Module | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> None:
    """Train in place; leaves the model in evaluation mode. The same inputs and seed give the same weights.

    Args:
        model: [B, ...] -> logits [B, K].
        images: [n, ...].
        labels: [n], class numbers.
        recipe: how.
        augment: (images [n, ...], generator) -> images, once an epoch.
        teacher: distilled from, in evaluation mode, on the augmented images.
        progress: called after every step.

    Raises:
        DataError: fewer images than one batch.
        ModelError: the loss is not finite; says in which layer it starts.
    """
    per_epoch = len(images) // recipe.batch_size
    if per_epoch == 0:
        raise DataError(f"{len(images)} images do not fill a batch of {recipe.batch_size}")
    steps = per_epoch * recipe.epochs
    optimizer = _optimizer(model, recipe)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=steps, pct_start=recipe.warm_up
    )
    generator = torch.Generator().manual_seed(recipe.seed)
    done = 0
    model.train()
    with observe(model) as seen:
        for _ in range(recipe.epochs):
            for x, y, soft in _epoch(images, labels, recipe, generator, augment, teacher):
                logits = model(x)
                sites = recipe.site_weight * site_loss(seen.take(), recipe.targets)
                loss = _task_loss(logits, y, soft, recipe) + sites
                check_finite(loss, model, x)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
                optimizer.step()
                schedule.step()
                done += 1
                if progress:
                    progress(Progress(done, steps, loss.item(), sites.item()))
    model.eval()


def _epoch(
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    generator: torch.Generator,
    augment: Augment | None,
    teacher: nn.Module | None,
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Shuffled full batches: images, labels, and the teacher's logits if there is one."""
    size = recipe.batch_size
    order = torch.randperm(len(images), generator=generator)[: len(images) // size * size]
    inputs = augment(images[order], generator) if augment else images[order]
    for x, y in zip(inputs.split(size), labels[order].split(size), strict=True):
        with torch.no_grad():
            soft = teacher(x) if teacher else None
        yield x, y, soft


def _task_loss(logits: Tensor, labels: Tensor, soft: Tensor | None, recipe: Recipe) -> Tensor:
    loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
    if soft is None:
        return loss
    return loss + recipe.distillation_weight * distillation_loss(logits, soft, recipe.temperature)


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)


def accuracy(model: nn.Module, images: Tensor, labels: Tensor, batch_size: int = 512) -> float:
    """Share of images whose largest logit is the label's, in [0, 1]."""
    with torch.no_grad():
        right = [
            (model(x).argmax(dim=1) == y).sum()
            for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True)
        ]
    return int(torch.stack(right).sum()) / len(labels)
