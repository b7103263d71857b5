"""ATen ops that are layers: products with weights, normalisations, pooling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from cipherformer.capture.importer import Handler, Importer
from cipherformer.capture.obstacle import Refusal
from cipherformer.capture.public import Secret

Sizes = int | Sequence[int]


def _pair(value: Sizes) -> tuple[int, int]:
    items = (value,) if isinstance(value, int) else tuple(value)
    return (items[0], items[0]) if len(items) == 1 else (items[0], items[1])


def linear(imp: Importer, x: Any, weight: Any, bias: Any = None) -> Secret:
    """X W^T + b."""
    if isinstance(weight, Secret):
        product = imp.emit("matmul", x, imp.emit("permute", weight, dims=(1, 0)))
        return product if bias is None else imp.emit("add", product, bias)
    if isinstance(bias, Secret):
        return imp.emit("add", imp.emit("linear", x, weight), bias)
    return imp.emit("linear", x, weight, *(() if bias is None else (bias,)))


def conv2d(
    imp: Importer,
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Secret:
    """Cross-correlation with a public kernel, of images with or without a batch axis."""
    if isinstance(weight, Secret) or isinstance(bias, Secret):
        raise Refusal(
            "a kernel that depends on the input", "both factors would be secret", "use a fixed kernel"
        )
    shape = imp.shape(x)
    if len(shape) == 3:
        image = imp.emit("reshape", x, shape=(1, *shape))
        out = conv2d(imp, image, weight, bias, stride, padding, dilation, groups)
        return imp.emit("reshape", out, shape=imp.shape(out)[1:])
    if isinstance(padding, str):
        extents = [d * (k - 1) for k, d in zip(weight.shape[2:], _pair(dilation), strict=True)]
        if padding == "same" and any(e % 2 for e in extents):
            raise Refusal("'same' padding of an even kernel", "it is not symmetric", "pad explicitly")
        padding = [e // 2 for e in extents] if padding == "same" else 0
    return imp.emit(
        "conv2d",
        x,
        weight,
        *(() if bias is None else (bias,)),
        stride=_pair(stride),
        padding=_pair(padding),
        dilation=_pair(dilation),
        groups=int(groups),
    )


def conv1d(
    imp: Importer,
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Secret:
    """A convolution of height 1."""
    if isinstance(weight, Secret) or isinstance(padding, str):
        raise Refusal(
            "this form of conv1d", "kernel and padding must be public numbers", "use explicit padding"
        )
    batch, channels, length = imp.shape(x)
    image = imp.emit("reshape", x, shape=(batch, channels, 1, length))
    steps = [(1, _pair(stride)[1]), (0, _pair(padding)[1]), (1, _pair(dilation)[1])]
    out = conv2d(imp, image, weight[:, :, None, :], bias, *steps, groups)
    return imp.emit("reshape", out, shape=(batch, imp.shape(out)[1], imp.shape(out)[3]))


def convolution(
    imp: Importer,
    x: Any,
    weight: Any,
    bias: Any,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Secret:
    """The general form."""
    if transposed or len(weight.shape) not in (3, 4):
        raise Refusal("a transposed or 3-D convolution", "it has no private kernel", "use conv2d")
    form = conv2d if len(weight.shape) == 4 else conv1d
    return form(imp, x, weight, bias, stride, padding, dilation, groups)


def batch_norm(
    imp: Importer,
    x: Secret,
    weight: Any,
    bias: Any,
    mean: Any,
    variance: Any,
    training: bool = False,
    momentum: float = 0.1,
    epsilon: float = 1e-5,
    *rest: Any,
) -> Secret:
    """With stored statistics, along axis 1."""
    if training or mean is None or variance is None:
        raise Refusal(
            "batch normalisation by the batch's own statistics",
            "one client's batch is one example",
            "put the model into evaluation mode, with track_running_stats=True",
        )
    scale = torch.ones_like(mean) if weight is None else weight
    shift = torch.zeros_like(mean) if bias is None else bias
    return imp.emit("batch_norm", x, mean, variance, scale, shift, epsilon=float(epsilon), axis=1)


def _no_training(
    imp: Importer,
    x: Secret,
    weight: Any,
    bias: Any,
    mean: Any,
    variance: Any,
    momentum: float,
    epsilon: float,
) -> tuple[Any, ...]:
    return batch_norm(imp, x, weight, bias, mean, variance, False, momentum, epsilon), None, None


def layer_norm(
    imp: Importer,
    x: Secret,
    shape: Sequence[int],
    weight: Any = None,
    bias: Any = None,
    epsilon: float = 1e-5,
    *rest: Any,
) -> Secret:
    """Over the last axes."""
    rank = len(imp.shape(x))
    axes = tuple(range(rank - len(shape), rank))
    scale = torch.ones(tuple(shape)) if weight is None and bias is not None else weight
    operands = [v for v in (scale, bias) if v is not None]
    return imp.emit("layer_norm", x, *operands, epsilon=float(epsilon), axes=axes)


def rms_norm(
    imp: Importer, x: Secret, shape: Sequence[int], weight: Any = None, epsilon: float | None = None
) -> Secret:
    """Root mean square normalisation over the last axes."""
    rank = len(imp.shape(x))
    axes = tuple(range(rank - len(shape), rank))
    eps = float(torch.finfo(torch.float32).eps) if epsilon is None else float(epsilon)
    return imp.emit("rms_norm", x, *(() if weight is None else (weight,)), epsilon=eps, axes=axes)


def max_pool2d(
    imp: Importer,
    x: Secret,
    kernel: Sizes,
    stride: Sizes = (),
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
) -> Secret:
    """Largest value of each window."""
    if _pair(dilation) != (1, 1) or ceil_mode:
        raise Refusal(
            "max pooling with dilation or ceil_mode", "the window does not fit", "use plain windows"
        )
    size = _pair(kernel)
    step = _pair(stride) if stride else size
    return imp.emit("max_pool2d", x, kernel=size, stride=step, padding=_pair(padding))


def avg_pool2d(
    imp: Importer,
    x: Secret,
    kernel: Sizes,
    stride: Sizes = (),
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Secret:
    """Mean of each window, padding counted."""
    pad = _pair(padding)
    if ceil_mode or divisor_override is not None or (any(pad) and not count_include_pad):
        raise Refusal(
            "average pooling with ceil_mode, a divisor, or padding that does not count",
            "windows would have different weights",
            "use count_include_pad=True and plain windows",
        )
    size = _pair(kernel)
    return imp.emit("avg_pool2d", x, kernel=size, stride=_pair(stride) if stride else size, padding=pad)


def adaptive_avg_pool2d(imp: Importer, x: Secret, size: Sizes) -> Secret:
    """Mean of equal windows; over everything for size 1."""
    shape, out = imp.shape(x), _pair(size)
    if out == (1, 1):
        rank = len(shape)
        return imp.emit("mean", x, dims=(rank - 2, rank - 1), keepdim=True)
    if any(s % o for s, o in zip(shape[-2:], out, strict=True)):
        raise Refusal(
            f"adaptive pooling of {shape[-2:]} to {out}", "windows would differ in size", "use avg_pool2d"
        )
    window = tuple(s // o for s, o in zip(shape[-2:], out, strict=True))
    return imp.emit("avg_pool2d", x, kernel=window, stride=window, padding=(0, 0))


LAYERS: Mapping[str, Handler] = {
    "aten.linear.default": linear,
    "aten.conv2d.default": conv2d,
    "aten.conv2d.padding": conv2d,
    "aten.conv1d.default": conv1d,
    "aten.convolution.default": convolution,
    "aten.batch_norm.default": batch_norm,
    "aten._native_batch_norm_legit_no_training.default": _no_training,
    "aten.layer_norm.default": layer_norm,
    "aten.rms_norm.default": rms_norm,
    "aten.max_pool2d.default": max_pool2d,
    "aten.avg_pool2d.default": avg_pool2d,
    "aten.adaptive_avg_pool2d.default": adaptive_avg_pool2d,
}
"""Handlers by name."""
