"""Arrays of integers modulo 2^64, and their packed form. Values modulo 2^n keep their meaning in the lowest
n bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer import _native as native
from cipherformer.backends.integers import normal
from cipherformer.ops import OPS
from cipherformer.ops.linear import padded, windows
from cipherformer.ops.spec import integer, integers

U64 = np.uint64
Ring = NDArray[np.uint64]
Attrs = Mapping[str, Any]
WORD = 64


def lowest(value: Ring, width: int) -> Ring:
    """value mod 2^width."""
    return value if width >= WORD else value & U64((1 << width) - 1)


def signed(value: Ring, width: int) -> NDArray[np.int64]:
    """The representative in [-2^(width-1), 2^(width-1))."""
    shift = WORD - width
    return np.asarray(np.left_shift(value, U64(shift)).view(np.int64) >> shift)


def encoded(value: NDArray[Any]) -> Ring:
    """Exact integers in any carrier, modulo 2^64."""
    if value.dtype == object:
        return np.asarray(np.vectorize(lambda v: v & (2**WORD - 1), otypes=[U64])(value))
    return normal(value, 1 << 62).astype(np.int64).astype(U64)


def packed(value: Ring, width: int) -> bytes:
    """The lowest bits without gaps."""
    return native.pack_bits(np.ascontiguousarray(value).reshape(-1), width)


def packed_bytes(count: int, width: int) -> int:
    """Length of the packed form."""
    return (count * width + 7) // 8


def unpacked(data: bytes | memoryview, shape: tuple[int, ...], width: int) -> Ring:
    """The array that `packed` wrote."""
    return native.unpack_bits(data, int(np.prod(shape, dtype=np.int64)), width).reshape(shape)


def completed(shares: NDArray[np.uint8], value: Ring, width: int, *, xor: bool) -> NDArray[np.uint8]:
    """Packed shares become, in place, those that make value of them: by addition, or exclusive or."""
    native.complete_bits(shares, np.ascontiguousarray(value).reshape(-1), width, xor)
    return shares


def keep_memory() -> None:
    """For a process that is a role: freed arrays' memory serves the next ones."""
    native.keep_memory()


def product(op: str, attrs: Attrs, a: Ring, b: Ring) -> Ring:
    """`mul`, `matmul`, `linear` or `conv2d` (without bias) modulo 2^64."""
    match op:
        case "mul":
            return np.asarray(a * b)
        case "linear":
            return native.ring_matmul(a.reshape(-1, a.shape[-1]), b.T).reshape(*a.shape[:-1], len(b))
        case "conv2d":
            return _convolution(attrs, a, b)
        case _:
            return _stacked(a, b)


def _stacked(a: Ring, b: Ring) -> Ring:
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    left = np.broadcast_to(a, (*lead, *a.shape[-2:])).reshape(-1, *a.shape[-2:])
    right = np.broadcast_to(b, (*lead, *b.shape[-2:])).reshape(-1, *b.shape[-2:])
    out = [native.ring_matmul(x, y) for x, y in zip(left, right, strict=True)]
    return np.stack(out).reshape(*lead, a.shape[-2], b.shape[-1])


def _convolution(attrs: Attrs, x: Ring, weight: Ring) -> Ring:
    groups = integer(attrs, "groups")
    around = padded(x, integers(attrs, "padding"))
    view = windows(around, weight.shape[2:], integers(attrs, "stride"), integers(attrs, "dilation"))
    batch, _, height, width = view.shape[:4]
    columns = view.transpose(0, 2, 3, 1, 4, 5).reshape(batch * height * width, groups, -1)
    kernels = weight.reshape(groups, len(weight) // groups, -1)
    parts = [native.ring_matmul(np.ascontiguousarray(columns[:, g]), kernels[g].T) for g in range(groups)]
    out = np.concatenate(parts, axis=1).reshape(batch, height, width, len(weight))
    return np.ascontiguousarray(out.transpose(0, 3, 1, 2))


def linear_map(op: str, attrs: Attrs, operands: list[Ring]) -> Ring:
    """Sums and moves, on residues; `lift` multiplies by 2^bits."""
    match op:
        case "add":
            return np.asarray(operands[0] + operands[1])
        case "sub":
            return np.asarray(operands[0] - operands[1])
        case "neg":
            return np.asarray(U64(0) - operands[0])
        case "sum":
            total = operands[0].sum(axis=integers(attrs, "dims"), keepdims=bool(attrs["keepdim"]), dtype=U64)
            return np.asarray(total)
        case "lift":
            return np.asarray(np.left_shift(operands[0], U64(integer(attrs, "bits"))))
        case _:
            return np.asarray(OPS[op].reference(operands, attrs))
