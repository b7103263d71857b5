"""What two-party inference costs, dealer, server and client as processes on this machine, one thread each.

`python -m benchmarks.two_party [--case CASE ...] [--layers N] [--layer-cases] [--peers [--cheetah]]
[--json FILE]`. The cases `bert-...` are BERT's encoders with random weights and inputs, run whole; with
`--layers N` N layers run and are multiplied; records say so. The cases `layer-...` run one layer of BERT-base
on 128 tokens under other protocols: values held as masked wires or additive shares, truncations placed by a
policy, functions of published sets. `matmul` is the integer product of 128 x 768 by 768 x 3072, in the
process of the benchmark.
`--peers` times that layer here and in CrypTen and SPU (`benchmarks.two_party_peers`).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import two_party_peers
from cipherformer import __version__
from cipherformer import _native as native
from cipherformer.backends import exact
from cipherformer.backends.mpc2.build import build
from cipherformer.backends.mpc2.compile import Compiled
from cipherformer.backends.mpc2.protocols import cost
from cipherformer.cli.two_party import Network
from cipherformer.graph import Graph
from cipherformer.graph.rewrite import GraphBuilder
from cipherformer.report.machine import machine, today
from cipherformer.report.schema import BenchmarkRecord, replace_cases
from cipherformer.serve.two_party.local import run_locally
from cipherformer.serve.two_party.relay import Shape as Line

WIDTH, HEADS, INNER, TOKENS, LAYERS = 768, 12, 3072, 128, 12


@dataclass(frozen=True)
class Shape:
    """An encoder: `measured` of its layers are run unless more are asked for; `options` go to `build`."""

    layers: int
    width: int
    heads: int
    inner: int
    tokens: int
    two_quad: bool
    measured: int
    options: Mapping[str, str] = field(default_factory=dict)


BASE, LARGE = (LAYERS, WIDTH, HEADS, INNER), (24, 1024, 16, 4096)
SHAPES = {
    "bert-base-128": Shape(*BASE, 128, two_quad=False, measured=LAYERS),
    "bert-base-128-2quad": Shape(*BASE, 128, two_quad=True, measured=LAYERS),
    "bert-large-128-2quad": Shape(*LARGE, 128, two_quad=True, measured=LARGE[0]),
    "bert-base-512": Shape(*BASE, 512, two_quad=False, measured=LAYERS),
    "bert-base-512-2quad": Shape(*BASE, 512, two_quad=True, measured=LAYERS),
    "bert-large-512-2quad": Shape(*LARGE, 512, two_quad=True, measured=LARGE[0]),
}


def _layer(*, two_quad: bool = False, **options: str) -> Shape:
    return Shape(1, *BASE[1:], TOKENS, two_quad=two_quad, measured=1, options=options)


LAYER_CASES = {
    "layer-masked": _layer(),
    "layer-masked-optimal": _layer(policy="optimal"),
    "layer-additive": _layer(protocol="additive"),
    "layer-additive-optimal": _layer(protocol="additive", policy="optimal"),
    "layer-crypten": _layer(protocol="crypten"),
    "layer-crypten-optimal": _layer(protocol="crypten", policy="optimal"),
    "layer-secformer": _layer(protocol="secformer"),
    "layer-puma": _layer(protocol="puma"),
    "layer-shaft": _layer(protocol="shaft"),
    "layer-masked-2quad": _layer(two_quad=True),
    "layer-secformer-2quad": _layer(protocol="secformer", two_quad=True),
}
SHAPES |= LAYER_CASES
CASES = (*SHAPES, "matmul")
PEER_CASE, PEER_REPEATS = "bert-base-layer", 2
REPEATS = 9
UNITS = {"seconds": "s", "bytes": "B", "rounds": "1", "error": "1", "rate": "1/s"}


def encoder(
    layers: int, tokens: int, width: int, heads: int, inner: int, *, two_quad: bool, seed: int = 0
) -> Graph:
    """BERT's encoder: softmax or 2Quad attention, GELU, LayerNorm after each residual sum."""
    rng = np.random.default_rng(seed)
    g = GraphBuilder("encoder")
    x = g.input("x", (1, tokens, width))
    size = width // heads

    def linear(value: str, outputs: int, inputs: int) -> str:
        return g.emit("linear", value, g.constant(rng.normal(size=(outputs, inputs)) / np.sqrt(inputs)),
                      g.constant(rng.normal(size=outputs) * 0.02))  # fmt: skip

    def split(value: str) -> str:
        return g.emit("permute", g.emit("reshape", value, shape=(1, tokens, heads, size)), dims=(0, 2, 1, 3))

    def norm(value: str) -> str:
        gamma, beta = rng.normal(1.0, 0.1, size=width), rng.normal(0.0, 0.1, size=width)
        return g.emit("layer_norm", value, g.constant(gamma), g.constant(beta), axes=(2,), epsilon=1e-12)

    for layer in range(layers):
        g.origin = f"layer.{layer}.attention"
        q, k, v = (split(linear(x, width, width)) for _ in range(3))
        q = g.emit("mul", q, g.constant(size**-0.5))
        scores = g.emit("matmul", q, g.emit("permute", k, dims=(0, 1, 3, 2)))
        weights = (
            g.emit("two_quad", scores, offset=5.0, dim=3) if two_quad else g.emit("softmax", scores, dim=3)
        )
        mixed = g.emit("permute", g.emit("matmul", weights, v), dims=(0, 2, 1, 3))
        x = norm(g.emit("add", x, linear(g.emit("reshape", mixed, shape=(1, tokens, width)), width, width)))
        g.origin = f"layer.{layer}.feed_forward"
        inside = g.emit("gelu", linear(x, inner, width), approximate="none")
        x = norm(g.emit("add", x, linear(inside, width, inner)))
    return g.finish(x)


