"""Replace what encryption cannot evaluate, everywhere in a module tree, and account for every site."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from cipherformer.errors import ModelError
from cipherformer.nn import (
    BatchNorm,
    Blend,
    MultiheadAdapter,
    PolynomialActivation,
    PowerSoftmax,
    ScaledPowerSoftmax,
    SelfAttention,
    Softmax,
)
from cipherformer.nn.activation import Name

Interval = tuple[float, float]

ACTIVATION_NAMES: dict[type[nn.Module], Name] = {
    nn.GELU: "gelu",
    nn.ReLU: "relu",
    nn.SiLU: "silu",
    nn.Tanh: "tanh",
}
"""The activations that rules know, by their exact types."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of replacement.

    Args:
        kind: its name in reports.
        types: exact module types it replaces.
        build: (module path, old module) -> new module, weights carried over.
    """

    kind: str
    types: tuple[type[nn.Module], ...]
    build: Callable[[str, nn.Module], nn.Module]


@dataclass(frozen=True, slots=True)
class Site:
    """One replacement that was made: module path, the rule's kind, the types before and after."""

    name: str
    kind: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Swapped:
    """A model after `swap`, and its sites in module order."""

    model: nn.Module
    sites: tuple[Site, ...]

    def count(self, kind: str) -> int:
        """Number of sites that the rule of this kind replaced."""
        return sum(site.kind == kind for site in self.sites)


def swap(
    model: nn.Module,
    rules: Sequence[Rule],
    *,
    expected: Mapping[str, int] | None = None,
    share: bool = False,
) -> Swapped:
    """A copy of the model in which every module that a rule names is replaced.

    Only modules are seen: a model that calls `F.softmax` in its `forward` keeps it, and capture refuses it
    later.

    Args:
        model: left as it is.
        rules: at most one for each module type.
        expected: number of sites by kind, where known; a rule that finds none fails anyway.
        share: the copy has the model's own parameters, for a model that does not fit into memory twice:
            training one then trains the other.

    Raises:
        ModelError: a rule without sites, a wrong count, or a module that cannot be replaced.
    """
    model = copy.deepcopy(model, {id(p): p for p in model.parameters()} if share else {})
    rule_of = {t: rule for rule in rules for t in rule.types}
    sites: list[Site] = []
    made: dict[nn.Module, nn.Module] = {}
    for name, old in list(model.named_modules(remove_duplicate=False)):
        rule = rule_of.get(type(old))
        if rule is None or not name:
            continue
        if old not in made:
            made[old] = rule.build(name, old).train(old.training)
        _set(model, name, made[old])
        sites.append(Site(name, rule.kind, type(old).__name__, type(made[old]).__name__))
    swapped = Swapped(model, tuple(sites))
    _account(swapped, rules, expected or {})
    return swapped


def _set(model: nn.Module, name: str, new: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, new)


def _account(swapped: Swapped, rules: Sequence[Rule], expected: Mapping[str, int]) -> None:
    for rule in rules:
        found, wanted = swapped.count(rule.kind), expected.get(rule.kind)
        if found == 0 if wanted is None else found != wanted:
            names = ", ".join(t.__name__ for t in rule.types)
            raise ModelError(
                f"replaced {found} sites of kind {rule.kind!r}, expected {wanted or 'at least one'}",
                where=type(swapped.model).__name__,
                why=f"the rule replaces modules of type {names}; functional calls are not seen",
                fix="make the layers modules, or leave the rule out",
            )


def power_softmax_rule(exponent: int = 4, epsilon: float = 1e-3, *, scaled: bool = False) -> Rule:
    """Softmax attention becomes PowerSoftmax attention with the same trainable tensors.

    `scaled`: the weighting has factors of its own, see `nn.ScaledPowerSoftmax`.
    """

    def build(name: str, old: nn.Module) -> nn.Module:
        weights = (ScaledPowerSoftmax if scaled else PowerSoftmax)(exponent, epsilon)
        return _from_multihead(name, old, weights) if isinstance(old, nn.MultiheadAttention) else weights

    return Rule("attention", (Softmax, nn.MultiheadAttention), build)


