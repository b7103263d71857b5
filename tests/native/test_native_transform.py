"""Matrix-vector products by diagonals."""

from __future__ import annotations

import numpy as np
import pytest
from native_party import SCALE, Party

BOUND = 2.0**-24


def by_diagonals(rotations: list[int], diagonals: np.ndarray, x: np.ndarray) -> np.ndarray:
    tiled = np.tile(diagonals, len(x) // diagonals.shape[1])
    return sum(row * np.roll(x, -steps) for steps, row in zip(rotations, tiled, strict=True))


@pytest.mark.parametrize("period", [1, 4, 64, 2048])
@pytest.mark.parametrize(
    ("rotations", "baby_step"),
    [
        (list(range(12)), 4),
        ([0, 1, 2, 3], 4),
        ([1, 2, 3], 4),
        ([4, 8, 16], 4),
        ([0], 1),
        ([5], 4),
        ([8, 11, -1, 0], 4),
        ([0, 1, 2, 3, 4, 5], 1),
        ([0, 3, 5, 8], 16),
    ],
)
def test_transform_equals_numpy(party: Party, rotations: list[int], baby_step: int, period: int) -> None:
    diagonals = party.complex(len(rotations) * period).reshape(len(rotations), period)
    transform = party.context.linear_transform(rotations, diagonals, 4, SCALE, baby_step)
    babies, giants = transform.rotations_needed
    for steps in {*babies, *giants} - {0}:
        if not party.keys.has_rotation(steps, 4):
            party.keys.add(party.secret.rotation_key(steps, 5))
    x = party.complex()
    a = party.encrypt(x)
    expected = by_diagonals(rotations, diagonals, x)
    result = party.evaluator.apply(transform, a)
    assert (result.level, result.scale) == (4, SCALE**2)
    assert party.error(result, expected) < BOUND
    rescaled = party.evaluator.apply(transform, a, rescale=True)
    assert (rescaled.level, rescaled.scale) == (3, SCALE**2 / party.context.params.moduli[4])
    assert party.error(rescaled, expected) < BOUND
    low = party.evaluator.apply(transform, party.evaluator.drop_level(a, 2))
    assert low.level == 2 and party.error(low, expected) < BOUND


def test_a_dense_matrix(party: Party) -> None:
    """y = M x for a 16 x 16 matrix on a tiled vector."""
    matrix = party.real(256).reshape(16, 16)
    x = party.real(16)
    rows = np.arange(16)
    diagonals = np.stack([matrix[rows, (rows + d) % 16] for d in range(16)])
    transform = party.context.linear_transform(list(range(16)), diagonals, 5, SCALE, 4)
    assert transform.rotations_needed == ([0, 1, 2, 3], [0, 4, 8, 12])
    for steps in (1, 2, 3, 4, 8, 12):
        party.keys.add(party.secret.rotation_key(steps, 5))
    y = party.decrypt(party.evaluator.apply(transform, party.encrypt(x)))
    assert np.abs(y - np.tile(matrix @ x, party.slots // 16)).max() < BOUND


def test_periodic_diagonals_give_the_bits_of_full_ones(party: Party) -> None:
    rotations = [0, 1, 4, 5]
    short = party.real(4 * 32).reshape(4, 32)
    a = party.encrypt(party.complex())
    results = []
    for diagonals in (short, np.tile(short, party.slots // 32)):
        transform = party.context.linear_transform(rotations, diagonals, 5, SCALE, 4)
        results.append((party.evaluator.apply(transform, a).to_bytes(), transform.memory_bytes))
    assert results[0][0] == results[1][0]
    assert results[0][1] * (party.slots // 32) == results[1][1]


@pytest.mark.parametrize("period", [1, 4, 64, 2048])
@pytest.mark.parametrize("size", [1e-4, 1.0, 1e5])
def test_compact_diagonals_give_the_bits_of_residues(party: Party, period: int, size: float) -> None:
    """Below 2^31, below 2^51, and beyond: 4, 8 and 8 bytes a coefficient."""
    rotations = [0, 1, 2, 4, 5, 9, 11]
    diagonals = size * party.complex(len(rotations) * period).reshape(len(rotations), period)
    a = party.encrypt(party.complex())
    for steps in (1, 2, 3, 4, 8):
        party.keys.add(party.secret.rotation_key(steps, 5))
    for level in (5, 3):
        args = rotations, diagonals, level, SCALE, 4
        wide, compact = (party.context.linear_transform(*args, compact=c) for c in (False, True))
        x = party.evaluator.drop_level(a, 2)
        for rescale in (False, True):
            assert bytes(party.evaluator.apply(wide, a, rescale).to_bytes()) == bytes(
                party.evaluator.apply(compact, a, rescale).to_bytes()
            )
        assert party.evaluator.apply(wide, x).to_bytes() == party.evaluator.apply(compact, x).to_bytes()
        assert compact.memory_bytes == len(rotations) * max(2 * period * (4 if size < 1e-3 else 8), 8)


@pytest.mark.parametrize("period", [1, 16, 2048])
def test_compact_vectors_give_the_bits_of_residues(party: Party, period: int) -> None:
    values, a = party.complex(period), party.encrypt(party.complex())
    wide, compact = (party.context.encode(values, 4, SCALE, compact=c) for c in (False, True))
    assert compact.memory_bytes < wide.memory_bytes and compact.period == period
    assert (party.context.decode(wide) == party.context.decode(compact)).all()
    for operation in (party.evaluator.add_plain, party.evaluator.sub_plain, party.evaluator.mul_plain):
        assert operation(a, wide).to_bytes() == operation(a, compact).to_bytes()
    assert party.error(party.secret.encrypt(compact), np.tile(values, party.slots // period)) < BOUND


def test_refusals(party: Party, toy: Party) -> None:
    def make(rotations: list[int], diagonals: np.ndarray, level: int = 5, baby_step: int = 2):
        return party.context.linear_transform(rotations, diagonals, level, SCALE, baby_step)

    for rotations, diagonals, kwargs, message in (
        ([], np.zeros((0, 4)), {}, "no diagonals"),
        ([1, 2], np.zeros((1, 4)), {}, "1 diagonals for 2 rotations"),
        ([1, 1], np.zeros((2, 4)), {}, "appears twice"),
        ([1, 2049], np.zeros((2, 4)), {}, "appears twice"),
        ([1], np.zeros((1, 3)), {}, "power of two"),
        ([1], np.full((1, 4), np.nan), {}, "NaN"),
        ([1], np.zeros((1, 4)), {"baby_step": 0}, "baby_step is 0"),
        ([1], np.zeros((1, 4)), {"level": 9}, "level 9"),
    ):
        with pytest.raises(ValueError, match=message):
            make(rotations, diagonals, **kwargs)
    a = party.encrypt(party.real())
    with pytest.raises(ValueError, match="missing key: rotate by 700"):
        party.evaluator.apply(make([700], np.ones((1, 1))), a)
    with pytest.raises(ValueError, match="digests differ"):
        toy.evaluator.apply(make([0], np.ones((1, 1))), toy.encrypt(toy.real()))
    with pytest.raises(ValueError, match="reaches the modulus"):
        party.evaluator.apply(make([0], np.ones((1, 1)), 0), a)
