"""The factors of the map between slots and coefficients against its definition."""

from __future__ import annotations

import numpy as np
import pytest

from cipherformer.errors import ParameterError
from cipherformer.kernels import dft


def embedding(slots: int) -> np.ndarray:
    """z_j = sum_k w_k eta^(5^j k), eta = exp(2 pi i / 4 slots)."""
    powers = np.array([pow(5, j, 4 * slots) for j in range(slots)])
    return np.exp(2j * np.pi * (np.outer(powers, np.arange(slots)) % (4 * slots)) / (4 * slots))


def reversed_bits(slots: int) -> np.ndarray:
    bits = slots.bit_length() - 1
    return np.array([int(f"{i:0{bits}b}"[::-1], 2) for i in range(slots)])


def run(maps, x):
    for t in maps:
        x = dft.apply(dict(zip(t.rotations, t.diagonals, strict=True)), x)
    return x


@pytest.mark.parametrize("layers", [(2, 2, 2), (3, 2, 1), (1, 3), (4,), (3, 3, 2)])
def test_both_directions(layers):
    slots = 1 << sum(layers)
    rng = np.random.default_rng(1)
    z = rng.normal(size=slots) + 1j * rng.normal(size=slots)
    forward = dft.transforms(layers, inverse=False, slots=slots, name="f")
    backward = dft.transforms(layers, inverse=True, slots=slots, name="b")
    y = run(forward, z)
    assert np.allclose(y, embedding(slots) @ z[reversed_bits(slots)])
    assert np.allclose(run(backward, y), z)


def test_rotations_are_few_shared_and_never_negative():
    forward = dft.transforms((4, 3, 3), inverse=False, slots=1024, name="f")
    backward = dft.transforms((4, 3, 3), inverse=True, slots=1024, name="b")
    assert [t.rotations for t in forward] == [t.rotations for t in reversed(backward)]
    assert [len(t.rotations) for t in forward] == [31, 15, 8]
    assert [t.diagonals.shape[1] for t in forward] == [16, 128, 1024]
    assert all(0 <= r < 2 * t.diagonals.shape[1] for t in forward for r in t.rotations)


def test_layers_must_make_the_slots():
    with pytest.raises(ParameterError, match="layers"):
        dft.transforms((2, 2), inverse=True, slots=8, name="x")
