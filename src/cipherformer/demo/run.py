"""The demonstration: train, compile, start a server and a client, and compare what comes back."""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from cipherformer import __version__
from cipherformer.backends.ckks_sim import reference
from cipherformer.compiler import Options, compile_ckks
from cipherformer.demo.data import Split, load_digits_split
from cipherformer.demo.processes import client_process, server_process
from cipherformer.demo.train import Trained, train_baseline, train_private
from cipherformer.plan.plan import Plan
from cipherformer.report.machine import machine, today
from cipherformer.report.plot import plot_breakdown
from cipherformer.report.schema import DemoRecord, breakdown, write
from cipherformer.report.table import Table, breakdown_table, demo_table, images_table, summary_table
from cipherformer.serve.address import Address
from cipherformer.train import Progress as TrainingProgress

CALIBRATION_IMAGES = 256


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the user may choose.

    Args:
        out: folder for weights, plan, record and plot.
        images: encrypted test images.
        threads: of the server.
        retrain: train even if there are cached weights.
        keep_keys: keep the keys of the run in `out`.
    """

    out: Path
    images: int = 10
    threads: int = 2
    retrain: bool = False
    keep_keys: bool = False


def run_demo(options: DemoOptions, console: Console, show: Callable[[Table], None]) -> DemoRecord:
    """Runs the whole demonstration.

    1. trains the network with softmax and GELU, and its private form, or loads both;
    2. captures, calibrates and compiles the private form to a plan;
    3. starts a server process with the plan, and client processes that make keys and ask about test images;
    4. compares the decrypted answers with those of the plaintext polynomial model.

    Args:
        options: see `DemoOptions`.
        console: where the steps are told.
        show: prints a table.

    Returns:
        The record, which is also written to `out/demo.json`, with a plot of its breakdown beside it.

    Raises:
        CipherformerError: if a step fails.
    """
    start = time.perf_counter()
    options.out.mkdir(parents=True, exist_ok=True)
    split = load_digits_split()
    baseline, private = _train(split, options, console)
    plan = _compile(private, split, options, console)
    show(summary_table("Plan", plan.summary()))
    images = split.test_images[: options.images].double().numpy()
    with tempfile.TemporaryDirectory(prefix="cipherformer-") as work:
        keygen, asked = _ask(plan, images, options, Path(work), console)
    labels = split.test_labels.numpy()
    record = _record(plan, images, labels, baseline, private, keygen, asked, options, start)
    write(options.out / "demo.json", record)
    for table in (images_table(record.images), breakdown_table(record.breakdown), demo_table(record)):
        show(table)
    plot_breakdown(record.breakdown, options.out / "breakdown.png", title="Server time for one image")
    return record


def _train(split: Split, options: DemoOptions, console: Console) -> tuple[Trained, Trained]:
    """Both networks, with a progress bar each, and their accuracies."""
    cache = options.out / "weights"
    with _one_thread():
        with _bar(console, "training with softmax and GELU") as progress:
            baseline = train_baseline(split, cache, retrain=options.retrain, progress=progress)
        with _bar(console, "training the private form") as progress:
            private = train_private(split, baseline, cache, retrain=options.retrain, progress=progress)
    for name, trained in (("softmax and GELU", baseline), ("PowerSoftmax and polynomial", private)):
        how = "cached" if trained.cached else f"trained in {trained.seconds:.0f} s"
        images = len(split.test_labels)
        console.print(f"{name}: {trained.accuracy:.2%} of {images} held-out images are right ({how})")
    return baseline, private


def _compile(private: Trained, split: Split, options: DemoOptions, console: Console) -> Plan:
    samples = split.train_images[:CALIBRATION_IMAGES].double().numpy()
    with console.status("compiling"):
        plan = compile_ckks(private.model, samples, name="digits", options=Options(threads=options.threads))
        plan.save(options.out / "plan")
        plan.signature.save(options.out / "plan" / "signature.json")
    return plan


def _ask(
    plan: Plan, images: NDArray[np.float64], options: DemoOptions, work: Path, console: Console
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Server and client as processes; gives the records of the client's two commands.

    The socket and the server's store stand in `work`. The keys do too, unless they are to be kept.
    """
    keys = options.out / "keys" if options.keep_keys else work / "keys"
    shutil.rmtree(keys, ignore_errors=True)
    np.save(work / "images.npy", images)
    address = Address(path=str(work / "socket"))
    console.print("client process: makes the keys; the secret key stays with it")
    keygen = client_process(["keygen", options.out / "plan", "-o", keys, "-q"], work / "keygen.json")
    console.print("server process: holds plan, weights and evaluation keys")
    with server_process(options.out / "plan", work, address, threads=options.threads) as pid:
        console.print(
            f"server process {pid} listens on {address}; the client sends keys, then encrypted images"
        )
        words = ["query", keys, "--connect", address, "--input", work / "images.npy", "-q"]
        asked = client_process(words, work / "answers.json")
    return keygen, asked


def _record(
    plan: Plan,
    images: NDArray[np.float64],
    labels: NDArray[np.int64],
    baseline: Trained,
    private: Trained,
    keygen: dict[str, Any],
    asked: dict[str, Any],
    options: DemoOptions,
    start: float,
) -> DemoRecord:
    answers = asked["answers"]
    found = np.concatenate([np.asarray(answer["output"]) for answer in answers])
    expected = np.concatenate([reference(plan, image[None]) for image in images])
    error = np.abs(found - expected)
    trace = [item for answer in answers for item in answer["trace"]]
    return DemoRecord(
        version=__version__,
        date=today(),
        machine=machine(),
        threads=options.threads,
        plan={"fingerprint": plan.fingerprint, **plan.summary()},
        accuracy_private=private.accuracy,
        accuracy_baseline=baseline.accuracy,
        agreement=float(np.mean(found.argmax(1) == expected.argmax(1))),
        max_logit_error=float(error.max()),
        rms_logit_error=float(np.sqrt(np.mean(error**2))),
        precision_bits=math.log2(float(np.abs(expected).max() / error.max())),
        seconds_per_image=_mean(answer["seconds"] for answer in answers),
        seconds_server_per_image=_mean(answer["seconds_server"] for answer in answers),
        seconds_total=time.perf_counter() - start,
        security_bits=plan.target.security_bits,
        bytes_up=round(_mean(answer["bytes_up"] for answer in answers)),
        bytes_down=round(_mean(answer["bytes_down"] for answer in answers)),
        key_bytes=keygen["key_bytes"],
        peak_memory_client_bytes=max(keygen["peak_memory_bytes"], asked["peak_memory_client_bytes"]),
        peak_memory_server_bytes=asked["peak_memory_server_bytes"],
        images=[
            {
                "index": index,
                "label": int(labels[index]),
                "encrypted": int(found[index].argmax()),
                "plaintext": int(expected[index].argmax()),
                "max_error": float(error[index].max()),
                "seconds": answer["seconds"],
                "logits": found[index].tolist(),
            }
            for index, answer in enumerate(answers)
        ],
        breakdown=breakdown(trace, runs=len(answers)),
    )


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keeps torch to one thread: the network is so small that more only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _bar(console: Console, text: str) -> Iterator[Callable[[TrainingProgress], None]]:
    """A progress bar for a training run, which may turn out to be cached."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeElapsedColumn(),
    )
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task(text, total=None, loss="")

        def show(state: TrainingProgress) -> None:
            progress.update(task, completed=state.step, total=state.steps, loss=f"loss {state.loss:.3f}")

        yield show