def encoder_metrics(shape: Shape, layers: int, network: Line | None = None) -> dict[str, float]:
    """The encoder's cost from three processes, extrapolated to all its layers; `network` is simulated."""
    sizes = (shape.tokens, shape.width, shape.heads, shape.inner)
    rng = np.random.default_rng(1)
    samples = [{"x": rng.normal(size=(1, shape.tokens, shape.width))} for _ in range(2)]
    graph = encoder(layers, *sizes, two_quad=shape.two_quad)
    wanted, compiled, truncated = _compiled(graph, samples, shape.options)
    del graph  # its floats, while the parties run
    with tempfile.TemporaryDirectory() as folder:
        run = run_locally(compiled, samples[0], Path(folder), silence_s=60.0, network=network)
    reports, factor = run.reports, shape.layers / layers
    sent = max(reports[role]["online_bytes"][0] for role in ("server", "client"))
    return {
        "online_seconds": reports["client"]["online_s"][0] * factor,
        "online_bytes_per_party": sent * factor,
        "rounds": (cost(compiled.program).rounds - 2) * factor + 2,
        "offline_seconds": reports["server"]["offline_s"][0] * factor,
        "offline_bytes": reports["dealer"]["dealt_bytes"][0] * factor,
        "setup_bytes": reports["server"]["setup_bytes"] * factor,
        "setup_seconds": reports["client"]["setup_s"],
        "peak_bytes": max(report["peak_bytes"] for report in reports.values()),
        "largest_error": float(np.max(np.abs(run.outputs[0] - wanted))),
        "truncated_elements": truncated * factor,
    }


def _compiled(
    graph: Graph, samples: list[dict[str, Any]], options: Mapping[str, str]
) -> tuple[NDArray[np.float64], Compiled, int]:
    """The plaintext answer to the first sample, the program, and how many elements it truncates."""
    built = build(graph, samples, **options)
    wanted = exact.run(graph, samples[0])[graph.outputs[0]]
    return wanted, built.compiled, built.placement.truncated_elements


def matmul_metrics() -> dict[str, float]:
    """Multiplications a second of the integer product."""
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 2**64, size=s, dtype=np.uint64) for s in ((TOKENS, WIDTH), (INNER, WIDTH)))
    times = []
    for _ in range(REPEATS):
        start = perf_counter()
        native.ring_matmul(a, b.T)
        times.append(perf_counter() - start)
    return {"seconds": float(np.median(times)), "multiplications_rate": TOKENS * WIDTH * INNER / min(times)}


def records(cases: list[str], layers: int | None, network: Line | None = None) -> Iterator[BenchmarkRecord]:
    """Everything measured, case by case."""
    for case in cases:
        if case == "matmul":
            metrics = matmul_metrics()
            parameters: dict[str, Any] = {"shape": [TOKENS, WIDTH, INNER]}
        else:
            shape = SHAPES[case]
            run = layers or shape.measured
            metrics = encoder_metrics(shape, run, network)
            parameters = {"layers_measured": run, "extrapolated_to_layers": shape.layers, "processes": 3}
            parameters |= dict(shape.options)
            if network:
                parameters |= {"one_way_seconds": network.delay_s, "bytes_per_second": network.bytes_per_s}
        for metric, value in metrics.items():
            unit = next((unit for word, unit in UNITS.items() if word in metric), "1")
            yield _record(case, metric, value, unit, parameters)


