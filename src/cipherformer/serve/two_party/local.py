"""Dealer, server and client as three processes on this machine: real sockets, real TLS, keys of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.backends.mpc2.compile import Compiled
from cipherformer.errors import ProtocolError
from cipherformer.serve.address import Address, listen
from cipherformer.serve.two_party.config import ROLES, Config
from cipherformer.serve.two_party.folder import save
from cipherformer.serve.two_party.tls import CERTIFICATE, make_identity

_ORDER = ("dealer", "server", "client")


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
    compiled: Compiled, inputs: Mapping[str, NDArray[Any]], work: Path, *, silence_s: float
) -> dict[str, Path]:
    """Writes keys, program, weights, inputs and configurations.

    Args:
        compiled: the model.
        inputs: [n, ...] for each input of the model.
        work: folder to fill; one that is new or empty.
        silence_s: after which a silent role counts as dead.

    Returns:
        The configuration of each role.
    """
    save(compiled, work / "program", work / "server")
    for role in ROLES:
        make_identity(work / role, role)
    np.savez(work / "client" / "input.npz", **inputs)  # type: ignore[arg-type]
    addresses = {role: str(_free_address()) for role in ("server", "dealer")}
    configs = {}
    for role in ROLES:
        own: dict[str, str] = {} if role == "dealer" else {"journal": f"{role}/journal"}
        if role == "server":
            own["weights"] = "server"
        if role == "client":
            own |= {"input": "client/input.npz", "output": "client/output.npz"}
        config = Config(
            role=role,
            program="program",
            key=role,
            peers={other: f"{other}/{CERTIFICATE}" for other in ROLES if other != role},
            report=f"{role}/report.json",
            sessions=1,
            silence_s=silence_s,
            **addresses,
            **own,
        )
        configs[role] = work / f"{role}.json"
        config.save(configs[role])
    return configs


def _free_address() -> Address:
    listener, address = listen(Address(host="127.0.0.1", port=0))
    listener.close()
    return address


def start(role: str, config: Path) -> subprocess.Popen[bytes]:
    """One role as a process; what it prints goes to ROLE.log beside its configuration."""
    command = "dealer" if role == "dealer" else "party"
    words = [sys.executable, "-m", "cipherformer", command, "--config", str(config)]
    with config.with_suffix(".log").open("wb") as log:
        return subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)


def finish(processes: Mapping[str, subprocess.Popen[bytes]], work: Path, limit_s: float) -> None:
    """Waits for all; ends what is left when one fails.

    Raises:
        ProtocolError: says what the role that failed first printed.
    """
    deadline = time.monotonic() + limit_s
    try:
        while any(process.poll() is None for process in processes.values()):
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


def run_locally(
    compiled: Compiled,
    inputs: Mapping[str, NDArray[Any]],
    work: Path,
    *,
    silence_s: float = 10.0,
    limit_s: float = 3600.0,
) -> LocalRun:
    """Asks a model in private, three processes on this machine.

    Args:
        compiled: the model.
        inputs: [n, ...] for each input.
        work: an empty folder for keys, program and reports.
        silence_s: after which a silent role counts as dead.
        limit_s: after which all are ended.

    Raises:
        ProtocolError: if a role fails.
    """
    configs = prepare(compiled, inputs, work, silence_s=silence_s)
    processes = {role: start(role, configs[role]) for role in _ORDER}
    finish(processes, work, limit_s)
    with np.load(work / "client" / "output.npz", allow_pickle=False) as content:
        outputs = [content[name] for name in content.files]
    reports = {role: json.loads((work / role / "report.json").read_text()) for role in ROLES}
    return LocalRun(outputs, reports)
