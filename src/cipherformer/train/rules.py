"""Rules of `swap` that are fitted to what a model's sites were seen to take."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from cipherformer.approx import chebyshev
from cipherformer.approx.least_squares import least_squares
from cipherformer.errors import ModelError
from cipherformer.nn import (
    Blend,
    ChannelScaled,
    ChannelsFirst,
    ConstantNorm,
    Pointwise,
    PolynomialActivation,
    PolynomialNorm,
    Softmax,
    fit_inverse_sqrt,
)
from cipherformer.nn.activation import fit_activation, function_of
from cipherformer.train.sites import Measured, channels_first, norm_epsilon, norm_types
from cipherformer.train.swap import ACTIVATION_NAMES, Rule

Make = Callable[[], nn.Module]
UNMEASURED = Measured(0.5, 2.0, torch.empty(0))
"""What stands for a measurement where only the structure matters, before weights are loaded."""


def weighting_rule(make: Make) -> Rule:
    """Softmax weightings, those of `lift` included, become others; no trainable tensor changes."""
    return Rule("attention", (Softmax,), lambda _name, _old: make())


def pointwise_rule(model: nn.Module, *, head_norm: bool = False, scaled: bool = True) -> Rule:
    """Softmax weightings become `nn.Pointwise`, with a BatchNorm2d over the heads of each if asked for.

    Args:
        model: whose attention is meant.
        head_norm: the number of heads is that which the attention module says it has; none where none does.
        scaled: by 1/sqrt(L).
    """

    def build(name: str, _old: nn.Module) -> nn.Module:
        return Pointwise(heads=heads_of(model, name) if head_norm else None, scaled=scaled)

    return Rule("attention", (Softmax,), build)


HEADS = ("heads", "num_heads", "num_attention_heads", "n_heads", "n_head")
"""What attention modules call their number of heads."""


def heads_of(model: nn.Module, name: str) -> int | None:
    """The number of heads of the innermost module round a weighting that says it, or whose `config` does;
    None if none does: a functional softmax may be over anything.
    """
    outer = name
    while outer:
        outer = outer.rpartition(".")[0]
        module = model.get_submodule(outer)
        for holder in (module, getattr(module, "config", None)):
            for attribute in HEADS:
                if isinstance(found := getattr(holder, attribute, None), int):
                    return found
    return None


def fitted_activation_rule(
    degree: int | Mapping[str, int],
    measured: Mapping[str, Measured] | None,
    *,
    margin: float = 0.1,
    method: str = "samples",
    trainable: bool = False,
    scales: Mapping[str, Tensor] | None = None,
) -> Rule:
    """GELU, ReLU, SiLU and Tanh become polynomials on their measured ranges.

    Args:
        degree: of each, one for all or by module path.
        measured: by module path; None gives the structure alone.
        margin: share of a range's width that is added on both sides.
        method: `samples` (least squares where arguments lie), `even` (on even points), `minimax`, or
            `quad`, the fixed x^2/8 + x/4 + 1/2.
        trainable: whether coefficients are parameters.
        scales: of channels, for every ReLU, see `nn.ChannelScaled`; its measurements are of x / scale then.
    """

    def build(name: str, old: nn.Module) -> nn.Module:
        site = UNMEASURED if measured is None else measured[name]
        low, high = site.widened(margin)
        kind, degree_here = ACTIVATION_NAMES[type(old)], _of(degree, name)
        if method == "quad":
            series = chebyshev.fit(lambda x: 0.125 * x**2 + 0.25 * x + 0.5, low, high, 2)
        elif method == "minimax" or measured is None:
            series = fit_activation(kind, degree_here, low, high)
        else:
            samples = site.samples.double().cpu().numpy() if method == "samples" else None
            series = least_squares(function_of(kind), low, high, degree_here, samples=samples)
        new = PolynomialActivation(series, trainable=trainable)
        if scales is None or not isinstance(old, nn.ReLU):
            return new
        return ChannelScaled(new, scales.get(name, torch.ones(1)))

    return Rule("activation", tuple(ACTIVATION_NAMES), build)


def polynomial_norm_rule(
    model: nn.Module,
    degree: int | Mapping[str, int],
    measured: Mapping[str, Measured] | None,
    *,
    margin: float = 0.25,
    ratio: float | None = None,
) -> Rule:
    """LayerNorm and RMSNorm keep their statistics; the inverse square root becomes a polynomial.

    Args:
        model: whose norms are meant.
        degree: of the polynomials, one for all or by module path.
        measured: variance plus epsilon, by module path; None gives the structure alone.
        margin: factor minus one by which the interval is widened on both sides.
        ratio: largest hi/lo before that. A wider range is cut at its low end, where the polynomial goes on
            harmlessly, and losses lift what lies below; beyond the high end it would explode.
    """

    def make(name: str, old: nn.Module, site: Measured) -> PolynomialNorm:
        low = site.low if ratio is None else max(site.low, site.high / ratio)
        low, high = low / (1.0 + margin), site.high * (1.0 + margin)
        series = fit_inverse_sqrt(low, high, _of(degree, name), site.samples)
        shape = {"centre": isinstance(old, nn.LayerNorm), "bias": _bias(old) is not None}
        return PolynomialNorm(_width(old), series, norm_epsilon(old), **shape)

    return _norm_rule(model, measured, make)


def constant_norm_rule(model: nn.Module, measured: Mapping[str, Measured] | None) -> Rule:
    """LayerNorm and RMSNorm divide by one learnt number, which starts at the root of the median variance.

    Args:
        model: whose norms are meant.
        measured: as for `polynomial_norm_rule`.
    """

    def make(_name: str, old: nn.Module, site: Measured) -> ConstantNorm:
        middle = float(site.samples.median()) if len(site.samples) else 1.0
        shape = {"centre": isinstance(old, nn.LayerNorm), "bias": _bias(old) is not None}
        return ConstantNorm(_width(old), middle**0.5, **shape)

    return _norm_rule(model, measured, make)


def _norm_rule(
    model: nn.Module,
    measured: Mapping[str, Measured] | None,
    make: Callable[[str, nn.Module, Measured], PolynomialNorm | ConstantNorm],
) -> Rule:
    def build(name: str, old: nn.Module) -> nn.Module:
        weight, bias = getattr(old, "weight", None), _bias(old)
        if weight is None or weight.dim() != 1:
            raise ModelError("a norm without a weight of one axis cannot be replaced", where=name)
        new = make(name, old, UNMEASURED if measured is None else measured[name])
        with torch.no_grad():
            new.weight.copy_(weight)
            if bias is not None and new.bias is not None:
                new.bias.copy_(bias)
        return ChannelsFirst(new.to(weight)) if channels_first(old) else new.to(weight)

    return Rule("norm", norm_types(model), build)


def _of(degree: int | Mapping[str, int], name: str) -> int:
    return degree if isinstance(degree, int) else degree[name]


def _bias(norm: nn.Module) -> Tensor | None:
    return getattr(norm, "bias", None)


def _width(norm: nn.Module) -> int:
    return len(norm.weight)  # type: ignore[arg-type]


def gradual(rule: Rule) -> Rule:
    """The same rule with a transition from each old module to the new one; see `nn.Blend`."""
    return Rule(rule.kind, rule.types, lambda name, old: Blend(old, rule.build(name, old)))
