"""Losses that keep a model inside what encryption can evaluate cheaply."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from cipherformer.nn import InverseSqrt, PolynomialActivation, PowerSoftmax, TwoQuad
from cipherformer.train.observe import Observation
from cipherformer.train.sites import ACTIVATIONS, is_norm, variance


@dataclass(frozen=True, slots=True)
class Targets:
    """Where a site's loss starts.

    Args:
        interval_share: share of a polynomial's interval, about its centre, that inputs may use.
        normaliser_ratio: largest hi/lo of a PowerSoftmax normaliser over the batch.
        score_bound: largest |score| that enters a PowerSoftmax.
        activation_bound: largest |input| of an activation that is not a polynomial yet; None leaves it alone.
        variance_ratio: largest hi/lo over the batch of a variance that is normalised by; None leaves it
            alone.
        variance_ceiling: the largest such variance; None leaves it alone.
        ranges: weight of the losses of ranges and normalisers among those of sites.
        variances: weight of those of variances.
        iterations: weight of `iteration_loss` for every normaliser and variance: it goes on where hinges end.
    """

    interval_share: float = 0.85
    normaliser_ratio: float = 12.0
    score_bound: float = 1.0
    activation_bound: float | None = None
    variance_ratio: float | None = None
    variance_ceiling: float | None = None
    ranges: float = 1.0
    variances: float = 1.0
    iterations: float = 0.0


def range_loss(x: Tensor, low: float, high: float) -> Tensor:
    """`max(max x - high, 0) + max(low - min x, 0)`: zero inside; only the extremes get a gradient.

    The extremes are looked up by their places: the gradient of `amax` compares all of x with it and counts,
    which costs more than a convolution of ResNet-20.

    Source: Baruch et al., arXiv 2304.14836, and Zimerman et al., arXiv 2311.08610 (range-aware training).
    """
    flat = x.flatten()
    largest, least = flat[flat.detach().argmax()], flat[flat.detach().argmin()]
    return F.relu(largest - high) + F.relu(low - least)


def condition_loss(normaliser: Tensor, ratio: float) -> Tensor:
    """`max(log(hi / lo) - log(ratio), 0)`, hi and lo the extremes of a positive tensor: all rows of a batch.

    Goldschmidt's iteration count depends on hi/lo alone and grows like its logarithm: this is what a
    reciprocal costs under encryption.
    """
    return F.relu(normaliser.amax().log() - normaliser.amin().log() - math.log(ratio))


RECIPROCAL_GAIN, INVERSE_SQRT_GAIN = 4.0, 6.75
"""By what an early step of Goldschmidt's iteration multiplies a small lo/hi: see `approx.goldschmidt`."""


def iteration_loss(values: Tensor, gain: float) -> Tensor:
    """`log(hi / lo) / log(gain)`: the steps that Goldschmidt's iteration spends on a site, up to a constant.

    Hinges on ranges stop once a range is allowed, though each step less is a level less; this goes on. With
    relaxation, a step multiplies a small lo/hi by `gain`, until it is near 1.

    Args:
        values: positive, all rows of a batch: normalisers or variances.
        gain: `RECIPROCAL_GAIN` or `INVERSE_SQRT_GAIN`.
    """
    return condition_loss(values, 1.0) / math.log(gain)


def site_loss(observations: Iterable[Observation], targets: Targets) -> Tensor:
    """The sum over sites: range loss of each polynomial; condition and score loss of each PowerSoftmax.

    Raises nothing on an empty list: a model without sites has loss 0.
    """
    return sum((_weight(seen, targets) * _one_site(seen, targets) for seen in observations), torch.zeros(()))


def _weight(seen: Observation, targets: Targets) -> float:
    of_variance = isinstance(seen.module, InverseSqrt) or is_norm(seen.module)
    return targets.variances if of_variance else targets.ranges


def _one_site(seen: Observation, targets: Targets) -> Tensor:
    module, x = seen.module, seen.value
    weight = targets.iterations
    if isinstance(module, InverseSqrt):
        outside = variance_loss(x, module.low, module.high)
        return outside + weight * iteration_loss(x, INVERSE_SQRT_GAIN) if weight else outside
    if isinstance(module, PolynomialActivation):
        centre = 0.5 * (module.low + module.high)
        half = 0.5 * (module.high - module.low) * targets.interval_share
        return range_loss(x, centre - half, centre + half)
    if isinstance(module, PowerSoftmax | TwoQuad):
        normaliser = module.normaliser(x, seen.mask)
        wide = condition_loss(normaliser, targets.normaliser_ratio)
        if isinstance(module, PowerSoftmax):
            wide = wide + range_loss(module.scaled(x), -targets.score_bound, targets.score_bound)
        return wide + weight * iteration_loss(normaliser, RECIPROCAL_GAIN) if weight else wide
    if isinstance(module, ACTIVATIONS) and targets.activation_bound is not None:
        return range_loss(x, -targets.activation_bound, targets.activation_bound)
    if is_norm(module) and (targets.variance_ratio or targets.variance_ceiling or weight):
        return _norm_loss(variance(module, x), targets)
    return torch.zeros(())


def _norm_loss(v: Tensor, targets: Targets) -> Tensor:
    """What `targets` ask of the variances of a norm that is not a polynomial yet."""
    total = torch.zeros(())
    if targets.variance_ceiling:
        total = total + F.relu(v.amax() - targets.variance_ceiling) / targets.variance_ceiling
    if targets.variance_ratio:
        total = total + condition_loss(v, targets.variance_ratio)
    if targets.iterations:
        total = total + targets.iterations * iteration_loss(v, INVERSE_SQRT_GAIN)
    return total


def variance_loss(v: Tensor, low: float, high: float, margin: float = 0.1) -> Tensor:
    """How far, in logarithms, positive values leave [low, high] less a margin: the extremes of the batch, and
    the mean over all; 0 inside.

    Source: Zimerman et al., arXiv 2311.08610, section 3 (a ceiling on extremes); the floor is ours, as a
    polynomial has one, and the mean, which moves all tokens at once.
    """
    inner = margin * math.log(high / low)
    bottom, top = math.log(low) + inner, math.log(high) - inner
    logarithm = v.clamp(min=1e-12).log()
    return range_loss(logarithm, bottom, top) + (F.relu(logarithm - top) + F.relu(bottom - logarithm)).mean()


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """`T^2 KL(teacher || student)` of logits [B, K], averaged over the batch; the teacher gets no gradient.

    Source: Hinton et al., arXiv 1503.02531, section 2.
    """
    log_student = F.log_softmax(student / temperature, dim=-1)
    log_teacher = F.log_softmax(teacher.detach() / temperature, dim=-1)
    divergence = F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
    return divergence * temperature**2


def matching_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean square difference in units of the teacher's mean square: 1 if the student knows nothing."""
    teacher = teacher.detach()
    return (student - teacher).square().mean() / teacher.square().mean().clamp(min=1e-12)
