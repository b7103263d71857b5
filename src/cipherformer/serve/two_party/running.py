"""What server and client both do in a session: set up, answer, keep accounts, and end for everybody."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from time import perf_counter
from typing import IO

from cipherformer.backends.mpc2.chain import Chain
from cipherformer.backends.mpc2.party import Party, Usage
from cipherformer.backends.mpc2.store import Store
from cipherformer.errors import CipherformerError
from cipherformer.serve.two_party.config import Config
from cipherformer.serve.two_party.connection import Connection, Kind
from cipherformer.serve.two_party.session import TlsLink, layouts


@dataclass(slots=True)
class Report:
    """What a role's session took; bytes are those of frames sent, heads included.

    Args:
        role: whose.
        setup_s: opening the weights' masked values.
        setup_bytes: of that.
        offline_s: material, by query.
        online_s: the rounds, by query.
        online_bytes: by query.
        rounds: by query.
        waited_s: of the online time, by query.
        dealt_bytes: material, by query.
        seconds: computing, by step, of the last query.
        sent: payload, by step, of the last query.
        peak_bytes: most memory that the process had.
    """

    role: str
    setup_s: float = 0.0
    setup_bytes: int = 0
    offline_s: list[float] = field(default_factory=list)
    online_s: list[float] = field(default_factory=list)
    online_bytes: list[int] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    waited_s: list[float] = field(default_factory=list)
    dealt_bytes: list[int] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    peak_bytes: int = 0

    def save(self, path: str) -> None:
        """Writes it as JSON."""
        self.peak_bytes = _peak_bytes()
        if path:
            Path(path).write_text(json.dumps(asdict(self)))


def _peak_bytes() -> int:
    """Most memory since this program started (what the system counts otherwise begins with its parent's)."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def guarded(connections: list[Connection], work: Callable[[], None]) -> None:
    """Runs a session; whatever ends it is told to the others."""
    try:
        work()
    except CipherformerError as error:
        for connection in connections:
            connection.abort(error.what)
        raise
    except BaseException:
        for connection in connections:
            connection.abort("an internal error")
        raise
    for connection in connections:
        connection.close()


def scratch(config: Config) -> IO[bytes]:
    """A file without a name beside the journal: for what is too large for memory and ends with its user."""
    return TemporaryFile(dir=Path(config.journal).parent)


def set_up(
    chain: Chain,
    me: int,
    seed: bytes,
    connection: Connection,
    report: Report,
    *,
    epoch: bytes = b"",
    opened: Store | None = None,
    known: bool = False,
) -> list[tuple[Party, TlsLink]]:
    """Opens the weights' masked values, once for all programs: a party and its link for each."""
    start = perf_counter()
    links = [TlsLink(connection, layouts(program)) for program in chain.programs]
    first = Party(chain.programs[0], me, seed, chain.weights, epoch=epoch, opened=opened)
    first.set_up(links[0], known=known)
    parties = [first, *map(first.next, chain.programs[1:])]
    report.setup_s = perf_counter() - start
    report.setup_bytes = connection.sent_bytes.get(Kind.ROUND, 0)
    return list(zip(parties, links, strict=True))


def answer(party: Party, link: TlsLink, report: Report, run: Callable[[], Usage]) -> None:
    """Runs one query."""
    before, start = link.connection.sent_bytes.get(Kind.ROUND, 0), perf_counter()
    usage = run()
    report.online_s.append(perf_counter() - start)
    report.online_bytes.append(link.connection.sent_bytes.get(Kind.ROUND, 0) - before)
    report.rounds.append(usage.rounds)
    report.waited_s.append(usage.waited_s)
    report.seconds, report.sent = usage.seconds, usage.sent
