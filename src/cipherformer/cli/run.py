"""`keygen`, `serve` and `query`: the two sides of an encrypted run, each a process of its own."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import click
import numpy as np

from cipherformer.cli import model as models
from cipherformer.cli.build import SIGNATURE_FILE
from cipherformer.cli.output import console_for, json_option, print_table, progress_bar, write_json
from cipherformer.plan.plan import Plan
from cipherformer.plan.signature import Signature
from cipherformer.report.table import Table, show_bytes, show_seconds, summary_table
from cipherformer.serve.address import Address
from cipherformer.serve.interface import PlanFacts
from cipherformer.serve.memory import peak_memory_bytes

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("signature", type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Folder for the keys.")
@json_option
def keygen(signature: Path, out: Path, json_path: str | None) -> None:
    """Make a client's keys for a plan.

    SIGNATURE is the plan's signature.json, or the folder that holds it. The secret key is written to
    OUT/secret.key with mode 0600 and never leaves that folder; the evaluation keys beside it are public, and
    `query` sends them.
    """
    from cipherformer.backends.ckks.client import generate_keys
    from cipherformer.serve import keys as key_folders

    console = console_for(json_path)
    plan = Signature.load(signature / SIGNATURE_FILE if signature.is_dir() else signature)
    start = time.perf_counter()
    with progress_bar(console) as progress:
        task = progress.add_task("making keys", total=len(plan.keys))
        keys = generate_keys(plan)
        made = key_folders.create(
            out,
            signature=plan.to_json(),
            parameters=plan.parameters,
            save_secret=keys.save_secret,
            evaluation_keys=keys.evaluation_keys(),
            on_key=lambda name, size: progress.advance(task),
        )
    record = {
        "client": made.manifest.client,
        "plan": plan.fingerprint,
        "evaluation_keys": len(made.manifest.entries),
        "key_bytes": made.manifest.size,
        "security_bits": plan.target.security_bits,
        "seconds": time.perf_counter() - start,
        "peak_memory_bytes": peak_memory_bytes(),
    }
    print_table(console, summary_table(f"Keys in {out}", record))
    write_json(record, json_path)


@click.command()
@click.argument("plan", type=_FOLDER)
@click.option(
    "-l",
    "--listen",
    default="unix:cipherformer.sock",
    show_default=True,
    metavar="ADDRESS",
    help="unix:/path or tcp:host:port.",
)
@click.option(
    "-k",
    "--key-store",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("key-store"),
    show_default=True,
    help="Folder for the clients' evaluation keys.",
)
@click.option("-t", "--threads", type=click.IntRange(1, 256), default=2, show_default=True)
@click.option(
    "--max-key-gb",
    type=click.FloatRange(0.001, 1000),
    default=8.0,
    show_default=True,
    help="Largest sum of one client's evaluation keys.",
)
@click.option(
    "--max-clients",
    type=click.IntRange(1, 1000),
    default=16,
    show_default=True,
    help="Clients whose keys are kept on disk.",
)
@click.option(
    "--log",
    "log_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for the log, one JSON object a line; stderr without it.",
)
def serve(
    plan: Path,
    listen: str,
    key_store: Path,
    threads: int,
    max_key_gb: float,
    max_clients: int,
    log_path: Path | None,
) -> None:
    """Answer encrypted queries for the plan in folder PLAN.

    The server holds the plan, the weights and evaluation keys. It never sees an input, an answer or a secret
    key.
    """
    from cipherformer.backends.ckks.server import Evaluation
    from cipherformer.serve.server import Server, ServerOptions, json_log
    from cipherformer.serve.store import StoreLimits

    console = console_for("-")
    loaded = Plan.load(plan)
    with console.status("encoding weights"):
        first = Evaluation(loaded, threads=threads)
        first.prepare()
    options = ServerOptions(store=StoreLimits(client_bytes=int(max_key_gb * 1e9), clients=max_clients))
    log_file = log_path.open("a") if log_path else sys.stderr
    try:
        server = Server(
            Address.parse(listen),
            PlanFacts.of(loaded.signature),
            lambda: Evaluation(loaded, threads=threads, encoded=first.encoded),
            key_store,
            options=options,
            log=json_log(log_file),
        )

        def stop(number: int, frame: FrameType | None) -> None:
            server.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        if not server.address.is_local:
            console.print(
                "[yellow]this address is open to others: put an authenticated tunnel in front[/yellow]"
            )
        console.print(f"serving plan {loaded.name} ({loaded.fingerprint[:16]}) on {server.address}")
        server.serve_forever()
    finally:
        if log_path:
            log_file.close()


@click.command()
@click.argument("keys", type=_FOLDER)
@click.option(
    "-c", "--connect", "address", default="unix:cipherformer.sock", show_default=True, metavar="ADDRESS"
)
@click.option(
    "-i",
    "--input",
    "input_path",
    type=_FILE,
    required=True,
    help="A .npy file with one input, or with several along the first axis.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for the answers as a .npy array [n, ...].",
)
@click.option("-n", "--count", type=click.IntRange(1), help="Ask only the first COUNT inputs.")
@json_option
def query(
    keys: Path, address: str, input_path: Path, out: Path | None, count: int | None, json_path: str | None
) -> None:
    """Encrypt inputs, have them answered by a server, and decrypt the answers.

    KEYS is a folder made by `keygen`. Evaluation keys that the server lacks are sent first, once.
    """
    from cipherformer.serve import keys as key_folders

    console = console_for(json_path)
    folder = key_folders.load(keys)
    signature = Signature.from_json(folder.signature)
    inputs = models.read_samples(input_path, {spec.source: spec.shape for spec in signature.inputs})[:count]
    for x in inputs:
        signature.pack(x)  # refuse bad input before any key is sent
    start = time.perf_counter()
    answers, key_bytes, key_seconds = _ask(console, Address.parse(address), folder, signature, inputs)
    record: dict[str, Any] = {
        "plan": signature.fingerprint,
        "answers": [
            {
                "output": answer.output.tolist(),
                "seconds": answer.seconds,
                "seconds_encrypt": answer.seconds_encrypt,
                "seconds_server": answer.seconds_server,
                "seconds_decrypt": answer.seconds_decrypt,
                "bytes_up": answer.bytes_up,
                "bytes_down": answer.bytes_down,
                "trace": answer.trace,
            }
            for answer in answers
        ],
        "key_bytes_sent": key_bytes,
        "seconds_connect": key_seconds,
        "seconds": time.perf_counter() - start,
        "peak_memory_client_bytes": peak_memory_bytes(),
        "peak_memory_server_bytes": max(answer.peak_memory_server_bytes for answer in answers),
    }
    if out is not None:
        np.save(out, np.concatenate([answer.output for answer in answers]))
    print_table(console, _answers_table(answers))
    write_json(record, json_path)


def _ask(
    console: Any, address: Address, folder: Any, signature: Signature, inputs: list[Any]
) -> tuple[Any, int, float]:
    from cipherformer.backends.ckks.client import ClientKeys
    from cipherformer.serve.client import Client

    cipher = ClientKeys.load(signature, folder.secret_path)
    facts = PlanFacts.of(signature)
    start = time.perf_counter()
    with progress_bar(console, counted=False) as progress:
        sending = progress.add_task("connecting", total=None)
        asking = progress.add_task(f"asking 1/{len(inputs)}", total=None, visible=False)

        def show(phase: str, done: int, total: int) -> None:
            if phase == "uploading keys":
                text = f"sending keys ({show_bytes(done)} of {show_bytes(total)})"
                progress.update(sending, description=text, completed=done, total=total)
            else:
                progress.update(asking, completed=done, total=total or None)

        with Client(address, facts, folder, cipher, on_progress=show) as client:
            connected = time.perf_counter()
            progress.update(sending, visible=False)
            answers = []
            for number, x in enumerate(inputs, 1):
                progress.update(
                    asking, description=f"asking {number}/{len(inputs)}", completed=0, visible=True
                )
                answers.append(client.ask(x))
            return answers, client.key_bytes_sent, connected - start


def _answers_table(answers: list[Any]) -> Table:
    rows = []
    for number, answer in enumerate(answers):
        flat = answer.output.reshape(-1)
        best = np.argsort(flat)[::-1][:3]
        rows.append(
            (
                str(number),
                str(best[0]),
                ", ".join(f"{k}: {flat[k]:.3f}" for k in best),
                show_seconds(answer.seconds),
                show_bytes(answer.bytes_up),
                show_bytes(answer.bytes_down),
            )
        )
    return Table("Answers", (">input", ">largest", "values", ">time", ">sent", ">received"), tuple(rows))
