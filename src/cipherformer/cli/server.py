"""`serve`: the server's side of an encrypted run."""

from __future__ import annotations

import contextlib
import signal
import sys
from pathlib import Path
from types import FrameType

import click

from cipherformer.cli.output import console_for
from cipherformer.plan.plan import Plan
from cipherformer.plan.weights import MAX_WEIGHT_BYTES

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
NEW_FOLDER = click.Path(file_okay=False, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, path_type=Path)
DEFAULT_ADDRESS = "unix:cipherformer.sock"


@click.command()
@click.argument("plan", type=FOLDER)
@click.option(
    "-l", "--listen", default=DEFAULT_ADDRESS, show_default=True, help="unix:/path or tcp:host:port."
)
@click.option(
    "-k", "--key-store", type=NEW_FOLDER, default="key-store", show_default=True, help="For clients' keys."
)
@click.option("-t", "--threads", type=click.IntRange(1, 256), default=2, show_default=True)
@click.option(
    "--max-key-gb", type=click.FloatRange(0.001, 1000), default=8.0, show_default=True, help="For one client."
)
@click.option(
    "--max-clients", type=click.IntRange(1, 1000), default=16, show_default=True, help="Whose keys are kept."
)
@click.option(
    "--max-weight-gb",
    type=click.FloatRange(0.001, 1000),
    default=MAX_WEIGHT_BYTES / 1e9,
    show_default="2.1",
    help="Of encoded weights in memory; beyond it the largest are kept compact, which costs time.",
)
@click.option(
    "--max-key-memory-gb",
    type=click.FloatRange(0.001, 1000),
    help="Of evaluation keys in memory; beyond it they are read from disk when a step needs them.",
)
@click.option(
    "--keep",
    "keep_s",
    type=click.FloatRange(0),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a query goes on, and its answer waits, after its connection has dropped.",
)
@click.option("--log", "log_path", type=NEW_FILE, help="File for the log, a JSON object a line; else stderr.")
def serve(
    plan: Path,
    listen: str,
    key_store: Path,
    threads: int,
    max_key_gb: float,
    max_clients: int,
    max_weight_gb: float,
    max_key_memory_gb: float | None,
    keep_s: float,
    log_path: Path | None,
) -> None:
    """Answer encrypted queries for the plan in folder PLAN.

    The server holds the plan, the weights and evaluation keys. It never sees an input, an answer or a secret
    key.
    """
    from cipherformer.serve.ckks_server import make_server
    from cipherformer.serve.server import ServerOptions, json_log
    from cipherformer.serve.store import StoreLimits

    console = console_for("-")
    loaded = Plan.load(plan)
    limits = StoreLimits(client_bytes=int(max_key_gb * 1e9), clients=max_clients)
    options = ServerOptions(store=limits, keep_s=keep_s)
    with contextlib.ExitStack() as stack:
        log = json_log(stack.enter_context(log_path.open("a")) if log_path else sys.stderr)
        with console.status("encoding weights"):
            server = make_server(
                loaded,
                listen,
                key_store,
                threads=threads,
                max_weight_bytes=int(max_weight_gb * 1e9),
                max_key_bytes=int(max_key_memory_gb * 1e9) if max_key_memory_gb else None,
                options=options,
                log=log,
            )

        def stop(number: int, frame: FrameType | None) -> None:
            server.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        if not server.address.is_local:
            console.print(
                "[yellow]others can reach this address: put an authenticated tunnel in front[/yellow]"
            )
        console.print(f"serving plan {loaded.name} ({loaded.fingerprint[:16]}) on {server.address}")
        server.serve_forever()
