"""Work that runs ahead of who reads it, by a bounded number of items."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None = None


@contextmanager
def running_ahead(items: Iterator[T], count: int) -> Iterator[Iterator[T]]:
    """The same items, made in a thread that is at most `count` of them ahead and ends with the context.

    What the thread raises, the reader gets.
    """
    made: queue.Queue[T | _End] = queue.Queue(count)
    over = threading.Event()

    def put(item: T | _End) -> None:
        while not over.is_set():
            try:
                made.put(item, timeout=_POLL_S)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put(item)
                if over.is_set():
                    return
        except BaseException as error:
            put(_End(error))
        else:
            put(_End())

    def read() -> Iterator[T]:
        while not isinstance(item := made.get(), _End):
            yield item
        if item.error is not None:
            raise item.error

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        yield read()
    finally:
        over.set()
        worker.join()
