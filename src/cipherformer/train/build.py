"""The swaps of a conversion's stages, on a model whose calls were lifted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cipherformer.errors import ParameterError
from cipherformer.nn import Softmax, TwoQuad
from cipherformer.nn.activation import function_of
from cipherformer.train import rules
from cipherformer.train.observe import Batch
from cipherformer.train.pareto import Option, activation_options, frontier, inverse_sqrt_options, within
from cipherformer.train.prepare import measure_batch_norm, weight_scores
from cipherformer.train.sites import (
    ACTIVATIONS,
    Measured,
    channel_scales,
    norm_types,
    over_channels,
    sample_sites,
    variance,
)
from cipherformer.train.stage import Conversion, Forms, Kind, Stage
from cipherformer.train.swap import (
    ACTIVATION_NAMES,
    Rule,
    Site,
    average_pool_rule,
    batch_norm_rule,
    power_softmax_rule,
    swap,
)
from cipherformer.train.weighting import fit_weightings, sample_rows

REASONS: dict[Kind, str] = {
    "attention": "an exponential of secret scores needs a high degree, and a maximum a comparison",
    "norm": "a square root and a division for each token take many levels; constants would fold away",
    "activation": "encryption adds and multiplies: a polynomial on the measured range is all it can evaluate",
    "pool": "a maximum is a comparison; an average is a sum",
}


@dataclass(frozen=True, eq=False)
class Swapper:
    """Applies the swaps of stages.

    Args:
        conversion: the recipe.
        batches: inputs to measure on, as the model takes them; None brings in the structure alone, into which
            weights are loaded.
        share: see `swap`.
    """

    conversion: Conversion
    batches: Callable[[nn.Module], Sequence[Batch]] | None
    share: bool = False

    def __call__(self, model: nn.Module, stage: Stage) -> tuple[nn.Module, tuple[Site, ...]]:
        """A copy of the model with the stage's kinds replaced, and what was replaced."""
        sites: tuple[Site, ...] = ()
        for kind in stage.replace:
            rule = self._rule(model, kind)
            if rule is None or not any(type(m) in rule.types for m in model.modules()):
                continue
            rows = self._scores(model, kind)
            whole = stage.transition == "at_once"
            swapped = swap(model, [rule if whole else rules.gradual(rule)], share=self.share)
            model, sites = swapped.model, sites + swapped.sites
            if self.batches is not None:
                self._settle(model, kind)
            if rows:
                fit_weightings(model, rows)
        return model, sites

    def _scores(self, model: nn.Module, kind: Kind) -> dict[str, tuple[Tensor, Tensor]]:
        """Scores of the softmaxes that are about to go, where the forms are fitted to them."""
        forms = self.conversion.forms
        if self.batches is None or kind != "attention" or forms.attention != "power" or not forms.matched:
            return {}
        return sample_rows(model, self.batches(model))

    def _rule(self, model: nn.Module, kind: Kind) -> Rule | None:
        forms = self.conversion.forms
        if kind == "attention":
            return weighting(model, forms)
        if kind == "pool":
            return average_pool_rule()
        if kind == "activation":
            if not forms.activation:
                return None
            measured = None
            scales: dict[str, Tensor] | None = {} if forms.channels else None
            if self.batches is not None:
                measured, scales = measured_activations(model, self.batches(model), forms)
            return rules.fitted_activation_rule(
                activation_degrees(model, measured, forms) if measured and forms.budget else forms.activation,
                measured,
                margin=forms.margin,
                method=forms.fit,
                trainable=forms.trainable,
                scales=scales,
            )
        types = norm_types(model)
        if forms.norm == "keep" or not types:
            return None
        if forms.norm == "batch":
            return batch_norm_rule(types)
        measured = None
        if self.batches is not None:
            measured = sample_sites(model, self.batches(model), types, value=variance)
        if forms.norm == "constant":
            return rules.constant_norm_rule(model, measured)
        margin, ratio = forms.norm_margin, forms.norm_ratio
        chosen = norm_degrees(measured, forms) if measured and forms.budget else forms.norm_degree
        return rules.polynomial_norm_rule(model, chosen, measured, margin=margin, ratio=ratio)

    def _settle(self, model: nn.Module, kind: Kind) -> None:
        """Bring what was swapped in to a state from which training starts well."""
        assert self.batches is not None
        forms, batches = self.conversion.forms, self.batches(model)
        if kind == "attention" and forms.attention == "power" and forms.score_bound is not None:
            weight_scores(model, batches, forms.score_bound, shifted=forms.shifted)
        headed = kind == "attention" and forms.attention == "pointwise" and forms.head_norm
        if headed or (kind == "norm" and forms.norm == "batch"):
            measure_batch_norm(model, batches)


