"""Pooling over the last two axes of [B, C, H, W]."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np

from cipherformer.ops.linear import padded, window_count, windows
from cipherformer.ops.spec import (
    UNARY,
    Array,
    Attrs,
    Builder,
    Composite,
    ErrorBudget,
    Lowering,
    Primitive,
    Shape,
    integers,
)


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


def _lower_max_pool(build: Builder, inputs: Sequence[str], attrs: Attrs, budget: ErrorBudget) -> str:
    """The largest of the windows' entries, which are strided slices; padding is hidden by a public mask."""
    x = inputs[0]
    shape, out = build.type_of(x).shape, _pool_shape([build.type_of(x).shape], attrs)
    kernel, stride, padding = (integers(attrs, a) for a in ("kernel", "stride", "padding"))
    inside = padded(np.ones(shape[2:]), padding)
    for axis, width in enumerate(padding, 2):
        if width:
            here = build.type_of(x).shape
            edge = build.constant(np.zeros((*here[:axis], width, *here[axis + 1 :])))
            x = build.emit("concat", edge, x, edge, dim=axis)
    entries, kept = [], []
    for place in np.ndindex(*kernel):
        entry, mask = x, inside
        for axis in (0, 1):
            stop = place[axis] + (out[2 + axis] - 1) * stride[axis] + 1
            cut = {"start": place[axis], "stop": stop, "step": stride[axis]}
            entry = build.emit("slice", entry, dim=2 + axis, **cut)
            mask = mask.take(range(place[axis], stop, stride[axis]), axis=axis)
        entries.append(build.emit("reshape", entry, shape=(*out, 1)))
        kept.append(mask)
    masks = [] if inside.all() else [build.constant(np.stack(kept, axis=-1)[None, None])]
    found = build.emit("largest", build.emit("concat", *entries, dim=4), *masks, dim=4)
    return build.emit("reshape", found, shape=out)


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
        lowerings=MappingProxyType({"ring": Lowering(_lower_max_pool)}),
        fix="replace max pooling by average pooling with the same window and fine-tune",
    ),
)
