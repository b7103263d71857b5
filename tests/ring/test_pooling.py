"""Max pooling in a ring: windows, strides and padding, against the reference."""

from __future__ import annotations

import numpy as np
import pytest

from cipherformer.backends import exact, fixed
from cipherformer.graph.rewrite import GraphBuilder
from cipherformer.passes.ring import to_ring
from cipherformer.passes.truncate import place
from cipherformer.targets.ring import RingTarget


@pytest.mark.parametrize("kernel, stride, padding", [((2, 2), (2, 2), (0, 0)), ((3, 2), (2, 1), (1, 1))])
def test_max_pooling_equals_the_reference(
    kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
):
    build = GraphBuilder("pool")
    x = build.input("x", (1, 3, 7, 6))
    graph = build.finish(build.emit("max_pool2d", x, kernel=kernel, stride=stride, padding=padding))
    rng = np.random.default_rng(0)
    samples = [{"x": rng.normal(size=(1, 3, 7, 6)) - 2.0} for _ in range(2)]  # padding with 0 would win
    placement = place(to_ring(graph, samples).graph, RingTarget(64, 16, 1))
    for sample in samples:
        wanted = exact.run(graph, sample)[graph.outputs[0]]
        got = fixed.run(placement, sample).values[placement.graph.outputs[0]]
        np.testing.assert_allclose(got, wanted, atol=2.0**-16)
