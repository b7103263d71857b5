"""A plan of throughput mode under CKKS, measured on one batch, for `python -m benchmarks.models --case`."""

from __future__ import annotations

import resource
import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

import cipherformer as cf
from benchmarks.bert_shapes import embeddings, private_bert
from benchmarks.encrypted import Asked, Limits, held, ready
from cipherformer.compiler import compile_ckks
from cipherformer.plan.estimate import estimate
from cipherformer.report.categories import categories

CALIBRATED_ON = 64


def bert_batch(asked: Asked) -> tuple[cf.Plan, NDArray[np.float64]]:
    """BERT-Tiny's shape and a batch of inputs, within the calibrated range."""
    name = "bert-tiny-128"
    samples = embeddings(name, CALIBRATED_ON)
    options = replace(asked.options, mode="throughput")
    plan = compile_ckks(private_bert(name), samples, name=f"{name}-throughput", options=options)
    spec = plan.signature.inputs[0]
    return plan, np.clip(embeddings(name, plan.batch, seed=9), spec.low, spec.high)


def measure_batch(plan: cf.Plan, inputs: NDArray[np.float64], limits: Limits) -> dict[str, tuple[float, str]]:
    """Metrics with their units, of one query. Nothing is encoded before it."""
    start = time.perf_counter()
    keys, server = ready(plan, limits)
    made = time.perf_counter() - start
    query = keys.encrypt(inputs)
    start, used = time.perf_counter(), time.process_time()
    answer, trace = server.run(query)
    seconds, processor = time.perf_counter() - start, time.process_time() - used
    found, expected = keys.decrypt(answer), cf.reference(plan, inputs)
    cost = estimate(plan, threads=limits.threads)
    spent = categories(plan.steps, trace.records)
    return {
        "seconds_per_input": (seconds / plan.batch, "s"),
        "seconds": (seconds, "s"),
        "predicted_seconds": (cost.seconds, "s"),
        "seconds_processor": (processor, "s"),
        "peak_memory_bytes": (float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024), "B"),
        "max_logit_error": (float(np.abs(found - expected).max()), "1"),
        "agreement": (float(np.mean(found.argmax(-1) == expected.argmax(-1))), "1"),
        "seconds_keys": (made, "s"),
        "key_bytes": (float(cost.key_upload_bytes), "B"),
        "bytes_up": (float(sum(len(c) for c in query)), "B"),
        **held(server, 1),
        **{f"seconds: {name}": (value, "s") for name, value in spent.items()},
    }
