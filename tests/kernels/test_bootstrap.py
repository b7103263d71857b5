"""Refreshing on ciphertexts of a small ring: precision, levels, scales, keys, pairs."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from bootstrap_party import Party, bits, make_party

from cipherformer import _native as native
from cipherformer.approx.modulo import overflow_log2
from cipherformer.backends.ckks.algebra import CkksAlgebra
from cipherformer.backends.ckks.engine import make_context
from cipherformer.backends.ckks_sim import SimAlgebra
from cipherformer.errors import CompileError, ParameterError
from cipherformer.kernels import bootstrap
from cipherformer.kernels.count import CountAlgebra, Ledger, Shadow, refresh_ledger
from cipherformer.targets.bootstrap import SETS, SPARSE, bootstrap_set, choose_bootstrap

SMALL = bootstrap_set("insecure-n11")
SPARSE_SMALL = replace(SPARSE, name="insecure-sparse", log_n=11)
SCALE = 2.0**40


@pytest.fixture(scope="module")
def party() -> Party:
    return make_party(SMALL, refresh_ledger(SMALL))


@pytest.fixture
def x(party) -> np.ndarray:
    return np.random.default_rng(2).uniform(-1, 1, party.algebra.slots)


def test_complex_slots(party, x):
    z = x + 1j * np.roll(x, 1)
    boot = bootstrap.prepare(SMALL)
    start = party.encrypt(z, SMALL.input_level, SCALE)
    y = bootstrap.refresh_complex(party.algebra, boot, start, SMALL.output_level, SCALE)
    assert (y.level, y.size) == (SMALL.output_level, 2)
    assert y.scale == pytest.approx(SCALE, rel=1e-12)
    mean, worst = bits(party.decrypt(y) - z)
    assert mean >= SMALL.precision_bits and worst >= SMALL.precision_bits_worst


def test_one_real_value(party, x):
    (y,) = party.algebra.refresh([party.encrypt(x, 5, SCALE)], SMALL.output_level, SCALE)
    mean, worst = bits(party.decrypt(y) - x)
    assert y.level == SMALL.output_level
    assert mean >= SMALL.precision_bits and worst >= SMALL.precision_bits_worst


@pytest.mark.parametrize("scales", [(SCALE, SCALE), (1.5 * SCALE, 0.7 * SCALE)])
def test_a_pair_of_real_values_of_any_scales(party, x, scales):
    pair = (x, np.cos(3 * x))
    given = [party.encrypt(v, SMALL.input_level, s) for v, s in zip(pair, scales, strict=True)]
    fresh = party.algebra.refresh(given, SMALL.output_level, 2.0**41)
    for value, y in zip(pair, fresh, strict=True):
        mean, worst = bits(party.decrypt(y) - value)
        assert mean >= SMALL.precision_bits and worst >= SMALL.precision_bits_worst
        assert y.scale == pytest.approx(2.0**41, rel=1e-12)


def test_the_result_computes_and_refreshes_again(party, x):
    b = party.algebra
    (y,) = b.refresh([party.encrypt(x, 3, SCALE)], SMALL.output_level, SCALE)
    y = b.rescale(b.multiply(y, y))
    (y,) = b.refresh([y], SMALL.output_level, SCALE)
    assert bits(party.decrypt(y) - x**2)[0] >= SMALL.precision_bits - 1


def test_twice_is_more_precise(party, x):
    boot = bootstrap.prepare(SMALL)
    y = bootstrap.refresh_twice(party.algebra, boot, party.encrypt(x, 3, SCALE), SMALL.output_level)
    assert (y.level, y.scale) == (SMALL.output_level, SCALE)
    mean, worst = bits(party.decrypt(y) - x)
    assert mean >= SMALL.precision_bits + 7 and worst >= SMALL.precision_bits_worst + 7


def test_halves_side_by_side_give_the_same_bits_counts_and_times(party, x):
    boot, ledger, target = bootstrap.prepare(SMALL), refresh_ledger(SMALL), SMALL.target()
    keys = [
        party.secret.relinearisation_key(ledger.relinearise),
        party.secret.conjugation_key(ledger.conjugate),
    ]
    start = party.encrypt(x, ledger.conjugate, boot.eval_scale / boot.cosine.half / 2)
    found = []
    for threads in (1, 2):
        context = make_context(target, threads=threads)
        held = native.KeySet(context)
        for key in keys:
            held.add(key)
        evaluator = native.Evaluator(context, held)
        algebra = CkksAlgebra(target.moduli, target.slots, evaluator, party.algebra.encoded)
        began = time.perf_counter()
        halves = bootstrap.remove_multiples(algebra, boot, start, SCALE, imaginary=True)
        spent = time.perf_counter() - began
        assert 0 < sum(record.seconds for record in algebra.trace.records) <= spent
        calls = {record.primitive: record.calls for record in algebra.trace.records}
        found.append(([half.to_bytes() for half in halves], algebra.ledger, calls))
    assert found[0] == found[1]


def test_only_the_named_keys_are_used(party):
    ledger = refresh_ledger(SMALL)
    assert (ledger.raised, ledger.conjugate, ledger.relinearise) == (28, 25, 25)
    assert len(party.keys) == len(ledger.rotations) + 4
    for steps in sorted(ledger.rotations)[::9]:
        party.keys.remove("rotate", steps)
        with pytest.raises(ValueError, match=f"missing key: rotate by {steps}"):
            party.algebra.refresh([party.encrypt(np.zeros(4), 3, SCALE)], SMALL.output_level, SCALE)
        party.keys.add(party.secret.rotation_key(steps, ledger.rotations[steps]))


def test_the_counter_sees_one_refresh_and_its_keys():
    algebra = CountAlgebra(SMALL.target().moduli, SMALL.target().slots, bootstrap=SMALL)
    (y,) = algebra.refresh([Shadow(4, SCALE)], SMALL.output_level, SCALE)
    assert (y.level, y.scale) == (SMALL.output_level, SCALE)
    assert [op.primitive for op in algebra.ledger.counts] == ["bootstrap"]
    assert algebra.ledger.rotations == refresh_ledger(SMALL).rotations


def test_a_pair_costs_one_evalmod_more():
    boot = bootstrap.prepare(SMALL)
    products = []
    for count in (1, 2):
        algebra = CountAlgebra(SMALL.target().moduli, SMALL.target().slots, Ledger())
        bootstrap.refresh(algebra, boot, [Shadow(3, SCALE)] * count, SMALL.output_level, SCALE)
        products.append(sum(n for op, n in algebra.ledger.counts.items() if op.primitive == "ct-ct product"))
    assert products == [12, 24]


def test_refusals(party):
    boot = bootstrap.prepare(SMALL)
    algebra = CountAlgebra(SMALL.target().moduli, SMALL.target().slots)
    with pytest.raises(CompileError, match="3 values"):
        bootstrap.refresh(algebra, boot, [Shadow(3, SCALE)] * 3, 16, SCALE)
    with pytest.raises(CompileError, match="from level 2"):
        bootstrap.refresh(algebra, boot, [Shadow(2, SCALE)], 16, SCALE)
    with pytest.raises(CompileError, match="to level 17"):
        bootstrap.refresh(algebra, boot, [Shadow(3, SCALE)], 17, SCALE)


@pytest.mark.parametrize("name", SETS)
def test_the_stated_failure_probability(name):
    s = SETS[name]
    assert overflow_log2(s.multiples, s.ephemeral_weight, 1 << s.log_n) <= s.failure_probability_log2


@pytest.mark.parametrize("name", SETS)
def test_security_and_shape(name):
    s, target = SETS[name], SETS[name].target()
    assert s.insecure or target.security_bits >= 128
    assert len(target.moduli) == 1 + s.output_level + len(s.evalmod_bits) + len(s.cts_bits)
    assert bootstrap.prepare(s).cosine.levels + bootstrap.prepare(s).second_primes - 1 == len(s.evalmod_bits)


@pytest.mark.parametrize(
    ("levels", "precision", "slots", "name"),
    [(9, 18.0, 1 << 15, "n16-dense"), (13, 12.0, 1 << 10, "n16-dense")],
)
def test_the_chooser_takes_the_cheapest_level(levels, precision, slots, name):
    chosen = choose_bootstrap(levels, precision, slots)
    assert chosen.levels_left >= levels and chosen.precision_bits >= precision
    assert chosen.seconds[1] / chosen.levels_left == min(
        s.seconds[1] / s.levels_left for s in SETS.values() if not s.insecure and s.levels_left >= levels
    )
    assert chosen.name == name


@pytest.mark.parametrize("wish", [(14, 15.0, 1 << 15), (9, 30.0, 1 << 15), (9, 15.0, 1 << 16)])
def test_the_chooser_says_what_there_is(wish):
    with pytest.raises(ParameterError, match="no bootstrapping set"):
        choose_bootstrap(*wish)


@pytest.mark.parametrize("settings", [SMALL, SPARSE_SMALL], ids=lambda s: s.name)
def test_the_simulator_has_the_real_noise(settings):
    """The kernel on simulated slots: the same levels, and an error within a bit of the real one's."""
    target, boot = settings.target(), bootstrap.prepare(settings)
    sim = SimAlgebra(target, np.random.default_rng(4))
    real = make_party(settings, refresh_ledger(settings))
    z = np.random.default_rng(5).uniform(-1, 1, (2, target.slots))
    z = z[0] + 1j * z[1]
    simulated = bootstrap.refresh_complex(sim, boot, sim.encrypt(z, 3, SCALE), settings.output_level, SCALE)
    found = bootstrap.refresh_complex(
        real.algebra, boot, real.encrypt(z, 3, SCALE), settings.output_level, SCALE
    )
    assert simulated.shadow.level == found.level == settings.output_level
    assert bits(simulated.slots - z)[0] == pytest.approx(bits(real.decrypt(found) - z)[0], abs=1.0)
