"""Bring a freshly swapped model to a state from which training starts well."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from cipherformer.nn import PowerSoftmax, ScaledPowerSoftmax, SelfAttention
from cipherformer.train.observe import Batch, Observation, observe, run


def rescale_scores(model: nn.Module, batch: Batch, bound: float = 1.0) -> None:
    """Scale the queries of every PowerSoftmax attention, in place: each head's largest |score| is `bound`.

    PowerSoftmax without epsilon does not change when the scores are multiplied by a constant; the scale
    decides only where epsilon bites and how wide the normaliser's range is. One forward pass for each
    attention, in order, as later scores depend on earlier layers.
    """
    for module in model.modules():
        if not (isinstance(module, SelfAttention) and isinstance(module.weights, PowerSoftmax)):
            continue
        with torch.no_grad(), observe(module, (PowerSoftmax,)) as seen:
            run(model, batch)
            largest = seen.take()[-1].value.abs().amax(dim=(0, 2, 3)).clamp(min=1e-6)
            factor = (bound / largest).repeat_interleave(module.head_width)
            module.query.weight.mul_(factor[:, None])
            if module.query.bias is not None:
                module.query.bias.mul_(factor)


def weight_scores(
    model: nn.Module, batches: Iterable[Batch], bound: float = 1.0, *, shifted: bool = False, rounds: int = 2
) -> None:
    """Set factors and shifts of every ScaledPowerSoftmax, in place: each head's largest |score| becomes
    `bound`.

    As `rescale_scores`, for attention of any form: the numbers belong to the weighting and are public, so
    that a compiler folds them into the queries. Later scores depend a little on earlier ones: hence the
    rounds.

    Args:
        model: run on the batches.
        batches: inputs.
        bound: of what is raised to the power.
        shifted: with the shift for which powers are near exponentials: 1 + (x - mean) / p, times a constant.
        rounds: passes over the batches.
    """
    batches = list(batches)
    for _ in range(rounds):
        seen_by: dict[nn.Module, list[Tensor]] = {}
        with torch.no_grad(), observe(model, (ScaledPowerSoftmax,)) as seen:
            for batch in batches:
                run(model, batch)
                for call in seen.take():
                    seen_by.setdefault(call.module, []).append(_moments(call))
        for site, found in seen_by.items():
            assert isinstance(site, ScaledPowerSoftmax)
            rows = torch.stack(found)
            low, high, mean = rows[:, 0].amin(dim=0), rows[:, 1].amax(dim=0), rows[:, 2].mean(dim=0)
            factor, shift = torch.ones_like(mean), torch.zeros_like(mean)
            if shifted:
                factor, shift = factor / site.exponent, 1.0 - mean / site.exponent
            largest = torch.maximum((factor * low + shift).abs(), (factor * high + shift).abs())
            scale = bound / largest.clamp(min=1e-6)
            site.rescale(factor * scale, shift * scale)


def _moments(call: Observation) -> Tensor:
    """Least, largest and mean score of each head [3, H, 1, 1], or of all [3] where there is no axis of
    heads.
    """
    x = call.value.float()
    open_ = torch.ones_like(x) if call.mask is None else call.mask.to(x.dtype).expand_as(x)
    axes = (0, 2, 3) if x.dim() == 4 else tuple(range(x.dim()))
    rows = torch.stack(
        [
            torch.where(open_ > 0, x, math.inf).amin(dim=axes),
            torch.where(open_ > 0, x, -math.inf).amax(dim=axes),
            (x * open_).sum(dim=axes) / open_.sum(dim=axes).clamp(min=1.0),
        ]
    )
    return rows[:, :, None, None] if x.dim() == 4 else rows


def measure_batch_norm(model: nn.Module, batches: Iterable[Batch]) -> None:
    """Set the running statistics of every batch norm, in place, to their average over these batches.

    Dropout and the like stay off. Afterwards the modules are in the mode they were in.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    modes = {module: module.training for module in model.modules()}
    momenta = [norm.momentum for norm in norms]
    model.eval()
    holders = [m for m in model.modules() if any(child in norms for child in m.children())]
    for module in [*norms, *holders]:
        module.training = True
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    with torch.no_grad():
        for batch in batches:
            run(model, batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for module, mode in modes.items():
        module.training = mode
