"""Predicted seconds: prices by ring, and what operations and refreshes consist of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cipherformer.kernels.count import Ledger, Operation
from cipherformer.plan.estimate import refresh_seconds, seconds_of
from cipherformer.targets.bootstrap import bootstrap_set
from cipherformer.targets.prices import PriceTable, RingPrices, Work, work_of

TABLE = PriceTable({14: RingPrices(8.0, 4.0, 2.0, 1.0, 0.25, 0.5, 0.6)}, machine="", date="")


def test_a_measured_ring_has_its_own_prices():
    assert TABLE.seconds(Work(1, 1, 1, 1, 1), 14) == 8.0 + 4.0 + 2.0 + 1.0 + 0.25 + 0.5
    assert TABLE.seconds(Work(2), 14, threads=2) == pytest.approx(16.5 * 0.6)


def test_another_ring_is_scaled_from_the_nearest():
    larger = TABLE.ring(16)
    assert larger.transform == 8.0 * 4 * 16 / 14
    assert (larger.product, larger.addition, larger.call) == (16.0, 4.0, 0.5)


def test_the_package_has_every_ring_that_plans_use():
    assert set(PriceTable.default().rings) == {13, 14, 15, 16}
    for prices in PriceTable.default().rings.values():
        assert prices.transform > 0 and 0.3 < prices.two_threads <= 1.1


def test_an_addition_touches_both_polynomials():
    assert work_of(Operation("", "add", 4), special=2, digit=2, log_n=14) == Work(additions=10)


def test_diagonals_of_a_short_period_are_read_from_caches():
    short, full = (
        work_of(Operation("", "ct-pt product", 4, diagonals=2, period=p), special=2, digit=2, log_n=14)
        for p in (64, 8192)
    )
    assert short.products == full.products and full.reads == 10 and short.reads == full.reads * 64 / 8192


def spent(*operations: Operation) -> float:
    ledger = Ledger()
    for operation in operations:
        ledger.counts[operation] += 1
    target = bootstrap_set("insecure-n11").target()
    return sum(seconds_of(ledger, target, TABLE, 1).values())


def test_a_rescaling_after_a_product_is_part_of_its_key_switch():
    product, rescale = Operation("s", "ct-ct product", 5), Operation("s", "rescale", 5)
    assert spent(product, rescale) == spent(product)
    assert spent(product, replace(rescale, level=4)) > spent(product)
    matrix = Operation("s", "ct-pt matrix", 5, diagonals=4, babies=3, giants=1, period=8)
    other = replace(matrix, giants=2)
    assert spent(matrix, rescale) == spent(matrix)
    assert spent(matrix, other, rescale) > spent(matrix, other)


def test_a_second_value_in_a_call_costs_less_than_a_second_call():
    bootstrap = bootstrap_set("insecure-n11")
    one, two = (refresh_seconds(bootstrap, values, TABLE, 1) for values in (1, 2))
    assert one < two < 2 * one
