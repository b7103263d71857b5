"""Measured ranges of a model's sites, and the contract that the encrypted side asks for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from cipherformer.errors import LimitError
from cipherformer.nn import InverseSqrt, PolynomialActivation, PowerSoftmax, TwoQuad
from cipherformer.train.observe import SITE_TYPES, Batch, Observation, observe, run

Kind = Literal["polynomial", "normaliser", "variance", "other"]


@dataclass(frozen=True, slots=True)
class SiteRange:
    """What a site took on the given data.

    Args:
        name: module path.
        kind: `polynomial` (range of its input), `normaliser` (range of epsilon + mean of powers),
            `variance` (of
            a norm) or `other`.
        low: smallest value.
        high: largest value.
        domain_low: left end of a polynomial's interval, or epsilon: what a normaliser can never fall below.
        domain_high: right end of a polynomial's interval; infinity for a normaliser.
        levels: multiplicative depth of a polynomial; 0 for a normaliser.
    """

    name: str
    kind: Kind
    low: float
    high: float
    domain_low: float = -math.inf
    domain_high: float = math.inf
    levels: int = 0

    def widened(self, margin: float) -> tuple[float, float]:
        """The range with a margin on both sides: a share of its width, or a factor for a normaliser."""
        if self.kind in ("normaliser", "variance"):
            return max(self.low / (1.0 + margin), self.domain_low), self.high * (1.0 + margin)
        extra = margin * (self.high - self.low)
        return self.low - extra, self.high + extra

    def ratio(self, margin: float = 0.0) -> float:
        """hi / lo of a normaliser, margin included: what decides its number of Goldschmidt iterations."""
        low, high = self.widened(margin)
        return high / low


@dataclass(frozen=True, slots=True)
class Contract:
    """What training must hand over so that a model runs encrypted at the promised cost.

    Args:
        normaliser_ratio: largest hi / lo of a normaliser, margin included.
        variance_ratio: largest hi / lo of a variance that a norm takes the inverse square root of.
        activation_levels: largest depth of a polynomial.
        margin: by which measured ranges are widened before they are judged.
    """

    normaliser_ratio: float = 32.0
    variance_ratio: float = 100.0
    activation_levels: int = 3
    margin: float = 0.1


def measure(
    model: nn.Module, batches: Iterable[Batch], types: tuple[type[nn.Module], ...] = SITE_TYPES
) -> tuple[SiteRange, ...]:
    """The range of every site over all batches: all images, rows and heads. Evaluation mode, no gradients."""
    merged: dict[str, SiteRange] = {}
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), observe(model, types) as seen:
            for batch in batches:
                run(model, batch)
                for observation in seen.take():
                    new = _site(observation)
                    old = merged.get(new.name, new)
                    merged[new.name] = _merge(old, new)
    finally:
        model.train(was_training)
    return tuple(merged.values())


def _site(seen: Observation) -> SiteRange:
    module = seen.module
    if isinstance(module, TwoQuad):
        low, high = module.normaliser(seen.value, seen.mask).aminmax()
        return SiteRange(seen.name, "normaliser", float(low), float(high), domain_low=0.0)
    if isinstance(module, PowerSoftmax):
        low, high = module.normaliser(seen.value, seen.mask).aminmax()
        return SiteRange(seen.name, "normaliser", float(low), float(high), domain_low=module.epsilon)
    low, high = seen.value.aminmax()
    if isinstance(module, PolynomialActivation):
        ends = (module.low, module.high)
        kind: Kind = "variance" if isinstance(module, InverseSqrt) else "polynomial"
        return SiteRange(seen.name, kind, float(low), float(high), *ends, module.series.levels)
    return SiteRange(seen.name, "other", float(low), float(high))


def _merge(a: SiteRange, b: SiteRange) -> SiteRange:
    low, high = min(a.low, b.low), max(a.high, b.high)
    return SiteRange(a.name, a.kind, low, high, a.domain_low, a.domain_high, a.levels)


def restate(model: nn.Module, ranges: Iterable[SiteRange], *, margin: float = 0.1, most: float = 0.5) -> None:
    """State each polynomial on an interval that holds what its site was seen to take, in place.

    Training moves inputs out of the intervals that polynomials were fitted on. The polynomials stay what they
    are, and with them all scores; but values are scaled by intervals, and the contract judges them.

    Args:
        model: its polynomials frozen.
        ranges: measured on training inputs.
        margin: by which a range that leaves its interval is widened, as in `SiteRange.widened`.
        most: share of an interval's width by which it may grow on a side; a site that needs more is left, and
            breaks the contract.
    """
    for site in ranges:
        low, high = site.widened(margin)
        low, high = min(low, site.domain_low), max(high, site.domain_high)
        if site.kind not in ("polynomial", "variance") or (low, high) == (site.domain_low, site.domain_high):
            continue
        reach = most * (site.domain_high - site.domain_low)
        if site.domain_low - low <= reach and high - site.domain_high <= reach:
            polynomial = model.get_submodule(site.name)
            assert isinstance(polynomial, PolynomialActivation)
            polynomial.restate(low, high)


def intervals(ranges: Sequence[SiteRange], margin: float = 0.1) -> Mapping[str, tuple[float, float]]:
    """Widened ranges by site name, for `swap.polynomial_rule`."""
    return {site.name: site.widened(margin) for site in ranges}


def violations(ranges: Iterable[SiteRange], contract: Contract) -> list[str]:
    """One sentence for each site that breaks the contract."""
    out = []
    for site in ranges:
        low, high = site.widened(contract.margin)
        if site.kind == "normaliser" and high / low > contract.normaliser_ratio:
            limit = contract.normaliser_ratio
            out.append(f"{site.name}: normaliser's hi/lo is {high / low:.3g}, at most {limit:g} is allowed")
        if site.kind == "variance" and high / low > contract.variance_ratio:
            limit = contract.variance_ratio
            out.append(f"{site.name}: variance's hi/lo is {high / low:.3g}, at most {limit:g} is allowed")
        if site.kind in ("polynomial", "variance"):
            if low < site.domain_low or high > site.domain_high:
                domain = f"[{site.domain_low:.3g}, {site.domain_high:.3g}]"
                out.append(
                    f"{site.name}: inputs reach [{low:.3g}, {high:.3g}], outside its interval {domain}"
                )
            if site.levels > contract.activation_levels:
                out.append(f"{site.name}: {site.levels} levels, at most {contract.activation_levels} allowed")
    return out


def check(ranges: Iterable[SiteRange], contract: Contract) -> None:
    """Raise LimitError, listing every site that breaks the contract."""
    refuse(violations(ranges, contract))


def refuse(problems: Sequence[str]) -> None:
    """Raise LimitError if there are problems."""
    if problems:
        raise LimitError(
            f"{len(problems)} sites break the contract with the encrypted side",
            why="; ".join(problems),
            fix="train longer with a larger weight of the site loss, or relax the contract and pay in levels",
        )
