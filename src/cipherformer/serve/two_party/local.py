"""Dealer, server and client as three processes on this machine: real sockets, real TLS, keys of their own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.backends.mpc2.chain import Chain
from cipherformer.backends.mpc2.compile import Compiled
from cipherformer.errors import ProtocolError
from cipherformer.serve.address import Address, listen
from cipherformer.serve.two_party.config import ROLES, Config
from cipherformer.serve.two_party.folder import save
from cipherformer.serve.two_party.relay import Fault, Relay, Shape
from cipherformer.serve.two_party.tls import CERTIFICATE, make_identity

_ORDER = ("dealer", "server", "client")


@dataclass(frozen=True, slots=True)
class Generation:
    """What a client generates.

    Args:
        count: tokens for each prompt.
        table: public embeddings [V, d]; without them the chain looks one-hot ids up.
        on_token: called with a prompt's number and a token's id, as they come.
    """

    count: int
    table: NDArray[np.float64] | None = None
    on_token: Callable[[int, int], None] = lambda prompt, token: None


@dataclass(frozen=True, slots=True)
class LocalRun:
    """What three processes did.

    Args:
        outputs: the client's answers, one array [n, ...] for each output.
        reports: of each role: `roles.Report` as a mapping.
    """

    outputs: list[NDArray[np.float64]]
    reports: Mapping[str, Mapping[str, Any]]


def prepare(
    model: Compiled | Chain,
    inputs: Mapping[str, NDArray[Any]],
    work: Path,
    *,
    silence_s: float,
    generation: Generation | None = None,
    epochs: Path | None = None,
) -> dict[str, Path]:
    """Writes keys, program, weights, inputs and configurations.

    Args:
        model: compiled.
        inputs: [n, ...] for each input of the model, or `tokens` [n, L] for generation.
        work: folder to fill; one that is new or empty.
        silence_s: after which a silent role counts as dead.
        generation: of tokens, for a chain.
        epochs: folder for what outlives a session of each party; none keeps nothing.

    Returns:
        The configuration of each role.
    """
    save(model, work / "program", work / "server")
    for role in ROLES:
        make_identity(work / role, role)
    np.savez(work / "client" / "input.npz", **inputs)  # type: ignore[arg-type]
    addresses = {role: str(_free_address()) for role in ("server", "dealer")}
    configs = {}
    for role in ROLES:
        own: dict[str, Any] = {} if role == "dealer" else {"journal": f"{role}/journal"}
        if epochs and role != "dealer":
            own["epoch"] = str((epochs / role).absolute())
        if role == "server":
            own["weights"] = "server"
        if role == "client":
            own |= {"input": "client/input.npz", "output": "client/output.npz"}
            own |= _generation(generation, work)
        config = Config(
            role=role,
            program="program",
            key=role,
            peers={other: f"{other}/{CERTIFICATE}" for other in ROLES if other != role},
            report=f"{role}/report.json",
            sessions=1,
            silence_s=silence_s,
            **{**addresses, **own},
        )
        configs[role] = work / f"{role}.json"
        config.save(configs[role])
    return configs


def _generation(generation: Generation | None, work: Path) -> dict[str, Any]:
    """The client's part of a configuration."""
    if generation is None:
        return {}
    if generation.table is None:
        return {"generate": generation.count}
    np.save(work / "client" / "table.npy", generation.table)
    return {"generate": generation.count, "table": "client/table.npy"}


def _free_address() -> Address:
    listener, address = listen(Address(host="127.0.0.1", port=0))
    listener.close()
    return address


_ALONE = ("env", "OPENBLAS_NUM_THREADS=1", "OMP_NUM_THREADS=1")
"""Each role has one thread for its products: they share this machine."""


def start(role: str, config: Path) -> subprocess.Popen[bytes]:
    """One role as a process; what it prints goes to ROLE.log beside its configuration."""
    command = "dealer" if role == "dealer" else "party"
    words = [*_ALONE, sys.executable, "-m", "cipherformer", command, "--config", str(config)]
    with config.with_suffix(".log").open("wb") as log:
        return subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)


def finish(
    processes: Mapping[str, subprocess.Popen[bytes]],
    work: Path,
    limit_s: float,
    on_token: Callable[[int, int], None] = lambda prompt, token: None,
) -> None:
    """Waits for all; ends what is left when one fails.

    Raises:
        ProtocolError: says what the role that failed first printed.
    """
    deadline, told = time.monotonic() + limit_s, 0
    try:
        running = True
        while running:
            running = any(process.poll() is None for process in processes.values())
            told = _tell(work / "client.log", told, on_token)
            if any(process.poll() for process in processes.values()):
                time.sleep(1.0)  # the others hear why, and print it
                break
            if time.monotonic() > deadline:
                raise ProtocolError(f"no answer within {limit_s:.0f} s", where=str(work))
            time.sleep(0.02)
    finally:
        for process in processes.values():
            if process.poll() is None:
                process.terminate()
            process.wait()
    failed = [role for role in reversed(_ORDER) if processes[role].returncode]
    if failed:
        texts = [f"{role}: {(work / role).with_suffix('.log').read_text()[-800:]}" for role in failed]
        raise ProtocolError(f"the {failed[0]} failed", where=str(work), why="\n".join(texts))


def through(client: Path, network: Shape, **faults: Fault) -> Relay:
    """A relay that the client of a configuration takes for the server."""
    config = json.loads(client.read_text())
    relay = Relay(Address.parse(config["server"]), network, **faults)
    client.write_text(json.dumps({**config, "server": str(relay.address)}, indent=2))
    return relay


def _tell(log: Path, told: int, on_token: Callable[[int, int], None]) -> int:
    """Passes on the tokens in a client's log but for those told already."""
    lines = log.read_text().split("\n")[:-1] if log.exists() else []
    found = [line.split()[1:] for line in lines if line.startswith("token ")]
    for prompt, token in found[told:]:
        on_token(int(prompt), int(token))
    return len(found)


def run_locally(
    model: Compiled | Chain,
    inputs: Mapping[str, NDArray[Any]],
    work: Path,
    *,
    silence_s: float = 10.0,
    limit_s: float = 3600.0,
    generation: Generation | None = None,
    network: Shape | None = None,
    epochs: Path | None = None,
) -> LocalRun:
    """Asks a model in private, three processes on this machine.

    Args:
        model: compiled.
        inputs: [n, ...] for each input, or `tokens` [n, L] for generation.
        work: an empty folder for keys, program and reports.
        silence_s: after which a silent role counts as dead.
        limit_s: after which all are ended.
        generation: of tokens, for a chain; the only output is then `tokens` [n, count].
        network: between client and server; None is this machine's own.
        epochs: folder in which the parties keep masked weights for other runs.

    Raises:
        ProtocolError: if a role fails.
    """
    configs = prepare(model, inputs, work, silence_s=silence_s, generation=generation, epochs=epochs)
    on_token = generation.on_token if generation else lambda prompt, token: None
    with contextlib.ExitStack() as stack:
        if network:
            stack.enter_context(through(configs["client"], network))
        processes = {role: start(role, configs[role]) for role in _ORDER}
        finish(processes, work, limit_s, on_token)
    with np.load(work / "client" / "output.npz", allow_pickle=False) as content:
        outputs = [content[name] for name in content.files]
    reports = {role: json.loads((work / role / "report.json").read_text()) for role in ROLES}
    return LocalRun(outputs, reports)
