"""What a role is told: one JSON file, or made by `local.py`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from cipherformer.errors import DataError
from cipherformer.serve.address import Address
from cipherformer.serve.two_party.connection import Timing
from cipherformer.serve.two_party.tls import Identity

_PATHS = ("program", "key", "weights", "journal", "epoch", "input", "output", "table", "report")
ROLES = ("server", "client", "dealer")


@dataclass(frozen=True, slots=True)
class Config:
    """One role's part.

    Args:
        role: `server` (party 0, owns the weights), `client` (party 1, owns the inputs) or `dealer`.
        program: folder with the program, the same at all three.
        key: folder with this role's key pair.
        peers: certificate of each other role.
        server: address that the server listens on, `tcp:host:port`.
        dealer: address that the dealer listens on.
        weights: folder with the weights; at the server only.
        journal: file of used randomness; at server and client.
        epoch: folder in which masked weights outlive a session, without one they do not; at both parties.
        input: `.npz` with an array [n, ...] for each input; at the client only.
        output: `.npz` that the client writes.
        generate: tokens that the client asks for; `input` then has `tokens` [n, L]. 0: one answer an input.
        table: `.npy` [V, d], the public embedding of each token; without it tokens are looked up in private.
        report: JSON that this role writes: seconds and bytes.
        sessions: after how many sessions server and dealer end; 0 is never.
        silence_s: without any sign of life, another role counts as dead.
    """

    role: str
    program: str
    key: str
    peers: Mapping[str, str]
    server: str = ""
    dealer: str = ""
    weights: str = ""
    journal: str = ""
    epoch: str = ""
    input: str = ""
    output: str = ""
    generate: int = 0
    table: str = ""
    report: str = ""
    sessions: int = 0
    silence_s: float = 10.0

    def __post_init__(self) -> None:
        others = set(ROLES) - {self.role}
        if self.role not in ROLES or set(self.peers) != others:
            raise DataError(
                f"a configuration for {self.role!r} with peers {', '.join(self.peers) or 'nobody'}",
                fix=f"role is one of {', '.join(ROLES)}, and peers names the certificates of the two others",
            )
        needed = {"server": ("weights", "journal"), "client": ("input", "output", "journal"), "dealer": ()}
        missing = [name for name in needed[self.role] if not getattr(self, name)]
        if missing:
            raise DataError(f"the {self.role}'s configuration lacks {', '.join(missing)}")

    @classmethod
    def load(cls, path: Path) -> Config:
        """Reads a file; paths in it are relative to its folder.

        Raises:
            DataError: if it is no configuration.
        """
        try:
            data = json.loads(path.read_text())
            base = path.parent
            for name in _PATHS:
                if data.get(name):
                    data[name] = str(base / data[name])
            data["peers"] = {role: str(base / file) for role, file in data["peers"].items()}
            return cls(**data)
        except DataError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError("this is no configuration", where=str(path), why=str(error)) from error

    def save(self, path: Path) -> None:
        """Writes the file."""
        path.write_text(json.dumps(asdict(self), indent=2))

    @property
    def identity(self) -> Identity:
        """This role's key pair."""
        return Identity(Path(self.key))

    @property
    def timing(self) -> Timing:
        """How long it waits."""
        return Timing(silence_s=self.silence_s, beat_s=min(1.0, self.silence_s / 4.0))

    def certificate(self, role: str) -> Path:
        """Of any of the three."""
        return self.identity.certificate if role == self.role else Path(self.peers[role])

    def address(self, role: str) -> Address:
        """Where a role listens."""
        return Address.parse(self.server if role == "server" else self.dealer)
