"""Recipes by name: published methods, one file each, and our own `default`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from cipherformer.errors import ParameterError
from cipherformer.train.recipes import (
    default,
    mpcformer,
    poly_clip,
    poly_cnn,
    poly_transformer,
    power_softmax,
    secformer,
)
from cipherformer.train.stage import Conversion

RECIPES: Mapping[str, Conversion] = MappingProxyType(
    {
        module.RECIPE.name: module.RECIPE
        for module in (default, power_softmax, poly_transformer, secformer, mpcformer, poly_cnn, poly_clip)
    }
)


def recipe(name: str) -> Conversion:
    """A recipe.

    Raises:
        ParameterError: an unknown name.
    """
    if name not in RECIPES:
        raise ParameterError(f"there is no recipe {name!r}", fix=f"choose one of {', '.join(RECIPES)}")
    return RECIPES[name]
