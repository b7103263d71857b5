"""The client: connects, hands over evaluation keys, and asks. The secret key stays in its `Cipher`."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cipherformer import __version__
from cipherformer.errors import KeyMismatchError, ProtocolError
from cipherformer.serve import messages as m
from cipherformer.serve.address import Address, UnreachableError, connect
from cipherformer.serve.channel import Assembly, Channel, RefusedError, chunks, digest
from cipherformer.serve.interface import Cipher, Input, PlanFacts
from cipherformer.serve.keys import KeyFolder
from cipherformer.serve.wire import ClosedError, FrameError, SilenceError

M = TypeVar("M")
STOOD_S = 0.5
"""A connection that lasted so long was one: if it drops too, the search begins anew."""
OnProgress = Callable[[str, int, int, str], None]
"""Called with (phase, done, total, layer): `uploading keys` in bytes, then what the server says it does, in
steps of the plan, and the model's layer that it has reached; `reconnecting` in attempts."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One decrypted answer and what it cost.

    Args:
        output: the decrypted result.
        seconds: from encryption to decryption, as the client sees it.
        seconds_encrypt: of that, encrypting.
        seconds_server: of that, computing on the server.
        seconds_decrypt: of that, decrypting.
        bytes_up: all bytes sent for this query.
        bytes_down: all bytes received.
        trace: the server's records {layer, node, primitive, calls, seconds}.
        peak_memory_server_bytes: largest resident size of the server so far, as it says.
    """

    output: NDArray[np.float64]
    seconds: float
    seconds_encrypt: float
    seconds_server: float
    seconds_decrypt: float
    bytes_up: int
    bytes_down: int
    trace: list[dict[str, Any]]
    peak_memory_server_bytes: int


class Client:
    """A connection to a server; use it as a context manager.

    Args:
        address: of the server.
        facts: of the plan, from its signature.
        keys: the folder with the evaluation keys.
        cipher: encrypts and decrypts with the secret key.
        on_progress: called while keys are sent and while the server computes.
        silence_s: seconds without a sign of life after which the server counts as dead.
        reconnect_s: seconds for which a connection that drops while a query is computed is sought again; the
            query goes on meanwhile, or begins anew on a server that was started again.

    Raises:
        KeyMismatchError: if the keys were made for other parameters.
        ProtocolError: if the server cannot be reached or refuses this client.
    """

    def __init__(
        self,
        address: Address,
        facts: PlanFacts,
        keys: KeyFolder,
        cipher: Cipher,
        *,
        on_progress: OnProgress = lambda phase, done, total, layer: None,
        silence_s: float = 10.0,
        reconnect_s: float = 0.0,
    ) -> None:
        if keys.manifest.parameters != facts.parameters:
            raise KeyMismatchError(
                "the keys belong to another parameter set than the plan",
                where=str(keys.folder),
                fix="make keys for this plan with `cipherformer keygen`",
            )
        self._facts, self._keys, self._cipher, self._on_progress = facts, keys, cipher, on_progress
        self._address, self._silence_s, self._reconnect_s = address, silence_s, reconnect_s
        self._number = 0
        self.key_bytes_sent = 0
        with self._explained():
            self._channel = self._connected()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Says goodbye and closes the connection."""
        with contextlib.suppress(ProtocolError):
            self._channel.send(m.Bye())
        self._channel.close()

    def ping(self) -> float:
        """Round trip to the server in seconds.

        Raises:
            ProtocolError: if the server is gone.
        """
        start = time.perf_counter()
        with self._explained():
            self._send(m.Ping())
            self._channel.expect(m.Pong)
        return time.perf_counter() - start

    def cancel(self) -> None:
        """Gives up the query that another thread waits for in `ask`, which then raises `RefusedError`
        with the code `cancelled`.

        Raises:
            ProtocolError: if the server is gone.
        """
        self._channel.send(m.Cancel())

    def ask(self, x: Input) -> Answer:
        """Encrypts one input, sends it, waits, and decrypts the answer.

        Args:
            x: one input, of the shape and in the range that the plan's signature names.

        Raises:
            DataError: on NaN, a wrong shape or a value out of range; nothing is sent then.
            RefusedError: if the server refuses the query; unless it is `fatal` one may ask again.
            ProtocolError: if the server died, or hangs.
        """
        start = time.perf_counter()
        query = self._cipher.encrypt(x)
        encrypted = time.perf_counter()
        self._up, self._down = 0, 0
        before = self._traffic()
        with self._explained():
            parts, end, trace = self._exchange(query)
        received = time.perf_counter()
        output = self._cipher.decrypt(parts)
        done = time.perf_counter()
        return Answer(
            output=output,
            seconds=done - start,
            seconds_encrypt=encrypted - start,
            seconds_server=end.seconds,
            seconds_decrypt=done - received,
            bytes_up=self._traffic()[0] - before[0],
            bytes_down=self._traffic()[1] - before[1],
            trace=trace,
            peak_memory_server_bytes=end.peak_memory_bytes,
        )

    def _traffic(self) -> tuple[int, int]:
        """Bytes sent and received, connections that dropped counted."""
        frames = self._channel.frames
        return self._up + frames.bytes_sent, self._down + frames.bytes_received

    def _connected(self) -> Channel:
        """A connection to a server that has the keys."""
        channel = Channel(connect(self._address, self._silence_s), silence_s=self._silence_s)
        self._channel = channel
        try:
            self._greet()
            self._hand_over_keys()
        except BaseException:
            channel.close()
            raise
        return channel

    def _greet(self) -> None:
        facts = self._facts
        hello = m.Hello(
            protocol=m.PROTOCOL,
            fingerprint=facts.fingerprint,
            parameters=facts.parameters,
            client=self._keys.manifest.client,
            software=f"cipherformer {__version__}",
        )
        self._send(hello)
        welcome, _ = self._channel.expect(m.Welcome)
        self._channel.session = welcome.session

    def _hand_over_keys(self) -> None:
        self._send(m.KeyOffer(), self._keys.manifest.to_bytes())
        want = self._expect(m.KeyWant)[0].names
        entries = self._keys.manifest.by_name()
        unknown = [name for name in want if name not in entries]
        if unknown:
            raise ProtocolError("the server asks for a key that was not offered", where=unknown[0])
        total = sum(entries[name].size for name in want)
        for name in want:
            self._send(m.KeyBegin(name=name))
            for chunk in self._keys.read_chunks(entries[name]):
                self._send(m.KeyChunk(), chunk)
                self.key_bytes_sent += len(chunk)
                self._on_progress("uploading keys", self.key_bytes_sent, total, "")
            self._send(m.KeyEnd())
            self._expect(m.KeyDone, quiet=True)

    def _exchange(self, query: list[bytes]) -> tuple[list[bytes], m.AnswerEnd, list[dict[str, Any]]]:
        self._number += 1
        ticket = secrets.token_hex(32)
        try:
            self._send_query(query, ticket)
            return self._receive_answer()
        except (ClosedError, SilenceError, RefusedError) as error:
            if not (self._reconnect_s and _passing(error)):
                raise
        lost, attempt = time.monotonic(), 0
        while True:
            attempt += 1
            self._on_progress("reconnecting", attempt, 0, "")
            self._up, self._down = self._traffic()
            self._channel.close()
            found = None
            try:
                self._connected()
                found = time.monotonic()
                return self._resumed(query, ticket)
            except (ClosedError, SilenceError, UnreachableError, RefusedError) as error:
                now = time.monotonic()
                if found is not None and now - found > STOOD_S:
                    lost, attempt = now, 0
                if now - lost > self._reconnect_s or not _passing(error):
                    raise
                time.sleep(min(2.0, 0.1 * 2**attempt))

    def _resumed(
        self, query: list[bytes], ticket: str
    ) -> tuple[list[bytes], m.AnswerEnd, list[dict[str, Any]]]:
        self._send(m.Resume(number=self._number, ticket=ticket))
        try:
            return self._receive_answer()
        except RefusedError as error:
            if error.code != "unknown_query":
                raise
        self._send_query(query, ticket)
        return self._receive_answer()

    def _send_query(self, query: list[bytes], ticket: str) -> None:
        sizes, fingerprint = [len(part) for part in query], self._facts.fingerprint
        begin = m.QueryBegin(number=self._number, ticket=ticket, fingerprint=fingerprint, sizes=sizes)
        self._send(begin)
        for chunk in chunks(query):
            self._send(m.QueryChunk(), chunk)
        self._send(m.QueryEnd(digest=digest(query)))

    def _receive_answer(self) -> tuple[list[bytes], m.AnswerEnd, list[dict[str, Any]]]:
        begin, _ = self._expect(m.AnswerBegin)
        if begin.number != self._number or begin.fingerprint != self._facts.fingerprint:
            raise FrameError("an answer to another query")
        if len(begin.sizes) != self._facts.answers:
            raise FrameError("an answer of another number of ciphertexts than the plan gives")
        assembly = Assembly(begin.sizes)
        message, payload = self._channel.receive()
        while isinstance(message, m.AnswerChunk):
            assembly.add(payload)
            message, payload = self._channel.receive()
        if isinstance(message, m.Error):
            raise RefusedError(message)
        if not isinstance(message, m.AnswerEnd):
            raise FrameError(f"a {type(message).__name__} message inside an answer")
        return assembly.finish(message.digest), message, _read_trace(payload)

    def _send(self, message: m.Message, payload: bytes = b"") -> None:
        """Sends, but listens first: a refusal that is already there is what the caller must hear."""
        if self._channel.frames.has_input():
            self._raise_refusal()
        try:
            self._channel.send(message, payload)
        except ClosedError:
            self._raise_refusal()
            raise

    def _raise_refusal(self) -> None:
        message, _ = self._channel.receive(1.0)
        if isinstance(message, m.Error):
            raise RefusedError(message)

    def _expect(self, kind: type[M], *, quiet: bool = False) -> tuple[M, bytes]:
        """The next message of one type, passing the server's progress on."""
        while True:
            message, payload = self._channel.receive()
            if isinstance(message, kind):
                return message, payload
            if isinstance(message, m.Error):
                raise RefusedError(message)
            if not isinstance(message, m.Progress):
                raise FrameError(f"a {type(message).__name__} message where {kind.__name__} was expected")
            if not quiet:
                self._on_progress(message.phase, message.done, message.total, message.layer)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (ClosedError, SilenceError) as error:
            raise ProtocolError(
                "the server went away",
                where=f"query {self._number}" if self._number else "connecting",
                why=error.what + (f" ({error.why})" if error.why else ""),
                fix="see the server's log, start it again and repeat the query; it still has your keys",
            ) from error


def _passing(error: ProtocolError) -> bool:
    """True if the same may go well later: the line dropped, or a server shuts down, or has no room."""
    return not isinstance(error, RefusedError) or (error.fatal and error.code in ("stopping", "busy"))


def _read_trace(payload: bytes) -> list[dict[str, Any]]:
    """The trace of an answer, checked."""
    wanted = {"layer": str, "node": str, "primitive": str, "calls": int, "seconds": float}
    try:
        trace = json.loads(payload or b"[]")
        return [{name: kind(item[name]) for name, kind in wanted.items()} for item in trace]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FrameError("an answer with a malformed trace") from error
