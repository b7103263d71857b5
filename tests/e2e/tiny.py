"""A small model compiled for a ring that is fast and not secure, and helpers for processes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cipherformer.capture import capture
from cipherformer.compiler import Options, compile_graph
from cipherformer.plan.plan import Plan
from cipherformer.serve.address import Address, connect
from cipherformer.targets.ckks import CkksTarget
from cipherformer.targets.primes import generate_primes

INPUTS, LEVELS = 8, 6


class Square(nn.Module):
    """Linear, square, linear: every kind of primitive that needs a key."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(INPUTS, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return self.second(y * y)


def build() -> tuple[nn.Module, Tensor]:
    """The model and an example input, as a factory for the command line."""
    torch.manual_seed(0)
    return Square().eval(), torch.zeros(1, INPUTS)


def insecure_target(log_n: int = 11, scale_bits: int = 40) -> CkksTarget:
    primes = generate_primes(log_n, [50] + [scale_bits] * LEVELS + [50, 50])
    return CkksTarget(log_n, primes[: LEVELS + 1], primes[LEVELS + 1 :], 1, scale_bits, insecure=True)


def samples(count: int = 8) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (count, INPUTS))


def secure_plan(options: Options | None = None) -> Plan:
    module, example = build()
    graph = capture(module, (example,), name="tiny")
    calibration = [{graph.inputs[0].name: x[None]} for x in samples()]
    return compile_graph(graph, calibration, options)


def insecure_plan(**target: Any) -> Plan:
    return secure_plan(Options(insecure_target=insecure_target(**target)))


def command(*words: Any) -> list[str]:
    return [sys.executable, "-m", "cipherformer", *map(str, words)]


def run_json(path: Path, *words: Any) -> dict[str, Any]:
    """Runs a command to its end and gives its JSON record."""
    done = subprocess.run(command(*words, "--json", path), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(path.read_text())


class ServerProcess:
    """`cipherformer serve` in a process of its own."""

    def __init__(self, plan: Path, folder: Path, address: Address) -> None:
        self.folder, self.address = folder, address
        self.log = folder / "server.log"
        words = ("serve", plan, "-l", address, "-k", folder / "store", "-t", 1, "--log", self.log)
        self.process = subprocess.Popen(
            command(*words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                connect(address, 1.0).close()
                return
            except Exception:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise
                time.sleep(0.05)

    def stop(self) -> int:
        self.process.terminate()
        _, self.errors = self.process.communicate(timeout=20)
        return self.process.returncode

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()
