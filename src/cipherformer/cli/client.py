"""`keygen` and `query`: the client's side of an encrypted run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from rich.console import Console

from cipherformer.cli import model as models
from cipherformer.cli.build import SIGNATURE_FILE
from cipherformer.cli.output import console_for, json_option, print_table, progress_bar, write_json
from cipherformer.cli.server import DEFAULT_ADDRESS, FOLDER, NEW_FILE, NEW_FOLDER
from cipherformer.plan.signature import Signature
from cipherformer.report.table import Table, show_bytes, show_seconds, summary_table
from cipherformer.serve import keys as key_folders
from cipherformer.serve.memory import peak_memory_bytes

if TYPE_CHECKING:
    from cipherformer.serve.client import Answer, Client

quiet_option = click.option("-q", "--quiet", is_flag=True, help="Print no table.")


@click.command()
@click.argument("signature", type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--out", type=NEW_FOLDER, required=True, help="Folder for the keys.")
@click.option(
    "--insecure", is_flag=True, help="Accept parameters below 128 bits of security. For tests only."
)
@quiet_option
@json_option
def keygen(signature: Path, out: Path, insecure: bool, quiet: bool, json_path: str | None) -> None:
    """Make a client's keys for a plan.

    SIGNATURE is the plan's signature.json, or the folder that holds it. The secret key is written to
    OUT/secret.key with mode 0600 and never leaves that folder; the evaluation keys beside it are public, and
    `query` sends them.
    """
    from cipherformer.serve.ckks_client import make_keys

    console = console_for(json_path)
    plan = Signature.load(signature / SIGNATURE_FILE if signature.is_dir() else signature)
    start = time.perf_counter()
    with progress_bar(console) as progress:
        task = progress.add_task("making keys", total=len(plan.keys))
        made = make_keys(plan, out, insecure=insecure, on_key=lambda name, size: progress.advance(task))
    record = {
        "client": made.manifest.client,
        "plan": plan.fingerprint,
        "evaluation_keys": len(made.manifest.entries),
        "key_bytes": made.manifest.size,
        "security_bits": plan.target.security_bits,
        "seconds": time.perf_counter() - start,
        "peak_memory_bytes": peak_memory_bytes(),
    }
    if not quiet:
        print_table(console, summary_table(f"Keys in {out}", record))
    write_json(record, json_path)


@click.command()
@click.argument("keys", type=FOLDER)
@click.option("-c", "--connect", "address", default=DEFAULT_ADDRESS, show_default=True, help="Of the server.")
@click.option(
    "-i",
    "--input",
    "input_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="A .npy file with one input, or with several along the first axis.",
)
@click.option("-o", "--out", type=NEW_FILE, help="File for the answers, a .npy array [n, ...].")
@click.option("-n", "--count", type=click.IntRange(1), help="Ask only the first COUNT inputs.")
@click.option(
    "--release-bits",
    type=click.IntRange(0, 40),
    help="Round answers to multiples of 2^-BITS: do so if anybody but you will see them (see SECURITY.md).",
)
@click.option(
    "--reconnect",
    "reconnect_s",
    type=click.FloatRange(0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Look for a server that long when a connection drops; a query goes on meanwhile.",
)
@quiet_option
@json_option
def query(
    keys: Path,
    address: str,
    input_path: Path,
    out: Path | None,
    count: int | None,
    release_bits: int | None,
    reconnect_s: float,
    quiet: bool,
    json_path: str | None,
) -> None:
    """Encrypt inputs, have them answered by a server, and decrypt the answers.

    KEYS is a folder made by `keygen`. Evaluation keys that the server lacks are sent first, once. Interrupted
    (Ctrl-C), it tells the server to give the query up.
    """
    console = console_for(json_path)
    folder = key_folders.load(keys)
    signature = Signature.from_json(folder.signature)
    inputs = models.read_samples(input_path, {spec.source: spec.shape for spec in signature.inputs})[:count]
    for x in inputs:
        signature.pack(x)  # refuse bad input before any key is sent
    start = time.perf_counter()
    answers, key_bytes = _ask(console, address, folder, inputs, reconnect_s)
    if release_bits is not None:
        from cipherformer.backends.ckks.client import release

        answers = [replace(a, output=release(a.output, release_bits)) for a in answers]
    record: dict[str, Any] = {
        "plan": signature.fingerprint,
        "answers": [{**asdict(answer), "output": answer.output.tolist()} for answer in answers],
        "key_bytes_sent": key_bytes,
        "seconds": time.perf_counter() - start,
        "peak_memory_client_bytes": peak_memory_bytes(),
        "peak_memory_server_bytes": max(answer.peak_memory_server_bytes for answer in answers),
    }
    if out is not None:
        asked = sum(len(next(iter(x.values()))) for x in inputs)
        np.save(out, np.concatenate([answer.output for answer in answers])[:asked])
    if not quiet:
        print_table(console, _answers_table(answers))
    write_json(record, json_path)


def _ask(
    console: Console, address: str, folder: key_folders.KeyFolder, inputs: Sequence[Any], reconnect_s: float
) -> tuple[list[Answer], int]:
    """All answers, and the bytes of keys that were sent."""
    from cipherformer.serve.ckks_client import connect

    with progress_bar(console, counted=False) as progress:
        sending = progress.add_task("connecting", total=None)
        asking = progress.add_task("", total=None, visible=False)

        def show(phase: str, done: int, total: int, layer: str) -> None:
            if phase == "uploading keys":
                text = f"sending keys ({show_bytes(done)} of {show_bytes(total)})"
                progress.update(sending, description=text, completed=done, total=total)
            else:
                where = f", {layer or phase}" if layer or phase == "reconnecting" else ""
                text = f"asking {len(answers) + 1} of {len(inputs)}{where}"
                progress.update(asking, description=text, completed=done, total=total or None)

        client: Client
        answers: list[Answer] = []
        with connect(address, folder, on_progress=show, reconnect_s=reconnect_s) as client:
            progress.update(sending, visible=False)
            for number, x in enumerate(inputs, 1):
                text = f"asking {number} of {len(inputs)}"
                progress.reset(asking, description=text, total=None, visible=True)
                answers.append(client.ask(x))
            return answers, client.key_bytes_sent


def _answers_table(answers: Sequence[Answer]) -> Table:
    """The largest values of each answer, and what it cost."""
    rows = []
    for number, answer in enumerate(answers):
        flat = answer.output.reshape(-1)
        best = np.argsort(flat)[::-1][:3]
        largest = ", ".join(f"{index}: {flat[index]:.3f}" for index in best)
        costs = (show_seconds(answer.seconds), show_bytes(answer.bytes_up), show_bytes(answer.bytes_down))
        rows.append((str(number), largest, *costs))
    return Table("Answers", (">input", "largest values", ">time", ">sent", ">received"), tuple(rows))
