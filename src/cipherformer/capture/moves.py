"""ATen ops that move values, and sums over axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import Tensor

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
) -> Any:
    """x[start:end:step] along an axis; an empty piece is public."""
    shape = imp.shape(x)
    axis = dim % len(shape)
    first, last, _ = slice(start, end).indices(shape[axis])
    if first == 0 and last == shape[axis] and step == 1:
        return x
    if last <= first:
        return torch.zeros((*shape[:axis], 0, *shape[axis + 1 :]))  # public: it has no values
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
    full = [p for p in parts if isinstance(p, Secret) or p.numel()]
    return imp.emit("concat", *full, dim=dim % len(imp.shape(first)))


def stack(imp: Importer, parts: Sequence[Any], dim: int = 0) -> Secret:
    """Join along a new axis."""
    first = next(p for p in parts if isinstance(p, Secret))
    at = dim % (len(imp.shape(first)) + 1)
    return concat(
        imp, [unsqueeze(imp, p, at) if isinstance(p, Secret) else p.unsqueeze(at) for p in parts], at
    )


_MOST_RUNS = 16


def pick(imp: Importer, x: Secret, dim: int, indices: Sequence[int]) -> Secret:
    """Entries of an axis in a given order: slices joined, or a product with a 0-1 matrix if they are many."""
    shape = imp.shape(x)
    axis = dim % len(shape)
    at = [int(i) % shape[axis] for i in indices]
    starts = [0, *(i + 1 for i, (a, b) in enumerate(pairwise(at)) if b != a + 1), len(at)]
    if len(starts) - 1 <= _MOST_RUNS:
        runs = [cut(imp, x, axis, at[i], at[j - 1] + 1) for i, j in pairwise(starts)]
        return runs[0] if len(runs) == 1 else concat(imp, runs, axis)
    chosen = torch.nn.functional.one_hot(torch.tensor(at), shape[axis]).double()
    return transpose(imp, imp.emit("linear", transpose(imp, x, axis, -1), chosen), axis, -1)


def index(imp: Importer, x: Any, indices: Sequence[Tensor | None]) -> Secret:
    """X at public positions along neighbouring axes."""
    if not isinstance(x, Secret) or any(isinstance(i, Secret) for i in indices):
        raise Refusal(
            "a position that depends on the input", "it would tell what it depends on", "use fixed positions"
        )
    axes = [axis for axis, i in enumerate(indices) if i is not None]
    first, last, shape = axes[0], axes[-1], imp.shape(x)
    if axes != list(range(first, last + 1)) or any(i is not None and i.dtype == torch.bool for i in indices):
        raise Refusal("positions along axes that are apart", "it is rarely used", "index one axis at a time")
    flat = reshape(imp, x, (*shape[:first], prod(shape[first : last + 1]), *shape[last + 1 :]))
    where = torch.zeros((), dtype=torch.long)
    for axis in axes:
        where = where * shape[axis] + indices[axis] % shape[axis]  # type: ignore[operator]
    found = pick(imp, flat, first, where.reshape(-1).tolist())
    return reshape(imp, found, (*shape[:first], *where.shape, *shape[last + 1 :]))


def index_select(imp: Importer, x: Any, dim: int, indices: Any) -> Secret:
    """X at public positions of one axis."""
    return index(imp, x, [*[None] * (dim % len(imp.shape(x))), indices])


def pad(
    imp: Importer, x: Secret, widths: Shape, mode: str = "constant", value: float | None = None
) -> Secret:
    """X between constants, last axis first."""
    if mode != "constant" or any(w < 0 for w in widths):
        raise Refusal(f"padding of mode {mode}", "only constants have a private form", "pad with a constant")
    for i, (before, after) in enumerate(zip(widths[::2], widths[1::2], strict=True)):
        shape = imp.shape(x)
        axis = len(shape) - 1 - i
        sides = [torch.full((*shape[:axis], w, *shape[axis + 1 :]), value or 0.0) for w in (before, after)]
        x = concat(imp, [sides[0], x, sides[1]], axis) if before or after else x
    return x


def constant_pad(imp: Importer, x: Secret, widths: Shape, value: float = 0.0) -> Secret:
    """As `pad`."""
    return pad(imp, x, widths, "constant", value)


def repeat(imp: Importer, x: Secret, times: Shape) -> Secret:
    """The whole of x, a number of times along each axis."""
    x = reshape(imp, x, (*(1,) * (len(times) - len(imp.shape(x))), *imp.shape(x)))
    for axis, count in enumerate(times):
        x = concat(imp, [x] * count, axis) if count > 1 else x
    return x


def roll(imp: Importer, x: Secret, shifts: int | Shape, dims: int | Shape = ()) -> Secret:
    """Values pushed along axes, in circles."""
    for shift, axis in zip(_tuple(shifts), _tuple(dims), strict=True):
        size = imp.shape(x)[axis]
        x = pick(imp, x, axis, [(i - shift) % size for i in range(size)])
    return x


def flip(imp: Importer, x: Secret, dims: Shape) -> Secret:
    """Axes in reverse order."""
    for axis in dims:
        x = pick(imp, x, axis, list(range(imp.shape(x)[axis]))[::-1])
    return x


def _tuple(value: int | Shape) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)


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
    "aten.index.Tensor": index,
    "aten.index_select.default": index_select,
    "aten.pad.default": pad,
    "aten.constant_pad_nd.default": constant_pad,
    "aten.repeat.default": repeat,
    "aten.roll.default": roll,
    "aten.flip.default": flip,
    "aten.mean.dim": mean,
    "aten.mean.default": mean,
    "aten.sum.dim_IntList": total,
    "aten.sum.default": total,
}
"""Handlers by name."""
