"""The server's side of one connection: greets, takes keys, answers queries, refuses clearly."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from cipherformer import __version__
from cipherformer.errors import CipherformerError, KeyMismatchError, ProtocolError
from cipherformer.serve import messages as m
from cipherformer.serve.channel import Assembly, Channel, chunks, digest, error_message
from cipherformer.serve.interface import trace_records
from cipherformer.serve.jobs import Job, Result, State, StoppedError
from cipherformer.serve.manifest import KeyEntry, Manifest
from cipherformer.serve.memory import peak_memory_bytes
from cipherformer.serve.service import Heartbeat, RefuseError, Service
from cipherformer.serve.wire import CHUNK_BYTES, ClosedError, FrameError, SilenceError
from cipherformer.serve.worker import BusyError


class Session:
    """One connection from its first byte to its last.

    Args:
        channel: a fresh connection.
        service: what all connections share.
    """

    def __init__(self, channel: Channel, service: Service) -> None:
        self._channel, self._service = channel, service
        self._manifest: Manifest | None = None
        self._client = ""
        self._answered: Job | None = None

    def run(self) -> None:
        """Serves the connection until it ends. Never raises for what a client does."""
        try:
            self._greet()
            while not self._service.stopping.is_set() and self._request():
                pass
        except RefuseError as refusal:
            self._refuse(refusal)
        except FrameError as error:
            self._refuse(RefuseError("protocol", error, fatal=True))
        except SilenceError as error:
            self._refuse(RefuseError("silence", error, fatal=True))
        except ClosedError as error:
            self._log("connection lost", reason=error.what)
        except StoppedError:
            self._refuse(RefuseError("stopping", ProtocolError("the server shuts down"), fatal=True))
        except ProtocolError as error:
            self._log("client gave up", reason=error.what)
        except Exception as error:  # a full disk, or a bug: this connection ends, the server goes on
            self._log("internal error", kind=type(error).__name__, text=str(error)[:400])
            text = "an internal error of the server: please report it"
            self._refuse(RefuseError("internal", ProtocolError(text, why=type(error).__name__), fatal=True))

    def _greet(self) -> None:
        hello, _ = self._channel.expect(m.Hello, 30.0)
        facts = self._service.facts
        if hello.protocol != m.PROTOCOL:
            why = f"the client speaks {hello.protocol}, the server {m.PROTOCOL}"
            error = ProtocolError(
                "another version of the protocol", why=why, fix="use one release on both sides"
            )
            raise RefuseError("protocol_version", error, fatal=True)
        if hello.parameters != facts.parameters:
            raise RefuseError("parameters_mismatch", _mismatch("keys of another parameter set"), fatal=True)
        if hello.fingerprint != facts.fingerprint:
            raise RefuseError("plan_mismatch", _mismatch("the server holds another plan"), fatal=True)
        self._client = hello.client
        session = secrets.randbelow((1 << 63) - 2) + 1
        beat = self._service.heartbeat_s
        software = f"cipherformer {__version__}"
        self._channel.send(m.Welcome(session=session, software=software, heartbeat_s=beat))
        self._channel.session = session
        self._log("client connected")

    def _request(self) -> bool:
        message, payload = self._channel.receive(self._service.idle_s)
        if self._answered is not None:  # whoever speaks again has the last answer
            self._service.jobs.forget(self._answered)
            self._answered = None
        try:
            match message:
                case m.KeyOffer():
                    self._take_offer(payload)
                case m.KeyBegin():
                    self._take_key(message)
                case m.QueryBegin():
                    self._answer(message)
                case m.Resume():
                    self._resume(message)
                case m.Cancel():
                    pass  # it crossed the answer
                case m.Ping():
                    self._channel.send(m.Pong())
                case m.Bye():
                    self._log("client left")
                    return False
                case _:
                    raise FrameError(f"a {type(message).__name__} message out of place")
        except RefuseError as refusal:
            if refusal.fatal:
                raise
            self._refuse(refusal)
        return True

    def _take_offer(self, payload: bytes) -> None:
        try:
            manifest = Manifest.from_bytes(payload)
            if manifest.client != self._client:
                raise ProtocolError("the list of keys does not belong to this client")
            if manifest.parameters != self._service.facts.parameters:
                raise KeyMismatchError("keys of another parameter set", fix="make keys for the server's plan")
            known = manifest.by_name()
            missing = [name for name in self._service.facts.keys if name not in known]
            if missing:
                raise KeyMismatchError(
                    f"{len(missing)} of the plan's evaluation keys are missing",
                    where=", ".join(missing[:5]),
                    fix="make keys for the server's plan with `cipherformer keygen`",
                )
            self._service.store.register(manifest)
        except CipherformerError as error:
            raise RefuseError("keys_refused", error, fatal=True) from error
        self._manifest = manifest
        names = [n for n in self._service.facts.keys if not self._service.store.has(self._client, known[n])]
        self._channel.send(m.KeyWant(names=names))

    def _take_key(self, begin: m.KeyBegin) -> None:
        manifest = self._offered()
        entry = manifest.by_name().get(begin.name)
        if entry is None or begin.name not in self._service.facts.keys:
            error = ProtocolError("a key that was not asked for", where=begin.name)
            raise RefuseError("key_refused", error, fatal=True)
        try:
            with self._service.store.writing(self._client, entry) as writer:
                message, payload = self._channel.receive(30.0)
                while isinstance(message, m.KeyChunk):
                    writer.write(payload)
                    message, payload = self._channel.receive(30.0)
                if not isinstance(message, m.KeyEnd):
                    raise FrameError(f"a {type(message).__name__} message inside a key")
        except ProtocolError:
            raise
        except CipherformerError as error:
            raise RefuseError("key_refused", error, fatal=True) from error
        self._try_key(manifest, entry)
        self._channel.send(m.KeyDone(name=entry.name))

    def _try_key(self, manifest: Manifest, entry: KeyEntry) -> None:
        """Hands the stored key to the engine, so that a bad one is refused now and by name."""
        with (
            Heartbeat(self._channel, self._service, "checking keys") as beat,
            self._turn(lambda place: beat.set("queued", place, place)),
        ):
            try:
                self._service.worker.try_key(manifest, entry)
            except (CipherformerError, ValueError) as error:
                self._service.store.discard(self._client, entry)
                refused = KeyMismatchError(
                    "the server's engine refuses an evaluation key",
                    where=entry.name,
                    why=str(error),
                    fix="make keys for the server's plan with `cipherformer keygen`",
                )
                raise RefuseError("key_refused", refused, fatal=False) from error

    def _answer(self, begin: m.QueryBegin) -> None:
        manifest, facts = self._offered(), self._service.facts
        if begin.fingerprint != facts.fingerprint:
            raise RefuseError("plan_mismatch", _mismatch("a query for another plan"), fatal=True)
        if len(begin.sizes) != facts.queries or sum(begin.sizes) > self._service.query_bytes:
            why = f"the plan takes {facts.queries} ciphertexts, {len(begin.sizes)} were announced"
            error = ProtocolError("a query of the wrong size", where=f"query {begin.number}", why=why)
            raise RefuseError("query_refused", error, fatal=True)
        query = self._receive_query(begin)

        def compute(job: Job) -> Result:
            return self._compute(begin.number, manifest, query, job)

        with self._service.jobs.begun(self._client, begin.ticket, compute) as job:
            self._follow(job, begin.number)

    def _resume(self, message: m.Resume) -> None:
        job = self._service.jobs.find(self._client, message.ticket)
        if job is None:
            error = ProtocolError("a query that is not known here", where=f"query {message.number}")
            raise RefuseError("unknown_query", error, fatal=False)
        self._log("resumed", query=message.number)
        with job.followed():
            self._follow(job, message.number)

    def _follow(self, job: Job, number: int) -> None:
        """Tells the client how a query gets on, listens whether it is cancelled, and sends the answer."""
        self._wait(job, number)
        try:
            result = job.result()
        except BaseException:
            self._service.jobs.forget(job)
            raise
        self._send_answer(number, result)
        self._answered = job
        size = sum(map(len, result.answer))
        self._log("answered", query=number, seconds=round(result.seconds, 3), bytes=size)

    def _wait(self, job: Job, number: int) -> None:
        beat = self._service.heartbeat_s
        told = -beat
        while True:
            if time.monotonic() - told >= beat:
                told, now = time.monotonic(), job.state
                self._channel.send(
                    m.Progress(phase=now.phase, done=now.done, total=now.total, layer=now.layer[:200])
                )
            if job.finished.wait(min(beat, 0.1)):
                return
            if self._channel.frames.has_input() and not self._service.stopping.is_set():
                message, _ = self._channel.receive(30.0)
                if not isinstance(message, m.Cancel | m.Bye):
                    job.cancel()
                    raise FrameError(f"a {type(message).__name__} message while a query is computed")
                job.cancel()
                self._service.jobs.forget(job)
                error = ProtocolError("the query was cancelled", where=f"query {number}")
                raise RefuseError("cancelled", error, fatal=isinstance(message, m.Bye))

    def _receive_query(self, begin: m.QueryBegin) -> list[bytes]:
        assembly = Assembly(begin.sizes)
        message, payload = self._channel.receive(30.0)
        while isinstance(message, m.QueryChunk):
            assembly.add(payload)
            message, payload = self._channel.receive(30.0)
        if not isinstance(message, m.QueryEnd):
            raise FrameError(f"a {type(message).__name__} message inside a query")
        return assembly.finish(message.digest)

    def _compute(self, number: int, manifest: Manifest, query: list[bytes], job: Job) -> Result:
        where = f"query {number}"
        with self._turn(lambda place: job.enter(State("queued", place, place))):
            job.enter(State("loading keys"))
            evaluation = self._service.worker.evaluation(
                manifest, lambda *n: job.enter(State("loading keys", *n))
            )
            missing = list(evaluation.missing_keys())
            if missing:
                error = KeyMismatchError(
                    f"{len(missing)} evaluation keys are missing on the server",
                    where=", ".join(missing[:5]),
                    fix="connect again: the client sends the missing keys",
                )
                raise RefuseError("keys_missing", error, fatal=True)

            def step(done: int, total: int) -> None:
                job.enter(State("computing", done, total, evaluation.layer(done)))

            job.enter(State("computing"))
            start = time.perf_counter()
            try:
                answer, trace = evaluation.run(query, step)
            except (StoppedError, MemoryError):
                raise
            except (CipherformerError, ValueError) as error:
                refused = ProtocolError("the server's engine refuses the query", where=where, why=str(error))
                raise RefuseError("query_refused", refused, fatal=False) from error
            except Exception as error:
                self._log("internal error", query=number, kind=type(error).__name__, text=str(error)[:400])
                text = "an internal error of the server: please report it"
                refused = ProtocolError(text, where=where, why=type(error).__name__)
                raise RefuseError("internal", refused, fatal=False) from error
            return Result(answer, trace_records(trace), time.perf_counter() - start)

    @contextlib.contextmanager
    def _turn(self, on_wait: Callable[[int], None]) -> Iterator[None]:
        try:
            with self._service.worker.turn(on_wait):
                yield
        except BusyError as error:
            raise RefuseError("busy", error, fatal=False) from error

    def _send_answer(self, number: int, result: Result) -> None:
        answer, fingerprint = result.answer, self._service.facts.fingerprint
        sizes = [len(part) for part in answer]
        self._channel.send(m.AnswerBegin(number=number, fingerprint=fingerprint, sizes=sizes))
        for chunk in chunks(answer):
            self._channel.send(m.AnswerChunk(), chunk)
        end = m.AnswerEnd(
            digest=digest(answer), seconds=result.seconds, peak_memory_bytes=peak_memory_bytes()
        )
        self._channel.send(end, _pack_trace(result.trace))

    def _offered(self) -> Manifest:
        if self._manifest is None:
            raise FrameError("a key or a query before the list of keys")
        return self._manifest

    def _refuse(self, refusal: RefuseError) -> None:
        self._log("refused", code=refusal.code, what=refusal.error.what, where=refusal.error.where)
        try:
            self._channel.send(error_message(refusal.error, refusal.code, fatal=refusal.fatal))
            if refusal.fatal:
                self._channel.frames.linger(2.0)
        except ProtocolError:
            self._log("connection lost", reason="while refusing")

    def _log(self, event: str, **facts: Any) -> None:
        self._service.log(event, {"client": self._client[:16], **facts})


def _mismatch(what: str) -> KeyMismatchError:
    return KeyMismatchError(
        what,
        why="client and server were set up from different plans",
        fix="copy the server's signature to the client and run `cipherformer keygen` with it",
    )


def _pack_trace(trace: list[dict[str, Any]]) -> bytes:
    """The trace as JSON; one that is too long for a frame is summed over nodes."""
    data = json.dumps(trace, separators=(",", ":")).encode()
    if len(data) <= CHUNK_BYTES:
        return data
    calls: Counter[tuple[str, str]] = Counter()
    seconds: Counter[tuple[str, str]] = Counter()
    for item in trace:
        key = (item["layer"], item["primitive"])
        calls[key] += item["calls"]
        seconds[key] += item["seconds"]
    summed = [
        {"layer": layer, "node": "", "primitive": kind, "calls": n, "seconds": seconds[layer, kind]}
        for (layer, kind), n in calls.items()
    ]
    return json.dumps(summed, separators=(",", ":")).encode()
