"""The secret key is nowhere on the server: not in its files, not in its memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tiny import samples

HEADER_BYTES = 48
CHUNK = 1 << 20


def patterns(secret: bytes, modulus: int) -> dict[str, list[bytes]]:
    """Forms in which a ternary secret of packed 2-bit digits could stand in memory or in a file.

    A piece holds 64 coefficients, about 100 bits: it is not found by chance.
    """
    packed = np.frombuffer(secret[HEADER_BYTES:], dtype=np.uint8)
    digits = (packed[:, None] >> np.arange(0, 8, 2, dtype=np.uint8)) & 3
    s = digits.reshape(-1).astype(np.int64) - 1
    assert set(np.unique(s)) == {-1, 0, 1}
    forms = {f"{kind.__name__} coefficients": s.astype(kind) for kind in (np.int8, np.int32, np.int64)}
    forms["residues"] = (s % modulus).astype(np.uint64)
    starts = (0, len(s) // 2)
    found = {name: [values[at : at + 64].tobytes() for at in starts] for name, values in forms.items()}
    found["packed"] = [packed[at // 4 : at // 4 + 16].tobytes() for at in starts]
    found["transformed"] = [int(v).to_bytes(8, "little") for v in evaluations(s, modulus, count=8)]
    return found


def evaluations(s: np.ndarray, modulus: int, count: int) -> list[int]:
    """s at some primitive 2N-th roots of unity: every number-theoretic transform of it holds these values."""
    order = 2 * len(s)
    powers = (pow(g, (modulus - 1) // order, modulus) for g in range(2, 1000))
    root = next(r for r in powers if pow(r, order // 2, modulus) == modulus - 1)
    out = []
    for i in range(count):
        point, total = pow(root, 2 * i + 1, modulus), 0
        for coefficient in s[::-1]:
            total = (total * point + int(coefficient)) % modulus
        out.append(total)
    return out


def found_in(data: bytes, wanted: dict[str, list[bytes]]) -> set[str]:
    return {name for name, forms in wanted.items() if any(form in data for form in forms)}


def memory(pid: int) -> Iterator[bytes]:
    """What a process has written to its memory, in pieces that overlap."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights = line.split()[:2]
            if not rights.startswith("rw") or "[v" in line:
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            for at in range(start, end, CHUNK):
                try:
                    piece = os.pread(file.fileno(), min(CHUNK + 1024, end - at), at)
                except OSError:
                    break  # the mapping is gone
                if np.frombuffer(piece, dtype=np.uint8).any():
                    yield piece


def scan(pid: int, wanted: dict[str, list[bytes]]) -> set[str]:
    found: set[str] = set()
    for piece in memory(pid):
        found |= found_in(piece, wanted)
    return found


@pytest.fixture
def wanted(world) -> dict[str, list[bytes]]:
    return patterns(world.key_folder.secret_path.read_bytes(), world.plan.target.moduli[0])


HOLDER = """
import sys
from pathlib import Path
from cipherformer.backends.ckks.client import ClientKeys
from cipherformer.plan.signature import Signature
keys = ClientKeys.load(Signature.load(sys.argv[1]), sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
"""


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux's /proc")
def test_the_servers_memory_never_holds_the_secret_key(world, shared_server, wanted) -> None:
    words = [sys.executable, "-c", HOLDER, world.plan_folder / "signature.json", world.key_folder.secret_path]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "ready\n"
        control = scan(holder.pid, wanted)
        holder.communicate("\n")
    assert "transformed" in control and len(control) >= 2, control  # the scan finds a key where there is one
    with world.client(shared_server.address) as client:
        client.ask(samples()[:1])
        assert scan(shared_server.process.pid, wanted) == set()
    assert scan(shared_server.process.pid, wanted) == set()


def test_the_servers_files_never_hold_the_secret_key(world, shared_server, wanted) -> None:
    with world.client(shared_server.address) as client:
        client.ask(samples()[:1])
    files = [p for p in (*shared_server.folder.rglob("*"), *world.plan_folder.rglob("*")) if p.is_file()]
    assert any(path.suffix == ".key" for path in files) and shared_server.log in files
    for path in files:
        assert found_in(path.read_bytes(), wanted) == set(), path
    assert "packed" in found_in(world.key_folder.secret_path.read_bytes(), wanted)


def test_the_server_command_never_loads_client_code(world, shared_server) -> None:
    code = """if True:
        import sys, cipherformer.cli, cipherformer.serve.ckks_server
        clients = {"cipherformer.backends.ckks.client", "cipherformer.serve.client"}
        sys.exit(clients & set(sys.modules) != set())
    """
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
