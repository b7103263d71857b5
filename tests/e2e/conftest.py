from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tiny import ServerProcess, command, insecure_plan, samples

from cipherformer.backends.ckks.client import ClientKeys
from cipherformer.plan.plan import Plan
from cipherformer.plan.signature import Signature
from cipherformer.serve.address import Address
from cipherformer.serve.client import Client
from cipherformer.serve.interface import PlanFacts
from cipherformer.serve.keys import KeyFolder, load


@dataclass(frozen=True)
class World:
    """A plan on disk, keys for it, and inputs."""

    folder: Path
    plan: Plan
    plan_folder: Path
    keys: Path
    inputs: Path

    @property
    def key_folder(self) -> KeyFolder:
        return load(self.keys)

    @property
    def signature(self) -> Signature:
        return self.plan.signature

    def cipher(self) -> ClientKeys:
        return ClientKeys.load(self.signature, self.key_folder.secret_path)

    def client(self, address: Address, **options) -> Client:
        options.setdefault("silence_s", 10.0)
        keys = options.pop("keys", None) or self.key_folder
        cipher = options.pop("cipher", None) or self.cipher()
        return Client(address, PlanFacts.of(self.signature), keys, cipher, **options)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("w")
    plan = insecure_plan()
    plan.save(folder / "plan")
    plan.signature.save(folder / "plan" / "signature.json")
    np.save(folder / "inputs.npy", samples())
    made = World(folder, plan, folder / "plan", folder / "keys", folder / "inputs.npy")
    done = subprocess.run(
        command("keygen", made.plan_folder, "-o", made.keys, "--insecure"), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return made


@pytest.fixture(scope="session")
def shared_server(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests that do not harm it: each also shows that it survived the ones before."""
    folder = tmp_path_factory.mktemp("shared")
    server = ServerProcess(world.plan_folder, folder, Address(path=str(folder / "socket")))
    yield server
    assert server.stop() == 0, server.errors
