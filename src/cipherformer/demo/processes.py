"""The two parties of the demonstration, each a process: `cipherformer serve`, and the client's commands."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cipherformer.errors import ProtocolError
from cipherformer.serve.address import Address, connect

_PROGRAM = (sys.executable, "-m", "cipherformer")


@contextlib.contextmanager
def server_process(plan: Path, work: Path, address: Address, *, threads: int) -> Iterator[int]:
    """A server for the plan; yields its process id once it listens, and stops it at the end.

    Args:
        plan: folder of the plan.
        work: where `server.log` and the key store are written.
        address: where it listens.
        threads: that it computes with.

    Raises:
        ProtocolError: if it does not start.
    """
    log, store = work / "server.log", work / "key-store"
    command = [
        *_PROGRAM,
        "serve",
        plan,
        "--listen",
        address,
        "--key-store",
        store,
        "--threads",
        threads,
        "--log",
        log,
    ]
    with (work / "server.out").open("wb") as output:
        process = subprocess.Popen([str(word) for word in command], stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait_until_it_listens(process, address, work / "server.out")
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(15.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def client_process(arguments: list[Any], result: Path) -> dict[str, Any]:
    """Runs one command of the client to its end; its progress bars go to this terminal.

    Args:
        arguments: the command and its arguments, without `--json`.
        result: file for its JSON record.

    Raises:
        ProtocolError: if it fails; its own message stands on the terminal already.
    """
    command = [*_PROGRAM, *map(str, arguments), "--json", str(result)]
    done = subprocess.run(command, check=False)
    if done.returncode != 0:
        raise ProtocolError(
            f"the client process ended with code {done.returncode}",
            where=f"cipherformer {arguments[0]}",
            why="its message stands above",
        )
    record: dict[str, Any] = json.loads(result.read_text())
    return record


def _wait_until_it_listens(process: subprocess.Popen[bytes], address: Address, output: Path) -> None:
    deadline = time.monotonic() + 60.0
    while True:
        with contextlib.suppress(ProtocolError):
            connect(address, 1.0).close()
            return
        if process.poll() is not None or time.monotonic() > deadline:
            text = output.read_text(errors="replace").strip()
            raise ProtocolError("the server process did not start", where=str(output), why=text[-2000:])
        time.sleep(0.05)
