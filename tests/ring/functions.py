"""The true error of a ring lowering, in exact arithmetic."""

from __future__ import annotations

import numpy as np

from cipherformer.backends import exact
from cipherformer.graph.rewrite import GraphBuilder
from cipherformer.ops import OPS
from cipherformer.passes.calibrate import calibrate
from cipherformer.passes.ring import approximate_ring


def true_error(name: str, op: str, low: float, high: float, kind: str) -> float:
    """Largest error of a set's lowering on a grid of its range."""
    x = np.geomspace(low, high, 8001) if low > 0.0 else np.linspace(low, high, 8001)
    build = GraphBuilder(op)
    attrs = {"approximate": "none"} if op == "gelu" else {}
    graph = build.finish(build.emit(op, build.input("x", x.shape), **attrs))
    calibrated = calibrate(graph, [{"x": x}], margin=0.0)
    ring, _ = approximate_ring(calibrated, "ring" if name == "default" else f"ring.{name}")
    error = np.abs(exact.run(ring, {"x": x})[ring.outputs[0]] - (wanted := OPS[op].reference([x], attrs)))
    return float(np.max(error / np.abs(wanted) if kind == "relative" else error))
