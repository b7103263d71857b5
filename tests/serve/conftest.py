from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_backend import FakeCipher, FakeEvaluation, facts, make_keys

from cipherformer.serve.address import Address
from cipherformer.serve.client import Client
from cipherformer.serve.server import Server, ServerOptions


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s")


@pytest.fixture
def run_server(folder: Path) -> Iterator[Callable[..., tuple[Address, list[tuple[str, dict[str, Any]]]]]]:
    """Starts servers in threads of this process; gives address and log; stops them at the end."""
    running: list[tuple[Server, threading.Thread]] = []

    def start(step_s: float = 0.0, steps: int = 3, **options: Any):
        log: list[tuple[str, dict[str, Any]]] = []
        options.setdefault("heartbeat_s", 0.05)
        server = Server(
            Address(path=str(folder / f"socket{len(running)}")),
            facts(),
            lambda: FakeEvaluation(steps=steps, step_s=step_s),
            folder / "store",
            options=ServerOptions(**options),
            log=lambda event, given: log.append((event, dict(given))),
        )
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        running.append((server, thread))
        return server.address, log

    yield start
    for server, thread in running:
        server.stop()
        thread.join(15)
        assert not thread.is_alive()


@pytest.fixture
def run_process(folder: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts server processes; kills what is left at the end."""
    running: list[subprocess.Popen[str]] = []

    def start(address: str, *options: str) -> subprocess.Popen[str]:
        program = [sys.executable, str(Path(__file__).with_name("fake_backend.py"))]
        process = subprocess.Popen(
            [*program, address, str(folder / "store"), *options], stdout=subprocess.PIPE, text=True
        )
        running.append(process)
        assert process.stdout is not None
        assert "listening" in process.stdout.readline()
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def connect(folder: Path) -> Callable[..., Client]:
    """Connects a client with keys for the fake plan."""

    def make(address: Address, plan: str = "plan", silence_s: float = 5.0, **options: Any) -> Client:
        path = folder / "keys"
        keys = options.pop("keys", None) or (make_keys(path) if not path.exists() else _load(path))
        return Client(address, facts(plan), keys, FakeCipher(), silence_s=silence_s, **options)

    return make


def _load(path: Path):
    from cipherformer.serve.keys import load

    return load(path)
