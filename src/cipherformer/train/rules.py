"""Rules of `swap` that are fitted to what a model's sites were seen to take."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from cipherformer.approx import chebyshev
from cipherformer.approx.least_squares import least_squares
from cipherformer.errors import ModelError
from cipherformer.nn import ChannelScaled, PolynomialActivation, PolynomialNorm, Softmax, fit_inverse_sqrt
from cipherformer.nn.activation import Blend, fit_activation, function_of
from cipherformer.train.sites import Measured, norm_epsilon, norm_types
from cipherformer.train.swap import ACTIVATION_NAMES, Rule

Make = Callable[[], nn.Module]
UNMEASURED = Measured(0.5, 2.0, torch.empty(0))
"""What stands for a measurement where only the structure matters, before weights are loaded."""


def weighting_rule(make: Make) -> Rule:
    """Softmax weightings, those of `lift` included, become others; no trainable tensor changes."""
    return Rule("attention", (Softmax,), lambda _name, _old: make())


def fitted_activation_rule(
    degree: int,
    measured: Mapping[str, Measured] | None,
    *,
    margin: float = 0.1,
    method: str = "samples",
    trainable: bool = False,
    blend: bool = False,
    scales: Mapping[str, Tensor] | None = None,
) -> Rule:
    """GELU, ReLU, SiLU and Tanh become polynomials on their measured ranges.

    Args:
        degree: of each.
        measured: by module path; None gives the structure alone.
        margin: share of a range's width that is added on both sides.
        method: `samples` (least squares where arguments lie), `even` (on even points), `minimax`, or
            `quad`, the fixed x^2/8 + x/4 + 1/2.
        trainable: whether coefficients are parameters.
        blend: a smooth transition, see `nn.activation.Blend`.
        scales: of channels, for every ReLU, see `nn.ChannelScaled`; its measurements are of x / scale then.
    """

    def build(name: str, old: nn.Module) -> nn.Module:
        site = UNMEASURED if measured is None else measured[name]
        low, high = site.widened(margin)
        kind = ACTIVATION_NAMES[type(old)]
        if method == "quad":
            series = chebyshev.fit(lambda x: 0.125 * x**2 + 0.25 * x + 0.5, low, high, 2)
        elif method == "minimax" or measured is None:
            series = fit_activation(kind, degree, low, high)
        else:
            samples = site.samples.double().cpu().numpy() if method == "samples" else None
            series = least_squares(function_of(kind), low, high, degree, samples=samples)
        new: nn.Module = PolynomialActivation(series, trainable=trainable)
        if scales is not None and isinstance(old, nn.ReLU):
            new = ChannelScaled(new, scales.get(name, torch.ones(1)))
        return Blend(old, new) if blend else new

    return Rule("activation", tuple(ACTIVATION_NAMES), build)


def polynomial_norm_rule(
    model: nn.Module, degree: int, measured: Mapping[str, Measured] | None, *, margin: float = 0.25
) -> Rule:
    """LayerNorm and RMSNorm keep their statistics; the inverse square root becomes a polynomial.

    Args:
        model: whose norms are meant.
        degree: of the polynomial.
        measured: variance plus epsilon, by module path; None gives the structure alone.
        margin: factor minus one by which the interval is widened on both sides.
    """

    def build(name: str, old: nn.Module) -> nn.Module:
        weight = getattr(old, "weight", None)
        if weight is None or weight.dim() != 1:
            raise ModelError("a norm without a weight of one axis cannot be replaced", where=name)
        site = UNMEASURED if measured is None else measured[name]
        series = fit_inverse_sqrt(site.low / (1.0 + margin), site.high * (1.0 + margin), degree, site.samples)
        bias = getattr(old, "bias", None)
        centre = isinstance(old, nn.LayerNorm)
        new = PolynomialNorm(len(weight), series, norm_epsilon(old), centre=centre, bias=bias is not None)
        with torch.no_grad():
            new.weight.copy_(weight)
            if bias is not None and new.bias is not None:
                new.bias.copy_(bias)
        return new.to(weight)

    return Rule("norm", norm_types(model), build)