def measured_activations(
    model: nn.Module, batches: Sequence[Batch], forms: Forms
) -> tuple[dict[str, Measured], dict[str, Tensor] | None]:
    """What activations take, over the scales of their channels if the forms ask for those; and the scales."""
    scales = channel_scales(model, batches) if forms.channels else None
    return sample_sites(model, batches, ACTIVATIONS, value=_scaled_by(model, scales or {})), scales


def _scaled_by(model: nn.Module, scales: dict[str, Tensor]) -> Callable[[nn.Module, Tensor], Tensor]:
    by_module = {model.get_submodule(name): scale for name, scale in scales.items()}

    def value(module: nn.Module, x: Tensor) -> Tensor:
        return over_channels(x, by_module[module]) if module in by_module else x

    return value


def activation_degrees(model: nn.Module, measured: Mapping[str, Measured], forms: Forms) -> dict[str, int]:
    """The cheapest degrees of activations within the budget of the forms.

    Raises:
        ParameterError: coefficients are trained, whose number must not depend on measurements; or no degrees
            are good enough.
    """
    if forms.trainable:
        raise ParameterError(
            "an error budget with trainable coefficients", fix="leave one of `budget` and `trainable` out"
        )
    return _chosen(options_of_activations(model, measured, forms), forms)


def options_of_activations(
    model: nn.Module, measured: Mapping[str, Measured], forms: Forms
) -> dict[str, tuple[Option, ...]]:
    """What each activation's polynomial can be."""
    functions = {name: function_of(ACTIVATION_NAMES[type(model.get_submodule(name))]) for name in measured}
    return {n: activation_options(functions[n], site, margin=forms.margin) for n, site in measured.items()}


def norm_degrees(measured: Mapping[str, Measured], forms: Forms) -> dict[str, int]:
    """The cheapest degrees of inverse square roots within the budget of the forms."""
    return _chosen(
        {n: inverse_sqrt_options(site, margin=forms.norm_margin) for n, site in measured.items()}, forms
    )


def _chosen(options: Mapping[str, Sequence[Option]], forms: Forms) -> dict[str, int]:
    assert forms.budget is not None
    best = within(frontier(options), forms.budget)
    return {name: option.size for name, option in best.options.items()}


def weighting(model: nn.Module, forms: Forms) -> Rule | None:
    """The rule for attention; multi-head modules of torch are taken apart by PowerSoftmax's own rule."""
    if forms.attention == "power":
        return power_softmax_rule(forms.exponent, forms.epsilon, scaled=True)
    if forms.attention == "two_quad":
        return rules.weighting_rule(lambda: TwoQuad(forms.offset))
    if forms.attention == "pointwise":
        return rules.pointwise_rule(model, head_norm=forms.head_norm, scaled=forms.length_scaled)
    return None


def foreseen(model: nn.Module, conversion: Conversion) -> tuple[Site, ...]:
    """What the stages will replace in a lifted model, without touching it."""
    structure = Swapper(conversion, None)
    found: tuple[Site, ...] = ()
    with torch.no_grad():
        for stage in conversion.stages:
            model, sites = structure(model, stage)
            found += sites
    return found


def kept(model: nn.Module) -> list[str]:
    """Paths of modules that no stage has replaced and that encryption cannot evaluate."""
    types = (Softmax, nn.MultiheadAttention, nn.MaxPool2d, *ACTIVATIONS, *norm_types(model))
    return [name for name, module in model.named_modules() if isinstance(module, types)]
