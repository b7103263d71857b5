"""Pooling over the last two axes of [B, C, H, W]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cipherformer.ops.linear import padded, window_count, windows
from cipherformer.ops.spec import UNARY, Array, Attrs, Composite, Primitive, Shape, integers


def _pool_shape(shapes: Sequence[Shape], attrs: Attrs) -> Shape:
    (x,) = shapes
    if len(x) != 4:
        raise ValueError(f"pooling needs [B, C, H, W], not {x}")
    kernel, stride, padding = (integers(attrs, a) for a in ("kernel", "stride", "padding"))
    return (*x[:2], *(window_count(x[2 + i], kernel[i], stride[i], padding[i]) for i in range(2)))


def _average(inputs: Sequence[Array], attrs: Attrs) -> Array:
    x = padded(inputs[0], integers(attrs, "padding"))
    view = windows(x, integers(attrs, "kernel"), integers(attrs, "stride"), (1, 1))
    return np.asarray(view.mean(axis=(-2, -1)))


def _largest(inputs: Sequence[Array], attrs: Attrs) -> Array:
    x = padded(inputs[0], integers(attrs, "padding"), -np.inf)
    view = windows(x, integers(attrs, "kernel"), integers(attrs, "stride"), (1, 1))
    return np.asarray(view.max(axis=(-2, -1)))


_WINDOW = {"kernel": "ints", "stride": "ints", "padding": "ints"}

OPS = (
    Primitive(
        name="avg_pool2d",
        formula="mean over each window, padding counted",
        arity=UNARY,
        attrs=_WINDOW,
        shape=_pool_shape,
        reference=_average,
    ),
    Composite(
        name="max_pool2d",
        formula="largest value of each window",
        arity=UNARY,
        attrs=_WINDOW,
        shape=_pool_shape,
        reference=_largest,
        fix="replace max pooling by average pooling with the same window and fine-tune",
    ),
)
