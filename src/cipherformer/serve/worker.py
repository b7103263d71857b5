"""One query at a time: a short queue in front of the engine, and the evaluations that are in memory."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator

from cipherformer.errors import CipherformerError, LimitError
from cipherformer.serve.interface import Evaluation, OnStep
from cipherformer.serve.manifest import KeyEntry, Manifest
from cipherformer.serve.store import KeyStore


class BusyError(LimitError):
    """Too many callers wait for the engine."""


class Worker:
    """Gives the engine to one caller at a time, in order, and keeps the last client's keys in memory.

    Args:
        make: builds an evaluation of the plan without keys.
        store: where the keys are read from.
        queue: most callers that may wait.
    """

    def __init__(self, make: Callable[[], Evaluation], store: KeyStore, queue: int = 4) -> None:
        self._make, self._store, self._queue = make, store, queue
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()
        self._client: str | None = None
        self._evaluation: Evaluation | None = None

    @contextlib.contextmanager
    def turn(self, on_wait: Callable[[int], None] | None = None) -> Iterator[None]:
        """Waits for the engine and holds it for the length of the block.

        Args:
            on_wait: called with the place in the queue about ten times a second while waiting; may raise.

        Raises:
            BusyError: if too many wait already.
        """
        ticket = object()
        with self._changed:
            if len(self._waiting) > self._queue:
                raise BusyError(
                    "the server is busy",
                    why=f"one query is computed at a time and {self._queue} wait already",
                    fix="try again later, or start another server",
                )
            self._waiting.append(ticket)
        try:
            while True:
                with self._changed:
                    place = self._waiting.index(ticket)
                    if place == 0 or self._changed.wait_for(lambda: self._waiting[0] is ticket, timeout=0.1):
                        break
                if on_wait is not None:
                    on_wait(place)
            yield
        finally:
            with self._changed:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def try_key(self, manifest: Manifest, entry: KeyEntry) -> None:
        """Hands one stored key to the engine, so that a bad one is refused now. Call it inside a turn.

        The keys of another client that are in memory stay there.

        Raises:
            CipherformerError, ValueError: whatever the engine has against the key.
        """
        if self._evaluation is None:
            self._client, self._evaluation = manifest.client, self._make()
        evaluation = self._resident(manifest.client) or self._make()
        self._add(evaluation, manifest, entry)

    def evaluation(self, manifest: Manifest, on_step: OnStep | None = None) -> Evaluation:
        """The evaluation with this client's keys, as far as they are on disk. Call it inside a turn.

        A key that is damaged on disk, or that the engine refuses, is removed and stays missing.
        """
        evaluation = self._resident(manifest.client)
        if evaluation is None:
            self._client, self._evaluation = None, None  # free the old keys before the new ones come
            evaluation = self._make()
        entries = manifest.by_name()
        wanted = [entries[name] for name in evaluation.missing_keys() if name in entries]
        stored = [entry for entry in wanted if self._store.has(manifest.client, entry)]
        for done, entry in enumerate(stored):
            if on_step is not None:
                on_step(done, len(stored))
            try:
                self._add(evaluation, manifest, entry)
            except (CipherformerError, ValueError):
                self._store.discard(manifest.client, entry)
        self._client, self._evaluation = manifest.client, evaluation
        return evaluation

    def _add(self, evaluation: Evaluation, manifest: Manifest, entry: KeyEntry) -> None:
        def read() -> bytes:
            return self._store.read(manifest.client, entry)

        evaluation.add_key(entry.name, read(), read)

    def _resident(self, client: str) -> Evaluation | None:
        return self._evaluation if self._client == client else None
