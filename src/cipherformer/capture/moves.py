"""ATen ops that move values, and sums over axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from cipherformer.capture.importer import Handler, Importer
from cipherformer.capture.obstacle import Refusal
from cipherformer.capture.public import Secret

Shape = Sequence[int]


def _axes(imp: Importer, x: Secret, dims: int | Shape | None) -> tuple[int, ...]:
    rank = len(imp.shape(x))
    if dims is None or (isinstance(dims, (list, tuple)) and not dims):
        return tuple(range(rank))
    return tuple(d % rank for d in ((dims,) if isinstance(dims, int) else dims))


def reshape(imp: Importer, x: Secret, shape: Shape) -> Secret:
    """View as another shape; -1 is inferred."""
    known = prod(s for s in shape if s != -1)
    full = tuple(prod(imp.shape(x)) // known if s == -1 else int(s) for s in shape)
    return x if full == imp.shape(x) else imp.emit("reshape", x, shape=full)


def flatten(imp: Importer, x: Secret, start_dim: int = 0, end_dim: int = -1) -> Secret:
    """Merge axes start to end."""
    shape = imp.shape(x)
    start, end = start_dim % len(shape), end_dim % len(shape)
    return reshape(imp, x, (*shape[:start], prod(shape[start : end + 1]), *shape[end + 1 :]))


def unflatten(imp: Importer, x: Secret, dim: int, sizes: Shape) -> Secret:
    """Split an axis."""
    shape = imp.shape(x)
    axis = dim % len(shape)
    known = prod(s for s in sizes if s != -1)
    full = tuple(shape[axis] // known if s == -1 else s for s in sizes)
    return reshape(imp, x, (*shape[:axis], *full, *shape[axis + 1 :]))


def permute(imp: Importer, x: Secret, dims: Shape) -> Secret:
    """Reorder the axes."""
    return imp.emit("permute", x, dims=_axes(imp, x, list(dims)))


def transpose(imp: Importer, x: Secret, first: int, second: int) -> Secret:
    """Exchange two axes."""
    order = list(range(len(imp.shape(x))))
    a, b = first % len(order), second % len(order)
    order[a], order[b] = order[b], order[a]
    return imp.emit("permute", x, dims=tuple(order))


def turn(imp: Importer, x: Secret) -> Secret:
    """Transpose a matrix."""
    return x if len(imp.shape(x)) < 2 else transpose(imp, x, -2, -1)


def unsqueeze(imp: Importer, x: Secret, dim: int) -> Secret:
    """An axis of size 1 at `dim`."""
    shape = imp.shape(x)
    at = dim % (len(shape) + 1)
    return reshape(imp, x, (*shape[:at], 1, *shape[at:]))


def squeeze(imp: Importer, x: Secret, dims: int | Shape | None = None) -> Secret:
    """Drop axes of size 1."""
    axes = _axes(imp, x, dims)
    return reshape(imp, x, [s for i, s in enumerate(imp.shape(x)) if s != 1 or i not in axes])


def expand(imp: Importer, x: Secret, sizes: Shape, *, implicit: bool = False) -> Secret:
    """Repeat along axes of size 1; -1 keeps a size."""
    shape = imp.shape(x)
    shape = (*(1,) * (len(sizes) - len(shape)), *shape)
    full = tuple(s if size == -1 else int(size) for s, size in zip(shape, sizes, strict=True))
    x = reshape(imp, x, shape)
    return x if full == shape else imp.emit("expand", x, shape=full)


def expand_as(imp: Importer, x: Secret, other: Any) -> Secret:
    """Repeat to another value's shape."""
    return expand(imp, x, imp.shape(other) if isinstance(other, Secret) else tuple(other.shape))


