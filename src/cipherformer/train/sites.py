"""The sites of a model that encryption must approximate: what each takes, and what that costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cipherformer.capture.export import evaluation
from cipherformer.nn import PolynomialNorm
from cipherformer.train.observe import Batch, observe, run
from cipherformer.train.swap import ACTIVATION_NAMES

SAMPLES_PER_CALL = 4096


@dataclass(frozen=True, eq=False)
class Measured:
    """What a site took: extremes over everything, and a sample of values, float32 [n]."""

    low: float
    high: float
    samples: Tensor

    def widened(self, margin: float) -> tuple[float, float]:
        """The range, with a share of its width added on both sides."""
        extra = margin * (self.high - self.low)
        return self.low - extra, self.high + extra


Value = Callable[[nn.Module, Tensor], Tensor]


def sample_sites(
    model: nn.Module,
    batches: Iterable[Batch],
    types: tuple[type[nn.Module], ...],
    *,
    value: Value = lambda _, x: x,
    seed: int = 0,
) -> dict[str, Measured]:
    """What the modules of these types take over all batches, in evaluation mode and without gradients.

    Args:
        model: run on each batch.
        batches: inputs.
        types: exact types.
        value: what of (module, input) is meant.
        seed: of the sampling.
    """
    extremes: dict[str, tuple[float, float]] = {}
    kept: dict[str, list[Tensor]] = {}
    generator = torch.Generator().manual_seed(seed)
    with evaluation(model), torch.no_grad(), observe(model, types) as seen:
        for batch in batches:
            run(model, batch)
            for call in seen.take():
                x = value(call.module, call.value).float().flatten()
                low, high = (float(v) for v in x.aminmax())
                old = extremes.get(call.name, (low, high))
                extremes[call.name] = (min(low, old[0]), max(high, old[1]))
                picked = torch.randint(len(x), (SAMPLES_PER_CALL,), generator=generator)
                kept.setdefault(call.name, []).append(x[picked].cpu())
    return {name: Measured(*extremes[name], torch.cat(kept[name])) for name in extremes}


def channel_scales(model: nn.Module, batches: Iterable[Batch], *, floor: float = 0.05) -> dict[str, Tensor]:
    """The largest |input| of each channel of every ReLU, [C]; at least `floor` of the site's largest."""
    found: dict[str, Tensor] = {}
    with evaluation(model), torch.no_grad(), observe(model, (nn.ReLU,)) as seen:
        for batch in batches:
            run(model, batch)
            for call in seen.take():
                x = call.value.detach().float().abs()
                rows = x.transpose(0, 1).flatten(1).amax(1) if x.dim() == 4 else x.flatten(0, -2).amax(0)
                found[call.name] = torch.maximum(found.get(call.name, rows), rows)
    return {name: rows.clamp(min=floor * float(rows.max())) for name, rows in found.items()}


def over_channels(x: Tensor, scale: Tensor) -> Tensor:
    """`x / scale`, the scale along the channels: axis 1 of four, else the last."""
    return x / (scale[:, None, None] if x.dim() == 4 else scale)


ACTIVATIONS = tuple(ACTIVATION_NAMES)


def is_norm(module: nn.Module) -> bool:
    """LayerNorm, or whatever is called RMSNorm."""
    return isinstance(module, nn.LayerNorm) or type(module).__name__.endswith("RMSNorm")


def norm_types(model: nn.Module) -> tuple[type[nn.Module], ...]:
    """The types of the norms in a model, LayerNorm first."""
    named = {type(m) for m in model.modules() if is_norm(m)}
    return tuple(sorted(named, key=lambda t: (t is not nn.LayerNorm, t.__qualname__)))


def channels_first(norm: nn.Module) -> bool:
    """Whether a norm is over axis 1 of images, as ConvNeXt has them."""
    return getattr(norm, "data_format", "") == "channels_first"


def norm_epsilon(norm: nn.Module) -> float:
    """What a LayerNorm or RMSNorm adds to the variance."""
    names = ("eps", "variance_epsilon", "epsilon")
    return float(next((getattr(norm, n) for n in names if getattr(norm, n, None) is not None), 1e-6))


def variance(norm: nn.Module, x: Tensor) -> Tensor:
    """Variance plus epsilon of each token, as a LayerNorm, an RMSNorm or a PolynomialNorm takes it: [...,
    1].
    """
    if isinstance(norm, PolynomialNorm):
        return norm.variance(x)
    if channels_first(norm):
        x = x.movedim(1, -1)
    centred = x - x.mean(dim=-1, keepdim=True) if isinstance(norm, nn.LayerNorm) else x
    return centred.square().mean(dim=-1, keepdim=True) + norm_epsilon(norm)
