"""The steps of one stage. What happens at a step depends on its number alone, so that runs can be resumed."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from cipherformer.errors import DataError
from cipherformer.nn import Blend, PolynomialActivation
from cipherformer.train.data import IGNORED, Data, Part, augmented
from cipherformer.train.guard import check_finite
from cipherformer.train.losses import distillation_loss, site_loss
from cipherformer.train.memory import checkpointed
from cipherformer.train.metrics import is_regression
from cipherformer.train.observe import SITE_TYPES, observe
from cipherformer.train.sites import ACTIVATIONS, norm_types
from cipherformer.train.stage import Stage
from cipherformer.train.tap import Taps


@dataclass(frozen=True, slots=True)
class Step:
    """After a step: its number from 1, the stage's steps, and the parts of the loss."""

    stage: str
    step: int
    steps: int
    loss: float
    task: float
    sites: float


def count_steps(stage: Stage, data: Data) -> int:
    """Steps of a stage.

    Raises:
        DataError: fewer inputs than one batch.
    """
    per_epoch = len(data.train) // stage.batch_size
    if stage.epochs > 0.0 and per_epoch == 0:
        raise DataError(f"{len(data.train)} inputs do not fill a batch of {stage.batch_size}")
    return round(per_epoch * stage.epochs)


def make_optimizer(model: nn.Module, stage: Stage) -> torch.optim.Optimizer:
    """AdamW, SGD or Adafactor; tensors with fewer than two axes do not decay."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": stage.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    if stage.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=stage.learning_rate, momentum=0.9)
    if stage.optimizer == "adafactor":
        return torch.optim.Adafactor(groups, lr=stage.learning_rate)
    return torch.optim.AdamW(groups, lr=stage.learning_rate)


def rate(stage: Stage, step: int, steps: int) -> float:
    """The learning rate of step 0 .. steps - 1."""
    done, rising = (step + 1) / steps, max(stage.warm_up, 1e-9)
    if done <= rising:
        return stage.learning_rate * done / rising
    left = (1.0 - done) / max(1.0 - rising, 1e-9)
    if stage.schedule == "constant":
        return stage.learning_rate
    if stage.schedule == "linear":
        return stage.learning_rate * left
    return stage.learning_rate * 0.5 * (1.0 - math.cos(math.pi * left))


def batch_at(data: Data, stage: Stage, step: int, seed: int) -> Part:
    """The inputs of a step: epochs are shuffled by their number."""
    per_epoch = len(data.train) // stage.batch_size
    epoch, place = divmod(step, per_epoch)
    order = torch.randperm(len(data.train), generator=_generator(seed, epoch, 1))
    batch = data.train.rows(order[place * stage.batch_size : (place + 1) * stage.batch_size])
    return replace(batch, inputs=augmented(batch.inputs, data.augment, _generator(seed, step, 2)))


def _generator(seed: int, number: int, purpose: int) -> torch.Generator:
    return torch.Generator().manual_seed((seed * 1_000_003 + number) * 7 + purpose)


def task_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy: logits [B, K] with classes [B], or [B, L, V] with tokens [B, L]; mean square error of
    [B, 1] with numbers [B]. Half precision is computed in float32.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if is_regression(labels):
        return F.mse_loss(logits.flatten(), labels)
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORED)


def soft_loss(logits: Tensor, wanted: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Distillation of the logits that count; of numbers, as SecFormer has it, the error of the labels."""
    if is_regression(labels):
        return task_loss(logits, labels)
    kept = labels.flatten() != IGNORED
    return distillation_loss(logits.flatten(0, -2)[kept], wanted.flatten(0, -2)[kept], temperature)


def run_steps(
    model: nn.Module,
    teacher: nn.Module,
    data: Data,
    stage: Stage,
    optimizer: torch.optim.Optimizer,
    *,
    seed: int,
    start: int,
    after: Callable[[Step], None],
) -> None:
    """Steps `start` .. of a stage, in place; leaves the model in evaluation mode.

    Args:
        model: to be trained.
        teacher: the original, in evaluation mode; used if the stage needs it.
        data: trained on.
        stage: how.
        optimizer: of the model.
        seed: of shuffling, augmentation and dropout.
        start: steps already done.
        after: called after each step.

    Raises:
        ModelError: the loss is not finite; names the layer in which it starts.
    """
    steps = count_steps(stage, data)
    observed = SITE_TYPES + ACTIVATIONS + norm_types(model)
    model.train()
    for module in model.modules():
        if stage.freeze_statistics and isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
        if isinstance(module, PolynomialActivation):
            module.guarded = True
    twice = checkpointed(model) if stage.checkpoint else nullcontext()
    with twice, Taps(teacher, model, stage) as taps, observe(model, observed) as seen:
        for step in range(start, steps):
            batch = batch_at(data, stage, step, seed)
            _move_blends(model, stage, step, steps)
            for group in optimizer.param_groups:
                group["lr"] = rate(stage, step, steps)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed((seed * 1_000_003 + step) * 7 + 3)
                wanted = _teacher_logits(teacher, batch, stage)
                fed = batch.fed(model)
                logits = model(*fed)
            task = task_loss(logits, batch.labels)
            sites = site_loss(seen.take(), stage.targets) if stage.sites else torch.zeros(())
            loss = stage.task * task + stage.sites * sites + taps.loss(stage)
            if stage.soft:
                soft = soft_loss(logits, wanted, batch.labels, stage.temperature)
                loss = loss + stage.soft * soft
            check_finite(loss, model, *(t.detach() for t in fed))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            seen.take()  # what a second pass through checkpointed layers gathered
            taps.forget()
            nn.utils.clip_grad_norm_(model.parameters(), stage.clip_norm)
            optimizer.step()
            after(Step(stage.name, step + 1, steps, loss.item(), task.item(), float(sites.detach())))
    for module in model.modules():
        if isinstance(module, PolynomialActivation):
            module.guarded = False
    model.eval()


def _teacher_logits(teacher: nn.Module, batch: Part, stage: Stage) -> Any:
    if not stage.needs_teacher:
        return None
    with torch.no_grad():
        return teacher(*batch.fed(teacher))


def _move_blends(model: nn.Module, stage: Stage, step: int, steps: int) -> None:
    """Shares rise linearly over the first 80% of the stage: all at a time, or one after the other."""
    if stage.transition == "at_once":
        return
    blends = [m for m in model.modules() if isinstance(m, Blend)]
    done = (step + 1) / (0.8 * steps)
    for place, blend in enumerate(blends):
        own = done if stage.transition == "together" else done * len(blends) - place
        blend.share = min(1.0, max(0.0, own, blend.share))


def end_blends(model: nn.Module) -> None:
    """From here on the replacements alone."""
    for module in model.modules():
        if isinstance(module, Blend):
            module.share = 1.0
