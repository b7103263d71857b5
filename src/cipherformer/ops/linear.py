"""Products with matrices and kernels: the bulk of every model's work."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cipherformer.ops.spec import BINARY, Array, Attrs, Primitive, Shape, bilinear, integer, integers


def _matmul_shape(shapes: Sequence[Shape], attrs: Attrs) -> Shape:
    a, b = shapes
    if len(a) < 2 or len(b) < 2 or a[-1] != b[-2]:
        raise ValueError(f"cannot multiply matrices {a} and {b}")
    return (*np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1])


def _matmul(inputs: Sequence[Array], attrs: Attrs) -> Array:
    return np.asarray(np.matmul(inputs[0], inputs[1]))


def _contracted(shapes: Sequence[Shape], out: Shape, attrs: Attrs) -> int:
    return prod(out) * shapes[0][-1]


def _linear_shape(shapes: Sequence[Shape], attrs: Attrs) -> Shape:
    x, weight = shapes[:2]
    if len(weight) != 2 or not x or x[-1] != weight[1]:
        raise ValueError(f"a weight {weight} does not fit {x}")
    if len(shapes) == 3 and shapes[2] != (weight[0],):
        raise ValueError(f"a bias {shapes[2]} does not fit a weight {weight}")
    return (*x[:-1], weight[0])


def _linear(inputs: Sequence[Array], attrs: Attrs) -> Array:
    product = np.matmul(inputs[0], inputs[1].T)
    return np.asarray(product + inputs[2] if len(inputs) == 3 else product)


def window_count(size: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> int:
    """Number of positions of a window along one axis."""
    count = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    if count < 1:
        raise ValueError(f"a window of {kernel} does not fit an axis of {size}")
    return count


def windows(x: Array, kernel: Shape, stride: Shape, dilation: Shape) -> Array:
    """Strided windows over the last two axes: [..., out_h, out_w, kernel_h, kernel_w]."""
    extent = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    view = sliding_window_view(x, extent, axis=(-2, -1))
    return view[..., :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def padded(x: Array, padding: Shape, value: float = 0) -> Array:
    """`x` with its last two axes padded on both sides; 0 keeps Python's integers exact."""
    height, width = (size + 2 * p for size, p in zip(x.shape[-2:], padding, strict=True))
    out = np.full((*x.shape[:-2], height, width), value, dtype=x.dtype)
    out[..., padding[0] : height - padding[0], padding[1] : width - padding[1]] = x
    return out


def _conv_shape(shapes: Sequence[Shape], attrs: Attrs) -> Shape:
    x, weight = shapes[:2]
    groups = integer(attrs, "groups")
    if len(x) != 4 or len(weight) != 4 or x[1] != weight[1] * groups or weight[0] % groups:
        raise ValueError(f"a kernel {weight} with {groups} groups does not fit {x}")
    if len(shapes) == 3 and shapes[2] != (weight[0],):
        raise ValueError(f"a bias {shapes[2]} does not fit a kernel {weight}")
    stride, padding, dilation = (integers(attrs, a) for a in ("stride", "padding", "dilation"))
    sizes = (window_count(x[2 + i], weight[2 + i], stride[i], padding[i], dilation[i]) for i in range(2))
    return (x[0], weight[0], *sizes)


def _conv(inputs: Sequence[Array], attrs: Attrs) -> Array:
    x, weight = inputs[:2]
    groups = integer(attrs, "groups")
    view = windows(
        padded(x, integers(attrs, "padding")),
        weight.shape[2:],
        integers(attrs, "stride"),
        integers(attrs, "dilation"),
    )
    batch, _, height, width = view.shape[:4]
    view = view.reshape(batch, groups, -1, *view.shape[2:])
    kernel = weight.reshape(groups, -1, *weight.shape[1:])
    out = np.einsum("bgchwij,gocij->bgohw", view, kernel, optimize=True)
    out = out.reshape(batch, weight.shape[0], height, width)
    return np.asarray(out + inputs[2][:, None, None] if len(inputs) == 3 else out)


def _conv_work(shapes: Sequence[Shape], out: Shape, attrs: Attrs) -> int:
    return prod(out) * prod(shapes[1][1:])


OPS = (
    Primitive(
        name="matmul",
        formula="a b over the last two axes, the others broadcast",
        arity=BINARY,
        shape=_matmul_shape,
        reference=_matmul,
        work=_contracted,
        affine=bilinear,
    ),
    Primitive(
        name="linear",
        formula="x W^T + b, W is [out, in]",
        arity=(2, 3),
        shape=_linear_shape,
        reference=_linear,
        work=_contracted,
        affine=bilinear,
    ),
    Primitive(
        name="conv2d",
        formula="cross-correlation of x [B, C, H, W] with W [O, C / groups, kh, kw], plus b",
        arity=(2, 3),
        attrs={"stride": "ints", "padding": "ints", "dilation": "ints", "groups": "int"},
        shape=_conv_shape,
        reference=_conv,
        work=_conv_work,
        affine=bilinear,
    ),
)
