"""Graphs and rings for tests: exact structure at toy size, no security."""

from __future__ import annotations

import numpy as np

from cipherformer.graph import Graph
from cipherformer.graph.rewrite import GraphBuilder
from cipherformer.targets.ckks import CkksTarget
from cipherformer.targets.primes import generate_primes


def ring(log_n: int, levels: int = 20) -> CkksTarget:
    primes = generate_primes(log_n, [50] + [40] * levels + [50] * 3)
    return CkksTarget(log_n, primes[: levels + 1], primes[levels + 1 :], 3, 40, insecure=True)


def attention_graph(tokens: int, width: int, heads: int, seed: int = 0, blocks: int = 1) -> Graph:
    """Patches, positions, blocks of PowerSoftmax attention and an MLP, residual sums, mean pool, a head."""
    rng = np.random.default_rng(seed)
    g = GraphBuilder("attention")
    size = width // heads
    x = g.input("x", (1, tokens, 3))

    def weight(*shape: int) -> str:
        return g.constant(rng.normal(size=shape) / np.sqrt(shape[-1]))

    def split(value: str) -> str:
        return g.emit("permute", g.emit("reshape", value, shape=(1, tokens, heads, size)), dims=(0, 2, 1, 3))

    z = g.emit(
        "add", g.emit("linear", x, weight(width, 3)), g.constant(rng.normal(size=(1, tokens, width)) * 0.1)
    )
    for block in range(blocks):
        g.origin = f"blocks.{block}" if blocks > 1 else ""
        q, k, v = (split(g.emit("linear", z, weight(width, width))) for _ in range(3))
        scores = g.emit("matmul", g.emit("mul", q, g.constant(0.3)), g.emit("permute", k, dims=(0, 1, 3, 2)))
        weights = g.emit("power_softmax", scores, exponent=4, epsilon=0.1, dim=3)
        o = g.emit("permute", g.emit("matmul", weights, v), dims=(0, 2, 1, 3))
        y = g.emit(
            "add", z, g.emit("linear", g.emit("reshape", o, shape=(1, tokens, width)), weight(width, width))
        )
        h = g.emit("gelu", g.emit("linear", y, weight(2 * width, width)), approximate="none")
        z = g.emit("add", y, g.emit("linear", h, weight(width, 2 * width)))
    out = g.emit("linear", g.emit("mean", z, dims=(1,), keepdim=False), weight(5, width), weight(5))
    return g.finish(out)


def samples(shape: tuple[int, ...], count: int = 6) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(3)
    return [{"x": rng.uniform(-1, 1, size=shape)} for _ in range(count)]


def convolutions(stride: int) -> Graph:
    rng = np.random.default_rng(1)
    g = GraphBuilder("cnn")
    x = g.input("x", (1, 1, 12, 12))
    common = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
    h = g.emit(
        "conv2d", x, g.constant(rng.normal(size=(3, 1, 3, 3)) / 3), g.constant(rng.normal(size=3)), **common
    )
    h = g.emit("relu", h)
    h = g.emit("avg_pool2d", h, kernel=(2, 2), stride=(2, 2), padding=(0, 0))
    common |= {"stride": (stride, stride), "padding": (1, 1)}
    h = g.emit("conv2d", h, g.constant(rng.normal(size=(4, 3, 3, 3)) / 5), **common)
    h = g.emit("power", h, exponent=2)
    size = g.type_of(h).size
    return g.finish(
        g.emit("linear", g.emit("reshape", h, shape=(1, size)), g.constant(rng.normal(size=(6, size))))
    )


def deep_perceptron(blocks: int, width: int = 8, seed: int = 0) -> Graph:
    """Residual blocks x + W2 (W1 x)^2, then a head: three levels a block."""
    rng = np.random.default_rng(seed)
    g = GraphBuilder("deep")
    x = g.input("x", (1, width))

    def weight(rows: int, columns: int, size: float) -> str:
        return g.constant(rng.normal(size=(rows, columns)) * size / np.sqrt(columns))

    h = x
    for block in range(blocks):
        g.origin = f"blocks.{block}"
        inner = g.emit("power", g.emit("linear", h, weight(width, width, 0.7)), exponent=2)
        h = g.emit("add", h, g.emit("linear", inner, weight(width, width, 0.3)))
    return g.finish(g.emit("linear", h, weight(3, width, 1.0), g.constant(rng.normal(size=3))))


def two_branches(width: int = 8) -> Graph:
    """Two independent chains of squares that meet in a product."""
    rng = np.random.default_rng(5)
    g = GraphBuilder("branches")
    x = g.input("x", (1, width))
    ends = []
    for _ in range(2):
        h = x
        for _ in range(4):
            weight = g.constant(rng.normal(size=(width, width)) * 0.6 / np.sqrt(width))
            h = g.emit("power", g.emit("add", g.emit("linear", h, weight), g.constant(0.3)), exponent=2)
        ends.append(h)
    return g.finish(g.emit("mul", *ends))
