"""Bring a freshly swapped model to a state from which training starts well."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from cipherformer.nn import PowerSoftmax, ScaledPowerSoftmax, SelfAttention
from cipherformer.train.observe import Observation, observe


def rescale_scores(model: nn.Module, batch: Tensor, bound: float = 1.0) -> None:
    """Scale the queries of every PowerSoftmax attention, in place: each head's largest |score| is `bound`.

    PowerSoftmax without epsilon does not change when the scores are multiplied by a constant; the scale
    decides only where epsilon bites and how wide the normaliser's range is. One forward pass for each
    attention, in order, as later scores depend on earlier layers.
    """
    for module in model.modules():
        if not (isinstance(module, SelfAttention) and isinstance(module.weights, PowerSoftmax)):
            continue
        with torch.no_grad(), observe(module, (PowerSoftmax,)) as seen:
            model(batch)
            largest = seen.take()[-1].value.abs().amax(dim=(0, 2, 3)).clamp(min=1e-6)
            factor = (bound / largest).repeat_interleave(module.head_width)
            module.query.weight.mul_(factor[:, None])
            if module.query.bias is not None:
                module.query.bias.mul_(factor)


def weight_scores(model: nn.Module, batches: Iterable[Tensor], bound: float = 1.0, rounds: int = 2) -> None:
    """Set the factors of every ScaledPowerSoftmax, in place: each head's largest |score| becomes `bound`.

    As `rescale_scores`, for attention of any form: the factors belong to the weighting and are public, so
    that a compiler folds them into the queries. Later scores depend a little on earlier factors: hence the
    rounds.
    """
    batches = list(batches)
    sites = (ScaledPowerSoftmax,)
    for _ in range(rounds):
        largest: dict[nn.Module, list[Tensor]] = {}
        with torch.no_grad(), observe(model, sites) as seen:
            for batch in batches:
                model(batch)
                for call in seen.take():
                    largest.setdefault(call.module, []).append(_by_head(call))
        for site, found in largest.items():
            assert isinstance(site, ScaledPowerSoftmax)
            site.rescale(bound / torch.stack(found).amax(dim=0).clamp(min=1e-6))


def _by_head(call: Observation) -> Tensor:
    """The largest |score| of each head [H, 1, 1], or of all [] where there is no axis of heads."""
    assert isinstance(call.module, ScaledPowerSoftmax)
    found = call.module.scaled(call.value).abs()
    if call.mask is not None:
        found = found * call.mask.to(found.dtype)
    return found.amax(dim=(0, 2, 3))[:, None, None] if found.dim() == 4 else found.amax()


def measure_batch_norm(model: nn.Module, batches: Iterable[Tensor]) -> None:
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
            model(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for module, mode in modes.items():
        module.training = mode
