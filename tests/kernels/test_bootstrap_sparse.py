"""Several values with few slots in one refresh."""

from __future__ import annotations

import numpy as np
import pytest
from bootstrap_party import Party, bits, make_party

from cipherformer.errors import CompileError
from cipherformer.kernels.bootstrap_sparse import prepare_sparse, refresh_sparse, reversed_bits
from cipherformer.kernels.count import CountAlgebra, Shadow
from cipherformer.targets.bootstrap import bootstrap_set

SMALL = bootstrap_set("insecure-n11")
SCALE, PERIOD = 2.0**40, 128


def run(b, values, level):
    return refresh_sparse(b, prepare_sparse(SMALL, PERIOD), values, level, SCALE)


@pytest.fixture(scope="module")
def party() -> Party:
    target = SMALL.target()
    counter = CountAlgebra(target.moduli, target.slots)
    run(counter, [Shadow(3, SCALE)] * 3, SMALL.output_level - 1)
    return make_party(SMALL, counter.ledger)


@pytest.mark.parametrize("count", [1, 2, 5, 16])
def test_every_value_comes_back(party, count):
    values = np.random.default_rng(count).uniform(-1, 1, (count, PERIOD))
    level = SMALL.output_level - (count > 2)
    fresh = run(party.algebra, [party.encrypt(v, 3, SCALE) for v in values], level)
    assert len(fresh) == count
    for value, y in zip(values, fresh, strict=True):
        assert (y.level, y.scale) == (level, pytest.approx(SCALE, rel=1e-12))
        mean, worst = bits(party.decrypt(y) - np.resize(value, party.algebra.slots))
        assert mean > SMALL.precision_bits - 2 and worst > SMALL.precision_bits_worst - 2


def test_one_raised_modulus_for_all():
    target = SMALL.target()
    counter = CountAlgebra(target.moduli, target.slots)
    run(counter, [Shadow(3, SCALE)] * 16, SMALL.output_level - 1)
    counts = {op.primitive: 0 for op in counter.ledger.counts}
    for op, n in counter.ledger.counts.items():
        counts[op.primitive] += n
    assert counts["raise"] == 1 and counts["ct-ct product"] == 24


def test_refusals():
    target = SMALL.target()
    counter = CountAlgebra(target.moduli, target.slots)
    with pytest.raises(CompileError, match="17 values"):
        run(counter, [Shadow(3, SCALE)] * 17, 10)
    with pytest.raises(CompileError, match="to level 16"):
        run(counter, [Shadow(3, SCALE)] * 3, SMALL.output_level)
    assert [reversed_bits(i, 4) for i in range(4)] == [0, 2, 1, 3]
