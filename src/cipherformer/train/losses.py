"""Losses that keep a model inside what encryption can evaluate cheaply."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from cipherformer.nn import PolynomialActivation, PowerSoftmax
from cipherformer.train.observe import Observation


@dataclass(frozen=True, slots=True)
class Targets:
    """Where a site's loss starts.

    Args:
        interval_share: share of a polynomial's interval, about its centre, that inputs may use.
        normaliser_ratio: largest hi/lo of a PowerSoftmax normaliser over the batch.
        score_bound: largest |score| that enters a PowerSoftmax.
    """

    interval_share: float = 0.85
    normaliser_ratio: float = 12.0
    score_bound: float = 1.0


def range_loss(x: Tensor, low: float, high: float) -> Tensor:
    """`max(max x - high, 0) + max(low - min x, 0)`: zero inside; only the extremes get a gradient.

    Source: Baruch et al., arXiv 2304.14836, and Zimerman et al., arXiv 2311.08610 (range-aware training).
    """
    return F.relu(x.amax() - high) + F.relu(low - x.amin())


def condition_loss(normaliser: Tensor, ratio: float) -> Tensor:
    """`max(log(hi / lo) - log(ratio), 0)`, hi and lo the extremes of a positive tensor: all rows of a batch.

    Goldschmidt's iteration count depends on hi/lo alone and grows like its logarithm: this is what a
    reciprocal costs under encryption.
    """
    return F.relu(normaliser.amax().log() - normaliser.amin().log() - math.log(ratio))


def site_loss(observations: Iterable[Observation], targets: Targets) -> Tensor:
    """The sum over sites: range loss of each polynomial; condition and score loss of each PowerSoftmax.

    Raises nothing on an empty list: a model without sites has loss 0.
    """
    total = torch.zeros(())
    for seen in observations:
        if isinstance(seen.module, PolynomialActivation):
            centre = 0.5 * (seen.module.low + seen.module.high)
            half = 0.5 * (seen.module.high - seen.module.low) * targets.interval_share
            total = total + range_loss(seen.value, centre - half, centre + half)
        elif isinstance(seen.module, PowerSoftmax):
            total = total + range_loss(seen.value, -targets.score_bound, targets.score_bound)
            normaliser = seen.module.normaliser(seen.value, seen.mask)
            total = total + condition_loss(normaliser, targets.normaliser_ratio)
    return total


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """`T^2 KL(teacher || student)` of logits [B, K], averaged over the batch; the teacher gets no gradient.

    Source: Hinton et al., arXiv 1503.02531, section 2.
    """
    log_student = F.log_softmax(student / temperature, dim=-1)
    log_teacher = F.log_softmax(teacher.detach() / temperature, dim=-1)
    divergence = F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
    return divergence * temperature**2
