"""Moving a broadcast factor past an op that only moves values: op(x f) = op(x) op'(f)."""

from __future__ import annotations

from math import prod

from cipherformer.graph.ir import Node
from cipherformer.graph.rewrite import GraphBuilder
from cipherformer.ops.spec import integer, integers

Shape = tuple[int, ...]


def through(build: GraphBuilder, node: Node, shape: Shape, factor: str) -> str | None:
    """Append op'(factor) and return its name, or None if the op mixes what the factor tells apart.

    Args:
        build: where to append.
        node: the op: reshape, permute, expand, slice, mean or sum.
        shape: of x, to which the factor broadcasts.
        factor: name of the factor.
    """
    attrs = node.attrs
    small = build.type_of(factor).shape
    if len(small) > len(shape):
        return None
    if prod(small) == 1:
        return _reshaped(build, factor, ())
    full = (1,) * (len(shape) - len(small)) + small
    match node.op:
        case "expand":
            return factor
        case "permute":
            return build.emit("permute", _reshaped(build, factor, full), dims=attrs["dims"])
        case "slice":
            dim = integer(attrs, "dim")
            full_factor = _reshaped(build, factor, full)
            return full_factor if full[dim] == 1 else build.emit("slice", full_factor, **dict(attrs))
        case "mean" | "sum":
            dims = integers(attrs, "dims")
            if any(full[d] != 1 for d in dims):
                return None
            rest = full if attrs["keepdim"] else tuple(s for i, s in enumerate(full) if i not in dims)
            return _reshaped(build, factor, rest)
        case "reshape":
            target = reshaped_factor(shape, node.type.shape, full)
            return None if target is None else _reshaped(build, factor, target)
        case _:
            return None


def _reshaped(build: GraphBuilder, name: str, shape: Shape) -> str:
    return name if build.type_of(name).shape == shape else build.emit("reshape", name, shape=shape)


def reshaped_factor(old: Shape, new: Shape, factor: Shape) -> Shape | None:
    """Shape of a factor of `old` after a reshape to `new`, or None if it no longer broadcasts.

    The axes fall into groups of equal size; in each the factor must be all ones or complete.

    >>> reshaped_factor((1, 2, 3, 4), (2, 3, 4), (1, 2, 3, 1))
    (2, 3, 1)
    """
    out: list[int] = []
    for before, after in axis_groups(old, new):
        part = tuple(factor[i] for i in before)
        if all(s == 1 for s in part):
            out += [1] * len(after)
        elif part == tuple(old[i] for i in before):
            out += [new[i] for i in after]
        else:
            return None
    return tuple(out)


def axis_groups(old: Shape, new: Shape) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Smallest groups of axes with equal products: `(axes of old, axes of new)`.

    >>> axis_groups((6, 4), (2, 3, 4))
    [((0,), (0, 1)), ((1,), (2,))]
    """
    groups = []
    i = j = 0
    while i < len(old) or j < len(new):
        before, after = [i] if i < len(old) else [], [j] if j < len(new) else []
        left, right = prod(old[a] for a in before), prod(new[a] for a in after)
        i, j = i + len(before), j + len(after)
        while left != right:
            if left < right:
                before.append(i)
                left *= old[i]
                i += 1
            else:
                after.append(j)
                right *= new[j]
                j += 1
        groups.append((tuple(before), tuple(after)))
    return groups
