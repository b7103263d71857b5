"""Fit PowerSoftmax's public factors and shifts to the softmax weights that it stands for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from cipherformer.nn import ScaledPowerSoftmax, Softmax, functional
from cipherformer.train.observe import Batch, observe, run

ROWS = 384
"""Rows of scores that a fit is made on, all heads of each."""
STEPS = 150
RATIO = 24.0
"""A normaliser's hi/lo over those rows: below the contract's 32, as others are wider."""
FLOOR = 1e-6
"""Of weights in a logarithm."""


def sample_rows(
    model: nn.Module, batches: Iterable[Batch], *, seed: int = 0
) -> dict[str, tuple[Tensor, Tensor]]:
    """Rows of scores [n, H, 1, S] and their masks that enter each Softmax, by module path.

    Scores without an axis of heads count as those of one head.
    """
    found: dict[str, list[tuple[Tensor, Tensor]]] = {}
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad(), observe(model, (Softmax,)) as seen:
        for batch in batches:
            run(model, batch)
            for call in seen.take():
                x = call.value.float()
                mask = torch.ones_like(x) if call.mask is None else call.mask.to(x.dtype).expand_as(x)
                rows = tuple(_rows(t) for t in (x, mask))
                picked = torch.randint(len(rows[0]), (ROWS,), generator=generator)
                found.setdefault(call.name, []).append((rows[0][picked], rows[1][picked]))
    return {name: _joined(parts, generator) for name, parts in found.items()}


def _rows(x: Tensor) -> Tensor:
    """[B, H, T, S] -> [B T, H, 1, S], others [..., S] -> [n, 1, 1, S]."""
    if x.dim() == 4:
        return x.transpose(1, 2).flatten(0, 1)[:, :, None]
    return x.reshape(-1, 1, 1, x.shape[-1])


def _joined(parts: list[tuple[Tensor, Tensor]], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    scores, masks = (torch.cat(t) for t in zip(*parts, strict=True))
    kept = torch.randperm(len(scores), generator=generator)[:ROWS]
    return scores[kept], masks[kept]


def fit_weightings(model: nn.Module, rows: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    """Set factors and shifts of the ScaledPowerSoftmax at these paths, in place, from where they are.

    Minimises, for each head, the cross-entropy of the weights against the softmax's, where epsilon takes its
    part of them, under a hinge on the normaliser's largest value: moments alone leave most rows so small that
    epsilon rules.

    Args:
        model: with the weightings in it; paths of other modules are passed over.
        rows: of `sample_rows`, of the model with its softmaxes.
    """
    sites = dict(model.named_modules())
    for name, (scores, mask) in rows.items():
        site = sites.get(name)
        if isinstance(site, ScaledPowerSoftmax):
            _fit(site, scores, mask)


def _fit(site: ScaledPowerSoftmax, scores: Tensor, mask: Tensor) -> None:
    wanted = scores.masked_fill(mask == 0, -1e30).softmax(-1) * mask
    start = torch.ones(scores.shape[1], 1, 1) * site.factor
    factor = start.log().requires_grad_()
    shift = (torch.ones_like(start) * site.shift / start).requires_grad_()
    optimizer = torch.optim.Adam([{"params": [factor], "lr": 0.05}, {"params": [shift], "lr": 0.1}])
    form = {"exponent": site.exponent, "epsilon": site.epsilon, "counted": True}
    ceiling = math.log(RATIO * max(site.epsilon, FLOOR))
    for _ in range(STEPS):
        x = (scores + shift) * factor.exp()
        weights = functional.power_softmax(x, mask, **form)  # type: ignore[arg-type]
        entropy = -(wanted * (weights + FLOOR).log()).sum(-1).mean(dim=(0, 2))
        largest = functional.power_normaliser(x, mask, **form).amax(dim=(0, 2))  # type: ignore[arg-type]
        loss = (entropy + (largest.log() - ceiling).relu()).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        found = torch.stack([factor.exp(), factor.exp() * shift])
    if site.factor.dim() == 0 and scores.shape[1] == 1:
        found = found.reshape(2)
    site.rescale(*found)
