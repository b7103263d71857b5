"""Integer products and packed bits against numpy, on every path."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cipherformer import _native as native

few = settings(max_examples=60, deadline=None, derandomize=True)


def words(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, size=shape, dtype=np.uint64)


@few
@given(m=st.integers(1, 40), k=st.integers(1, 40), n=st.integers(1, 40), seed=st.integers(0, 1000))
def test_products_are_those_of_numpy(m: int, k: int, n: int, seed: int):
    a, b = words(seed, m, k), words(seed + 1, k, n)
    for path in native.cpu_kernels():
        assert np.array_equal(native.ring_matmul(a, b, path), a @ b)


@pytest.mark.parametrize("m, k, n", [(97, 193, 9), (300, 400, 17), (1, 1000, 8), (200, 3, 1)])
def test_products_beyond_a_block(m: int, k: int, n: int):
    a, b = words(1, m, k), words(2, k, n)
    for path in native.cpu_kernels():
        assert np.array_equal(native.ring_matmul(a, b, path), a @ b)


def test_operands_may_have_any_stride():
    a, b = words(1, 6, 10), words(2, 9, 10)
    assert np.array_equal(native.ring_matmul(a[::2, ::2], b.T[::2]), a[::2, ::2] @ b.T[::2])
    with pytest.raises(ValueError, match="negative stride"):
        native.ring_matmul(a[::-1], b.T)
    with pytest.raises(ValueError, match="do not multiply"):
        native.ring_matmul(a, b)


@few
@given(width=st.integers(1, 64), count=st.integers(0, 70), seed=st.integers(0, 1000))
def test_packed_bits_come_back(width: int, count: int, seed: int):
    values = words(seed, count)
    packed = native.pack_bits(values, width)
    kept = values & np.uint64((1 << width) - 1)
    assert np.array_equal(native.unpack_bits(packed, count, width), kept)
    assert packed == sum(int(v) << (i * width) for i, v in enumerate(kept)).to_bytes(len(packed), "little")


def test_packed_bits_of_a_wrong_length_are_refused():
    for count, width in ((3, 8), (1, 8), (2, 9), (1 << 50, 8), (2, 0), (2, 65)):
        with pytest.raises(ValueError):
            native.unpack_bits(b"ab", count, width)