def cut(
    imp: Importer, x: Secret, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Secret:
    """x[start:end:step] along an axis."""
    shape = imp.shape(x)
    axis = dim % len(shape)
    first, last, _ = slice(start, end).indices(shape[axis])
    if first == 0 and last == shape[axis] and step == 1:
        return x
    if last <= first:
        raise Refusal("an empty slice", "it has no values", "check the indices")
    return imp.emit("slice", x, dim=axis, start=first, stop=last, step=int(step))


def narrow(imp: Importer, x: Secret, dim: int, start: int, length: int) -> Secret:
    """`length` values from `start` on."""
    first = start % imp.shape(x)[dim]
    return cut(imp, x, dim, first, first + length)


def select(imp: Importer, x: Secret, dim: int, index: int) -> Secret:
    """One entry of an axis, which disappears."""
    shape = imp.shape(x)
    axis = dim % len(shape)
    at = index % shape[axis]
    return reshape(imp, cut(imp, x, axis, at, at + 1), (*shape[:axis], *shape[axis + 1 :]))


def split(imp: Importer, x: Secret, sizes: int | Shape, dim: int = 0) -> tuple[Secret, ...]:
    """Pieces of given sizes."""
    total = imp.shape(x)[dim]
    if isinstance(sizes, int):
        sizes = [min(sizes, total - start) for start in range(0, total, sizes)]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return tuple(cut(imp, x, dim, s, s + size) for s, size in zip(starts, sizes, strict=True))


def chunk(imp: Importer, x: Secret, chunks: int, dim: int = 0) -> tuple[Secret, ...]:
    """About equal pieces."""
    return split(imp, x, -(-imp.shape(x)[dim] // chunks), dim)


def unbind(imp: Importer, x: Secret, dim: int = 0) -> tuple[Secret, ...]:
    """Every entry of an axis."""
    return tuple(select(imp, x, dim, i) for i in range(imp.shape(x)[dim]))


def concat(imp: Importer, parts: Sequence[Any], dim: int = 0) -> Secret:
    """Join along an axis."""
    first = next(p for p in parts if isinstance(p, Secret))
    return imp.emit("concat", *parts, dim=dim % len(imp.shape(first)))


def stack(imp: Importer, parts: Sequence[Any], dim: int = 0) -> Secret:
    """Join along a new axis."""
    first = next(p for p in parts if isinstance(p, Secret))
    at = dim % (len(imp.shape(first)) + 1)
    return concat(
        imp, [unsqueeze(imp, p, at) if isinstance(p, Secret) else p.unsqueeze(at) for p in parts], at
    )


def mean(
    imp: Importer, x: Secret, dims: int | Shape | None = None, keepdim: bool = False, **kwargs: Any
) -> Secret:
    """Mean over axes."""
    return imp.emit("mean", x, dims=tuple(sorted(_axes(imp, x, dims))), keepdim=keepdim)


def total(
    imp: Importer, x: Secret, dims: int | Shape | None = None, keepdim: bool = False, **kwargs: Any
) -> Secret:
    """Sum over axes."""
    return imp.emit("sum", x, dims=tuple(sorted(_axes(imp, x, dims))), keepdim=keepdim)


MOVES: Mapping[str, Handler] = {
    "aten.view.default": reshape,
    "aten.reshape.default": reshape,
    "aten._unsafe_view.default": reshape,
    "aten.view_as.default": lambda imp, x, other: reshape(imp, x, imp.shape(other)),
    "aten.flatten.using_ints": flatten,
    "aten.unflatten.int": unflatten,
    "aten.permute.default": permute,
    "aten.transpose.int": transpose,
    "aten.t.default": turn,
    "aten.mT.default": turn,
    "aten.unsqueeze.default": unsqueeze,
    "aten.squeeze.default": squeeze,
    "aten.squeeze.dim": squeeze,
    "aten.squeeze.dims": squeeze,
    "aten.expand.default": expand,
    "aten.expand_as.default": expand_as,
    "aten.slice.Tensor": cut,
    "aten.narrow.default": narrow,
    "aten.select.int": select,
    "aten.split.Tensor": split,
    "aten.split.default": split,
    "aten.split.sizes": split,
    "aten.split_with_sizes.default": split,
    "aten.chunk.default": chunk,
    "aten.unbind.int": unbind,
    "aten.cat.default": concat,
    "aten.concat.default": concat,
    "aten.stack.default": stack,
    "aten.mean.dim": mean,
    "aten.mean.default": mean,
    "aten.sum.dim_IntList": total,
    "aten.sum.default": total,
}
"""Handlers by name."""
