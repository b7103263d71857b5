"""How the three meet: hellos, the session's name, and the links that parties compute over."""

from __future__ import annotations

import hashlib
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cipherformer.backends.mpc2.chain import Chain
from cipherformer.backends.mpc2.narrow import Narrow
from cipherformer.backends.mpc2.party import SETUP_ROUND
from cipherformer.backends.mpc2.program import CLIENT, SERVER, Program, Step
from cipherformer.backends.mpc2.protocols import PROTOCOLS, opens, sent_bytes
from cipherformer.backends.mpc2.ring import Ring
from cipherformer.errors import ProtocolError
from cipherformer.serve.address import connect
from cipherformer.serve.two_party.config import Config
from cipherformer.serve.two_party.connection import Connection, Kind
from cipherformer.serve.two_party.tls import fingerprint, wrap

NONCE_BYTES = 32
MATERIAL_BYTES = 1 << 22
_PATIENCE_S = 60.0


def largest_payload(chain: Chain) -> int:
    """Most bytes that a frame of these programs has."""
    turns: dict[tuple[int, int, int], int] = {}
    for i, program in enumerate(chain.programs):
        for step in program.steps:
            for sender in (SERVER, CLIENT):
                key = (i, -1 - step.number if step.op == "weight" else step.round, sender)
                turns[key] = turns.get(key, 0) + sent_bytes(step, program, sender)
    return max(MATERIAL_BYTES, *turns.values())


def layouts(program: Program) -> dict[int, bytes]:
    """For each round, a digest of what it opens: names, protocols, shapes and widths, in order."""
    parts: dict[int, hashlib._Hash] = {}
    for step in program.steps:
        if not opens(step):
            continue
        turn = SETUP_ROUND - step.number if step.op == "weight" else step.round
        slots = [(slot.shape, slot.width) for slot in PROTOCOLS[step.op].opened(step, program)]
        parts.setdefault(turn, hashlib.sha256()).update(repr((step.name, step.op, slots)).encode())
    return {turn: state.digest()[:8] for turn, state in parts.items()}


@dataclass(slots=True)
class TlsLink:
    """The other party, over a connection: one frame a round and direction."""

    connection: Connection
    layouts: Mapping[int, bytes]
    rounds: list[int] = field(default_factory=list)

    def exchange(
        self, turn: int, payload: bytes, expected: int, meanwhile: Callable[[], None] = lambda: None
    ) -> bytearray:
        """One round."""
        layout = self.layouts[turn]
        self.rounds.append(turn)
        if payload:
            self.connection.send(Kind.ROUND, payload, turn=turn, layout=layout)
        meanwhile()
        if not expected:
            return bytearray()
        return self.connection.receive(Kind.ROUND, length=expected, turn=turn, layout=layout)


@dataclass(frozen=True, slots=True)
class Material:
    """The dealer, seen from the server: what was dealt, step by step."""

    connection: Connection

    def __call__(self, step: Step, size: int) -> bytearray:
        """What the dealer sent for a step; it may come in several frames."""
        data = bytearray()
        while len(data) < size:
            length = min(MATERIAL_BYTES, size - len(data))
            data += self.connection.receive(Kind.MATERIAL, length=length, turn=step.number)
        return data


def reach(config: Config, role: str, chain: Chain) -> Connection:
    """Connects to another role, which may be about to start."""
    address = config.address(role)
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            sock = connect(address, config.silence_s)
            break
        except ProtocolError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    return _secured(config, sock, role, chain, server_side=False)


def accept(config: Config, listener: socket.socket, roles: tuple[str, ...], chain: Chain) -> Connection:
    """The next of these roles that connects."""
    sock, _ = listener.accept()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return _secured(config, sock, roles, chain, server_side=True)


def _secured(
    config: Config, sock: socket.socket, roles: str | tuple[str, ...], chain: Chain, *, server_side: bool
) -> Connection:
    allowed = (roles,) if isinstance(roles, str) else roles
    certificates = {role: config.certificate(role) for role in allowed}
    secured, role = wrap(
        sock, config.identity, certificates, server_side=server_side, timeout_s=config.silence_s
    )
    return Connection(secured, largest=largest_payload(chain), timing=config.timing, peer=role)


def model_digest(weights: Mapping[str, Ring | Narrow]) -> bytes:
    """SHA-256 of the weights."""
    state = hashlib.sha256()
    for name in sorted(weights):
        state.update(name.encode() + weights[name].tobytes())
    return state.digest()


def agree(config: Config, connection: Connection, chain: Chain, model: bytes) -> None:
    """Server and client name their session: a digest of nonces, certificates, program and model.

    Args:
        config: this role's.
        connection: to the other party.
        chain: programs of this role.
        model: digest of the weights at the server; anything at the client.

    Raises:
        ProtocolError: if the programs differ.
    """
    own = secrets.token_bytes(NONCE_BYTES)
    digest = chain.digest()
    connection.send(Kind.HELLO, own + digest + model)
    other = bytes(connection.receive(Kind.HELLO, length=NONCE_BYTES + 64))
    if other[NONCE_BYTES : NONCE_BYTES + 32] != digest:
        raise ProtocolError(
            f"the {connection.peer} has another program", fix="give all roles the same program folder"
        )
    is_server = config.role == "server"
    model = model if is_server else other[NONCE_BYTES + 32 :]
    nonces = (own, other[:NONCE_BYTES]) if is_server else (other[:NONCE_BYTES], own)
    state = hashlib.sha256(b"cipherformer two-party session")
    for part in (*nonces, *(fingerprint(config.certificate(r)) for r in ("server", "client", "dealer"))):
        state.update(part)
    state.update(digest + model)
    connection.session = state.digest()[:16]


def introduce(config: Config, chain: Chain, session: bytes) -> tuple[Connection, bytes]:
    """A party joins a session at the dealer and is given its seed."""
    dealer = reach(config, "dealer", chain)
    dealer.send(Kind.HELLO, session + chain.digest())
    dealer.session = session
    return dealer, bytes(dealer.receive(Kind.SEED, length=32))


def asked(number: int, program: int) -> bytes:
    """What a frame says that asks a program; number 0 ends the session."""
    return number.to_bytes(4, "big") + program.to_bytes(4, "big")


def read_asked(payload: bytes | bytearray, chain: Chain) -> tuple[int, int]:
    """Number and program of a question.

    Raises:
        ProtocolError: there is no such program.
    """
    number, program = int.from_bytes(payload[:4], "big"), int.from_bytes(payload[4:], "big")
    if program >= len(chain.programs):
        raise ProtocolError(f"a question for program {program} of {len(chain.programs)}")
    return number, program


def query_version(session: bytes, number: int) -> bytes:
    """Name of one query's randomness."""
    return session + number.to_bytes(4, "big")
