"""Work that runs ahead: in order, bounded, ended with its reader, with its errors."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from cipherformer.serve.two_party.ahead import running_ahead


def counting(made: list[int], last: int, *, fails: bool = False) -> Iterator[int]:
    for i in range(last):
        made.append(i)
        yield i
    if fails:
        raise ValueError("no more")


def test_items_come_in_order():
    with running_ahead(counting([], 50), 3) as items:
        assert list(items) == list(range(50))


def test_no_more_is_made_than_allowed():
    made: list[int] = []
    before = threading.active_count()
    with running_ahead(counting(made, 50), 3) as items:
        assert next(items) == 0
        deadline = time.monotonic() + 10.0
        while len(made) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        assert made == [0, 1, 2, 3, 4]  # one read, three waiting, one in hand
    assert threading.active_count() == before and len(made) <= 6


def test_errors_reach_the_reader():
    with running_ahead(counting([], 2, fails=True), 3) as items:
        assert [next(items), next(items)] == [0, 1]
        with pytest.raises(ValueError, match="no more"):
            next(items)
