"""Integer products, packed bits and waves against numpy, on every path."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cipherformer import _native as native
from cipherformer.approx.fourier import IntegerWaves, Waves, integer_cosines

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


@few
@given(
    width=st.integers(1, 64), count=st.integers(0, 600), exclusive=st.booleans(), seed=st.integers(0, 1000)
)
def test_shares_are_completed_in_place(width: int, count: int, exclusive: bool, seed: int):
    values, share = words(seed, count), words(seed + 1, count)
    packed = np.frombuffer(native.pack_bits(share, width), np.uint8).copy()
    native.complete_bits(packed, values, width, exclusive)
    assert packed.tobytes() == native.pack_bits(values ^ share if exclusive else values - share, width)
    with pytest.raises(ValueError, match="shares of"):
        native.complete_bits(np.append(packed, np.uint8(0)), values, width, exclusive)


def test_memory_that_is_kept_can_be_used_again():
    code = """
import numpy, cipherformer._native as native
native.keep_memory()
print(sum(numpy.ones(1 << 20).sum() for _ in range(3)))
"""
    assert subprocess.check_output([sys.executable, "-c", code]) == b"3145728.0\n"


@few
@given(
    n=st.integers(1, 600), waves=st.integers(1, 9), log_size=st.integers(3, 14), width=st.integers(1, 64),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_waves_are_those_of_numpy(n: int, waves: int, log_size: int, width: int, seed: int):
    rng = np.random.default_rng(seed)
    cosines, sines = (tuple(rng.uniform(-20, 20, size=waves)) for _ in range(2))
    function = IntegerWaves(Waves(log_size - 2, 0.5, cosines, sines, 0.0), 2)
    table, values, secrets = integer_cosines(log_size), words(seed, n), words(seed + 1, 2 * waves, n)
    for path in native.cpu_kernels():
        share = np.frombuffer(native.pack_bits(secrets.reshape(-1), width), np.uint8).copy()
        native.complete_waves(share, width, values, function.coefficients, table, path)
        rest = function.secrets(values).view(np.uint64) - secrets
        assert share.tobytes() == native.pack_bits(rest.reshape(-1), width)
        packed = native.pack_bits(secrets.reshape(-1), width)
        found = native.weighted_waves(values, packed, width, table, path)
        assert np.array_equal(found, function.weighted(values, secrets & np.uint64((1 << width) - 1)))


def test_waves_of_wrong_shapes_are_refused():
    table, values, pairs = integer_cosines(4), words(1, 5), np.ones((2, 2), np.int64)
    for size, width, bad_table in ((4 * 4, 64, table), (3 * 5, 64, table), (4 * 5, 64, table[:9])):
        with pytest.raises(ValueError):
            native.weighted_waves(values, bytes(8 * size), width, bad_table)
    with pytest.raises(ValueError, match="0 bits"):
        native.weighted_waves(values, bytes(8), 0, table)
    for bad_pairs, bad_table in ((pairs[:, :1].copy(), table), (pairs << 31, table), (pairs, table[:3])):
        with pytest.raises(ValueError):
            native.complete_waves(np.zeros(160, np.uint8), 64, values, bad_pairs, bad_table)
    with pytest.raises(ValueError, match="shares of 9 bits"):
        native.complete_waves(np.zeros(160, np.uint8), 9, values, pairs, table)