def _from_multihead(name: str, old: nn.MultiheadAttention, weights: nn.Module) -> MultiheadAdapter:
    if not (old.batch_first and old._qkv_same_embed_dim and old.bias_k is None and not old.add_zero_attn):
        raise ModelError(
            "this form of MultiheadAttention cannot be replaced",
            where=name,
            why="only batch_first=True with one embedding width and no extra key is supported",
        )
    has_bias = old.in_proj_bias is not None
    new = SelfAttention(old.embed_dim, old.num_heads, weights, bias=has_bias)
    with torch.no_grad():
        parts = (new.query, new.key, new.value)
        for part, weight in zip(parts, old.in_proj_weight.chunk(3), strict=True):
            part.weight.copy_(weight)
        new.out.weight.copy_(old.out_proj.weight)
        if has_bias:
            for part, bias in zip(parts, old.in_proj_bias.chunk(3), strict=True):
                part.bias.copy_(bias)
            new.out.bias.copy_(old.out_proj.bias)
    return MultiheadAdapter(new.to(old.in_proj_weight))


def batch_norm_rule(types: tuple[type[nn.Module], ...] = (nn.LayerNorm,)) -> Rule:
    """Norms over the last axis become BatchNorm over the features; its statistics still have to be measured
    or trained.

    Args:
        types: LayerNorm, and whatever has `weight` and perhaps `bias` as it has.
    """

    def build(name: str, old: nn.Module) -> nn.Module:
        weight, bias = getattr(old, "weight", None), getattr(old, "bias", None)
        found = getattr(old, "normalized_shape", None)
        shape: tuple[int, ...] = tuple(found or (() if weight is None else weight.shape))
        if len(shape) != 1 or getattr(old, "data_format", "channels_last") != "channels_last":
            kind = type(old).__name__
            raise ModelError(f"a {kind} over several axes, or not the last, cannot be replaced", where=name)
        new = BatchNorm(shape[0], getattr(old, "eps", 1e-5))
        with torch.no_grad():
            if weight is not None:
                new.inner.weight.copy_(weight)
            if bias is not None:
                new.inner.bias.copy_(bias)
        return new

    return Rule("norm", types, build)


def polynomial_rule(
    degree: int, intervals: Interval | Mapping[str, Interval], *, trainable: bool = False
) -> Rule:
    """GELU, ReLU, SiLU and Tanh become their minimax polynomials.

    Args:
        degree: of each.
        intervals: one for all, or one for each module path (see `ranges.intervals`).
        trainable: whether the coefficients are parameters.
    """

    def build(name: str, old: nn.Module) -> nn.Module:
        low, high = intervals[name] if isinstance(intervals, Mapping) else intervals
        kind = ACTIVATION_NAMES[type(old)]
        return PolynomialActivation.fit(kind, degree=degree, low=low, high=high, trainable=trainable)

    return Rule("activation", tuple(ACTIVATION_NAMES), build)


def average_pool_rule() -> Rule:
    """MaxPool2d becomes AvgPool2d with the same kernel, stride and padding (arXiv 2304.14836, step 1)."""

    def build(name: str, old: nn.Module) -> nn.Module:
        assert isinstance(old, nn.MaxPool2d)
        if old.dilation not in (1, (1, 1)) or old.return_indices:
            raise ModelError("a dilated or index-returning max-pool cannot be replaced", where=name)
        return nn.AvgPool2d(old.kernel_size, old.stride, old.padding, old.ceil_mode)

    return Rule("pool", (nn.MaxPool2d,), build)


def freeze_polynomials(model: nn.Module) -> nn.Module:
    """A copy in which trained coefficients are constants and blends have ended, as export needs."""
    model = copy.deepcopy(model)
    for name, module in list(model.named_modules()):
        if name and isinstance(module, Blend):
            _set(model, name, module.replacement)
    for name, module in list(model.named_modules()):
        if name and isinstance(module, PolynomialActivation) and module.coefficients is not None:
            _set(model, name, module.frozen())
    return model
