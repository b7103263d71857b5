"""Small models in the ring dialect, with inputs."""

from __future__ import annotations

import numpy as np
from small_models import attention_graph, convolutions, samples

from cipherformer.graph import Graph
from cipherformer.graph.rewrite import GraphBuilder
from cipherformer.passes.calibrate import calibrate
from cipherformer.passes.ring import to_ring


def model(name: str) -> tuple[Graph, dict[str, np.ndarray]]:
    match name:
        case "attention":
            graph, sample = attention_graph(8, 8, 2), samples((1, 8, 3))[0]
        case "convolutions":
            graph, sample = convolutions(2), samples((1, 1, 12, 12))[0]
        case "functions":
            rng = np.random.default_rng(1)
            build = GraphBuilder("functions")
            x = build.input("x", (1, 7, 33))
            weight, bias = (build.constant(rng.normal(size=s)) for s in ((21, 33), (21,)))
            y = build.emit("gelu", build.emit("linear", x, weight, bias), approximate="none")
            y = build.emit("layer_norm", y, epsilon=1e-5, axes=(2,))
            mask = build.constant(np.tril(np.ones((7, 21))))
            y = build.emit("softmax", build.emit("mul", y, build.constant(3.0)), mask, dim=2)
            graph, sample = build.finish(y), {"x": rng.normal(size=(1, 7, 33))}
        case _:
            graph, sample = random_graph(int(name.removeprefix("random")))
            return graph, sample
    return to_ring(graph, [sample]).graph, sample


def random_graph(seed: int) -> tuple[Graph, dict[str, np.ndarray]]:
    """Elementwise work in many shapes that reads itself across sums, moves and look-ups."""
    rng = np.random.default_rng(seed)
    build = GraphBuilder("random")
    live = [build.input("x", (4, 6)), build.input("y", (4, 6))]
    for _ in range(int(rng.integers(5, 25))):
        a, b = (live[int(i)] for i in rng.integers(0, len(live), size=2))
        match int(rng.integers(0, 8)):
            case 0:
                new = build.emit("mul", a, b)
            case 1:
                new = build.emit("sub", a, build.emit("sum", b, dims=(1,), keepdim=True))
            case 2:
                new = build.emit("reshape", build.emit("add", a, b), shape=(1, 4, 6))
                new = build.emit("reshape", build.emit("neg", new), shape=(4, 6))
            case 3:
                table = tuple(map(float, rng.normal(size=8)))
                packed = build.emit("select", a, breaks=(-0.5, 0.1, 0.7), table=table)
                rows = [build.emit("slice", packed, dim=0, start=i, stop=i + 1, step=1) for i in (0, 1)]
                one, two = (build.emit("reshape", row, shape=(4, 6)) for row in rows)
                new = build.emit("add", build.emit("mul", b, one), two)
            case 4:
                halves = [build.emit("slice", a, dim=1, start=i, stop=i + 3, step=1) for i in (0, 3)]
                new = build.emit("concat", build.emit("mul", *halves), halves[0], dim=1)
            case 5:
                new = build.emit("matmul", a, build.emit("permute", b, dims=(1, 0)))
                new = build.emit("matmul", new, b)
            case 6:
                new = build.emit("select", a, breaks=(0.0,), table=(0.0, 1.0))
                new = build.emit("mul", new, a)
            case _:
                new = build.emit("add", a, build.constant(rng.normal(size=(6,))))
        live.append(build.emit("mul", new, build.constant(float(rng.choice([0.25, 0.1, -0.5])))))
    graph = build.finish(live[-1], live[-2])
    sample = {n.name: rng.normal(size=(4, 6)) for n in graph.inputs}
    return calibrate(graph, [sample]), sample