def peer_records(slow: bool) -> Iterator[BenchmarkRecord]:
    """One layer of `bert-base-128` here and in other libraries, the fastest of `PEER_REPEATS` times each."""
    graph = encoder(1, TOKENS, WIDTH, HEADS, INNER, two_quad=False)
    rng = np.random.default_rng(1)
    samples = [{"x": rng.normal(size=(1, TOKENS, WIDTH))} for _ in range(2)]
    wanted, compiled, _ = _compiled(graph, samples, {})
    questions = {"x": np.repeat(samples[0]["x"], PEER_REPEATS, axis=0)}
    with tempfile.TemporaryDirectory() as folder:
        run = run_locally(compiled, questions, Path(folder), silence_s=60.0)
    online, offline = min(run.reports["client"]["online_s"]), min(run.reports["server"]["offline_s"])
    error = np.abs(run.outputs[0][:1] - wanted)
    metrics = {
        "seconds": online + offline, "online_seconds": online, "offline_seconds": offline,
        "rounds": cost(compiled.program).rounds, "largest_error": np.max(error),
        "median_error": np.median(error),
    }  # fmt: skip
    yield from _of_a_layer("cipherformer", __version__, metrics, {"processes": 3})
    for found in two_party_peers.measure(graph, samples[0]["x"][0], wanted[0], HEADS, PEER_REPEATS, slow):
        if found.why:
            print(f"{found.peer.name} was not measured: {found.why}", flush=True)
        over = {
            f"{name}_over_cipherformer".removeprefix("seconds_"): found.metrics[name] / metrics[name]
            for name in ("seconds", "online_seconds")
            if name in found.metrics
        }
        parameters = {"protocol": found.peer.protocol, "processes": 2}
        yield from _of_a_layer(found.peer.name, found.version, {**found.metrics, **over}, parameters)


def _of_a_layer(
    subject: str, version: str, metrics: Mapping[str, Any], parameters: dict[str, Any]
) -> Iterator[BenchmarkRecord]:
    for metric, value in metrics.items():
        unit = "1" if "over" in metric else next((u for word, u in UNITS.items() if word in metric), "1")
        yield _record(PEER_CASE, metric, float(value), unit, parameters, subject, version)


def _record(
    case: str,
    metric: str,
    value: float,
    unit: str,
    parameters: dict[str, Any],
    subject: str = "cipherformer",
    version: str = __version__,
) -> BenchmarkRecord:
    return BenchmarkRecord(
        suite="two_party", case=case, subject=subject, version=version, metric=metric, value=value,
        unit=unit, threads=1, parameters=parameters, machine=machine(), date=today(),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", action="append", choices=CASES, help="default: all")
    parser.add_argument("--layers", type=int, choices=range(1, LARGE[0] + 1), help="that are run")
    parser.add_argument("--network", help="simulate MS,MBIT between the parties: round trip and bandwidth")
    parser.add_argument("--layer-cases", action="store_true", help="the cases layer-..., and no others")
    parser.add_argument("--peers", action="store_true", help="compare a layer; alone: nothing else")
    parser.add_argument(
        "--cheetah", action="store_true", help="with --peers: SPU without a dealer, too (minutes)"
    )
    parser.add_argument("--json", type=Path, help="write the records to a file; other cases there stay")
    options = parser.parse_args()
    wanted = [*(options.case or ()), *(LAYER_CASES if options.layer_cases else ())]
    network = Network().convert(options.network, None, None) if options.network else None
    found = []
    some = wanted or ([] if options.peers else list(CASES))
    peers = peer_records(options.cheetah) if options.peers else ()
    for record in chain(records(some, options.layers, network), peers):
        name = record.case if record.subject == "cipherformer" else f"{record.case} {record.subject}"
        print(f"{name:32} {record.metric:32} {record.value:14.6g} {record.unit}", flush=True)
        found.append(record)
    if options.json:
        replace_cases(options.json, found)


if __name__ == "__main__":
    main()
