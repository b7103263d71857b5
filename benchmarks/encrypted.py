"""Models of real size under CKKS: how each is made and measured, for `python -m benchmarks.models --case`."""

from __future__ import annotations

import resource
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

import cipherformer as cf
from benchmarks.bert_shapes import SHAPES, embeddings, private_bert
from benchmarks.converted import cifar_images, converted, finished, keyword_clips
from cipherformer.backends.ckks.client import ClientKeys
from cipherformer.compiler import Options, compile_ckks
from cipherformer.plan.estimate import estimate
from cipherformer.report.categories import categories
from cipherformer.report.page import predicted_records

CALIBRATED_ON = 8
IMAGES = 64
"""Training images that a CNN's ranges are taken from."""
CLIPS = 96
"""Training clips that the keyword transformer's ranges are taken from."""


@dataclass(frozen=True)
class Asked:
    """What a case is to be.

    Args:
        count: inputs.
        bootstrap: name of a bootstrapping set, or `auto`.
        data: folder of the real data.
        converted: folder of conversions, as `benchmarks.training` leaves them.
    """

    count: int
    bootstrap: str
    data: Path
    converted: Path

    @property
    def options(self) -> Options:
        """Of the compilation."""
        return Options(log_n=16, bootstrap=self.bootstrap)


Case = Callable[[Asked], tuple[cf.Plan, NDArray[np.float64]]]
"""The plan and inputs [n, ...]."""


def _bert(name: str) -> Case:
    def made(asked: Asked) -> tuple[cf.Plan, NDArray[np.float64]]:
        model, samples = private_bert(name), embeddings(name, CALIBRATED_ON)
        plan = compile_ckks(model, samples, name=name, options=asked.options)
        return plan, embeddings(name, asked.count, seed=9)

    return made


def _resnet20(asked: Asked) -> tuple[cf.Plan, NDArray[np.float64]]:
    """Real weights in private form, and test images."""
    model = converted("cifar-cnn", "default", asked.data, asked.converted / "cifar-cnn-default-0")
    samples = cifar_images(asked.data, "train", IMAGES)
    plan = compile_ckks(model, samples, name="resnet20-cifar10", options=asked.options)
    return plan, cifar_images(asked.data, "test", asked.count)


def _kwt1(asked: Asked) -> tuple[cf.Plan, NDArray[np.float64]]:
    """Real weights in private form, and features of clips that nothing was trained or calibrated on."""
    folder = finished(asked.converted, "kwt1-default-0", "kwt1")
    model = converted("kwt1", "default", asked.data, folder)
    samples, clips = keyword_clips(asked.data, CLIPS, asked.count)
    plan = compile_ckks(model, samples, name="kwt1", options=asked.options)
    return plan, clips


CASES: dict[str, Case] = {
    **{name: _bert(name) for name in SHAPES},
    "resnet20-cifar10": _resnet20,
    "kwt1": _kwt1,
}


@dataclass(frozen=True)
class Limits:
    """Threads of a server, and what it may hold in memory; keys beyond it wait in files of `folder`."""

    threads: int
    weight_bytes: int
    key_bytes: int | None
    folder: Path


def ready(plan: cf.Plan, limits: Limits) -> tuple[ClientKeys, cf.Evaluation]:
    """A client's keys, and a server that has the public ones."""
    keys = cf.generate_keys(plan.signature, threads=limits.threads)
    server = cf.Evaluation(
        plan,
        threads=limits.threads,
        max_weight_bytes=limits.weight_bytes,
        max_key_bytes=limits.key_bytes,
    )
    for name, key in keys.evaluation_keys():
        if limits.key_bytes is None:
            server.add_key(name, key)
        else:
            file = limits.folder / f"{plan.name}-{name}.key"
            file.write_bytes(key)
            server.add_key(name, key, file.read_bytes)
    return keys, server


def held(server: cf.Evaluation, runs: int) -> dict[str, tuple[float, str]]:
    """Memory of weights and keys, and keys read from disk for one of so many runs."""
    return {
        "weight_bytes": (float(server.encoded.memory_bytes), "B"),
        "key_memory_bytes": (float(server.resident.peak_bytes), "B"),
        "keys_read": (server.resident.loads / runs, "1"),
    }


def measure_case(plan: cf.Plan, inputs: NDArray[np.float64], limits: Limits) -> dict[str, tuple[float, str]]:
    """Metrics with their units. The first evaluation encodes the weights and is not counted."""
    start = time.perf_counter()
    keys, server = ready(plan, limits)
    made = time.perf_counter() - start
    server.run(keys.encrypt(inputs[:1]))
    seconds, processor, errors, equal = [], [], [], []
    spent: Counter[str] = Counter()
    for x in inputs:
        query = keys.encrypt(x[None])
        start, used = time.perf_counter(), time.process_time()
        answer, trace = server.run(query)
        seconds.append(time.perf_counter() - start)
        processor.append(time.process_time() - used)
        found, expected = keys.decrypt(answer), cf.reference(plan, x[None])
        errors.append(float(np.abs(found - expected).max()))
        equal.append(int(found.argmax()) == int(expected.argmax()))
        spent.update(categories(plan.steps, trace.records))
    cost = estimate(plan, threads=limits.threads)
    foreseen = categories(plan.steps, predicted_records(plan.steps, cost))
    return {
        "seconds": (median(seconds), "s"),
        "predicted_seconds": (cost.seconds, "s"),
        "seconds_processor": (median(processor), "s"),
        "peak_memory_bytes": (float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024), "B"),
        "max_logit_error": (max(errors), "1"),
        "agreement": (float(np.mean(equal)), "1"),
        "seconds_keys": (made, "s"),
        "key_bytes": (float(cost.key_upload_bytes), "B"),
        **held(server, len(inputs) + 1),
        **{f"seconds: {name}": (value / len(inputs), "s") for name, value in spent.items()},
        **{f"predicted_seconds: {name}": (value, "s") for name, value in foreseen.items()},
    }
