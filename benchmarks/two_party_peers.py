"""Other libraries on the encoder layer that `benchmarks.two_party` times, two processes each.

`.venv-peers-two-party` is made where there is none (a download of about 400 MB where the package index has a
CPU build of torch). What each runner does stands in `benchmarks/peers/two_party_*.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.environments import FOLDER
from cipherformer.graph import Graph

ENVIRONMENT = Path(".venv-peers-two-party")
SPU, CRYPTEN = "spu==0.9.5", "crypten==0.4.1"
NEEDED_BY_CRYPTEN = ("pyyaml", "omegaconf")
"""Of what CrypTen declares, the part that it imports besides torch; its `sklearn` cannot be installed."""
LIMIT_S = 900.0


@dataclass(frozen=True)
class Peer:
    """A library and one way to run it; `once` where that takes minutes."""

    name: str
    runner: str
    protocol: str
    once: bool = False


PEERS = (
    Peer("CrypTen", "two_party_crypten.py", "TFP"),
    Peer("SPU", "two_party_spu.py", "SEMI2K"),
    Peer("SPU, Cheetah", "two_party_spu.py", "CHEETAH", once=True),
)


@dataclass(frozen=True)
class Measured:
    """What a runner printed, or why it printed nothing."""

    peer: Peer
    version: str
    metrics: dict[str, float]
    why: str = ""


def environment() -> Path:
    """The peers' interpreter.

    Raises:
        subprocess.CalledProcessError: the environment could not be made.
    """
    python = ENVIRONMENT / "bin" / "python"
    if not (python.exists() and _runs(python, "-c", "import spu, torch, omegaconf, yaml")):
        torch = f"torch=={metadata.version('torch').split('+')[0]}"
        install = ("-m", "pip", "install", "-q")
        for command in (
            (sys.executable, "-m", "venv", str(ENVIRONMENT)),
            (str(python), *install, SPU, torch, *NEEDED_BY_CRYPTEN),
            (str(python), *install, "--no-deps", CRYPTEN),
        ):
            subprocess.run(command, check=True)
    return python.absolute()


def _runs(python: Path, *arguments: str) -> bool:
    return subprocess.run([python, *arguments], capture_output=True).returncode == 0


def measure(
    graph: Graph, x: NDArray[np.float64], answer: NDArray[np.float64], heads: int, repeats: int, slow: bool
) -> Iterator[Measured]:
    """Each peer's times for one encoder layer.

    Args:
        graph: of the layer; its arrays are taken in their order.
        x: input [tokens, width].
        answer: in plaintext.
        heads: of attention.
        repeats: of which the fastest counts.
        slow: also those that take minutes.
    """
    python = environment()
    arrays = [array for array in graph.constants.values() if array.ndim]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "layer.npz"
        named: dict[str, Any] = {f"array_{i}": array for i, array in enumerate(arrays)}
        np.savez(path, x=x, answer=answer, **named)
        for peer in (p for p in PEERS if slow or not p.once):
            setting = {
                "layer": str(path), "heads": heads, "protocol": peer.protocol, "limit_s": LIMIT_S,
                "repeats": 1 if peer.once else repeats,
            }  # fmt: skip
            yield _measured(peer, [str(python), str(FOLDER / peer.runner), json.dumps(setting)])


def _measured(peer: Peer, command: list[str]) -> Measured:
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S + 60.0, env=alone)
    except subprocess.TimeoutExpired:
        return Measured(peer, "", {}, f"no answer within {LIMIT_S:.0f} s")
    if done.returncode:
        return Measured(peer, "", {}, (done.stderr.strip().splitlines() or ["it ended without a word"])[-1])
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return Measured(peer, found["version"], found["metrics"])
