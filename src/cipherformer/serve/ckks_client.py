"""The client's side for CKKS: makes keys, and connects with them. Only this side holds a secret key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cipherformer.backends.ckks.client import ClientKeys, generate_keys
from cipherformer.plan.signature import Signature
from cipherformer.serve import keys as key_folders
from cipherformer.serve.address import Address
from cipherformer.serve.client import Client, OnProgress
from cipherformer.serve.interface import PlanFacts
from cipherformer.serve.keys import KeyFolder


def make_keys(
    signature: Signature,
    folder: str | Path,
    *,
    insecure: bool = False,
    threads: int = 1,
    on_key: Callable[[str, int], None] = lambda name, size: None,
) -> KeyFolder:
    """Makes a secret key and all evaluation keys of a plan in a new folder.

    Args:
        signature: of the plan.
        folder: see `cipherformer.serve.keys`; the secret key never leaves it.
        insecure: accept parameters below 128 bits of security. The signature comes from the server's side, so
            this is the client's own decision.
        threads: of the engine.
        on_key: called with name and size in bytes after each evaluation key.

    Raises:
        KeyMismatchError: if the folder holds keys already.
        ParameterError: if the parameters are not secure.
    """
    keys = generate_keys(signature, insecure=insecure, threads=threads)
    return key_folders.create(
        Path(folder),
        signature=signature.to_json(),
        parameters=signature.parameters,
        save_secret=keys.save_secret,
        evaluation_keys=keys.evaluation_keys(),
        on_key=on_key,
    )


def connect(
    address: str | Address,
    keys: str | Path | KeyFolder,
    *,
    on_progress: OnProgress = lambda phase, done, total, layer: None,
    silence_s: float = 10.0,
    reconnect_s: float = 60.0,
) -> Client:
    """Connects to a server and hands over the evaluation keys it lacks.

    Args:
        address: `unix:/path` or `tcp:host:port`.
        keys: folder made by `make_keys`.
        on_progress: called while keys are sent and while the server computes.
        silence_s: seconds without a sign of life after which the server counts as dead.
        reconnect_s: seconds for which a connection that drops under a query is sought again.

    Returns:
        A client; use it as a context manager, and call `ask` with one input.

    Raises:
        FormatError: if the folder is damaged.
        KeyMismatchError: if the keys do not fit each other.
        ProtocolError: if the server cannot be reached, or refuses.
    """
    where = address if isinstance(address, Address) else Address.parse(address)
    folder = keys if isinstance(keys, KeyFolder) else key_folders.load(Path(keys))
    signature = Signature.from_json(folder.signature)
    cipher = ClientKeys.load(signature, folder.secret_path)
    facts = PlanFacts.of(signature)
    return Client(
        where, facts, folder, cipher, on_progress=on_progress, silence_s=silence_s, reconnect_s=reconnect_s
    )
