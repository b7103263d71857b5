"""Affine maps that carry axes through: (identity over the carried axes) x (a small matrix over the others).

A linear layer on [tokens, features] treats every token alike, a head split moves features only, a mean over
keys leaves queries alone. Such a map is found from its values: it carries axis a of the source to axis b of
the result if it commutes with a cyclic shift along them and with the projection on one index, and then with
the projections on all indices. Both are tested on one random input; the region is checked on another one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from math import prod

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Carried = tuple[int, int]
"""(axis of the source, axis of the result), of equal size."""

Linear = Callable[[Array], Array]


def carried_axes(linear: Linear, source: Sequence[int], result: Sequence[int]) -> tuple[Carried, ...]:
    """Pairs of axes that a linear map of tensors carries through.

    Args:
        linear: the map, from an array of shape `source` to one of shape `result`.
        source, result: shapes.
    """
    found: list[Carried] = []
    for a, size in enumerate(source):
        for b, other in enumerate(result):
            if size < 2 or size != other or any(b == taken for _, taken in found):
                continue
            if carries(linear, source, a, b):
                found.append((a, b))
                break
    return tuple(found)


def carries(linear: Linear, source: Sequence[int], a: int, b: int) -> bool:
    """Whether a linear map from arrays of shape `source` carries axis a to axis b of its result, of equal
    size."""
    x = np.random.default_rng(1).standard_normal(source)
    y = linear(x)
    tolerance = 1e-9 * (1e-300 + float(np.abs(y).max()))
    middle = source[a] // 2
    shifted = linear(np.roll(x, 1, axis=a)) - np.roll(y, 1, axis=b)
    kept = linear(only_index(x, a, middle)) - only_index(y, b, middle)
    return max(float(np.abs(shifted).max()), float(np.abs(kept).max())) <= tolerance


def only_index(x: Array, axis: int, index: int) -> Array:
    """x where it stands at an index of an axis, 0 elsewhere."""
    keep = np.zeros(x.shape[axis])
    keep[index] = 1.0
    return x * keep.reshape([-1 if i == axis else 1 for i in range(x.ndim)])


def left_over(shape: Sequence[int], carried: Sequence[int]) -> int:
    """Number of elements over the axes that are not carried."""
    return prod(size for axis, size in enumerate(shape) if axis not in carried)


def small_matrix(
    linear: Linear, source: Sequence[int], result: Sequence[int], carried: Sequence[Carried]
) -> Array:
    """The matrix over the other axes, [rest of the result, rest of the source].

    Unit vectors are sent through together, each at an index of its own of the carried axes.
    """
    from_axes, to_axes = [a for a, _ in carried], [b for _, b in carried]
    rows, columns = left_over(result, to_axes), left_over(source, from_axes)
    sizes = [source[a] for a in from_axes]
    lanes = prod(sizes)
    matrix = np.empty((rows, columns))
    for start in range(0, columns, lanes):
        count = min(lanes, columns - start)
        x = np.zeros((lanes, columns))
        x[np.arange(count), start + np.arange(count)] = 1.0
        y = _to_lanes(linear(_from_lanes(x, source, from_axes)), to_axes)
        matrix[:, start : start + count] = y[:count].T
    return matrix


def _to_lanes(x: Array, axes: Sequence[int]) -> Array:
    """[lanes, rest] with the given axes in front, in the given order."""
    lanes = prod(x.shape[a] for a in axes)
    return np.moveaxis(x, list(axes), list(range(len(axes)))).reshape(lanes, -1)


def _from_lanes(lanes: Array, shape: Sequence[int], axes: Sequence[int]) -> Array:
    rest = [size for i, size in enumerate(shape) if i not in axes]
    moved = lanes.reshape([shape[a] for a in axes] + rest)
    return np.moveaxis(moved, list(range(len(axes))), list(axes))


def apply_term(matrix: Array, carried: Sequence[Carried], x: Array, result: Sequence[int]) -> Array:
    """The map of a term, as an array of shape `result`."""
    lanes = _to_lanes(x, [a for a, _ in carried]) @ matrix.T
    return _from_lanes(lanes, result, [b for _, b in carried])


def sparse_matrix(linear: Linear, source: Sequence[int], rows: int) -> Array:
    """The matrix [rows, size of the source] of a map that carries nothing, such as a pooling with a head.

    An axis along which a shift changes nothing is probed at index 0 only; of the others the indices that
    matter are found first.
    """
    x = np.random.default_rng(2).standard_normal(source)
    y = linear(x)
    tolerance = 1e-9 * (1e-300 + float(np.abs(y).max()))
    probed: list[list[int]] = []
    alike: list[int] = []
    for axis, size in enumerate(source):
        if size > 1 and np.abs(linear(np.roll(x, 1, axis=axis)) - y).max() <= tolerance:
            alike.append(axis)
            probed.append([0])
        else:
            probed.append([i for i in range(size) if size == 1 or linear(only_index(x, axis, i)).any()])
    matrix = np.zeros((rows, *source))
    for index in product(*probed):
        unit = np.zeros(source)
        unit[index] = 1.0
        where = tuple(slice(None) if a in alike else i for a, i in enumerate(index))
        column = linear(unit).reshape(rows, *[1] * len(alike))
        matrix[(slice(None), *where)] = column
    return matrix.reshape(rows, -1)
