"""Values beyond what calibration saw: answers become less exact, and stay answers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from small_models import attention_graph, samples

from cipherformer.approx import fourier
from cipherformer.backends import exact
from cipherformer.backends.mpc2.build import build
from cipherformer.backends.mpc2.insecure_local import insecure_run
from cipherformer.graph import Graph
from cipherformer.graph.rewrite import GraphBuilder

Floats = np.ndarray


@pytest.mark.parametrize(
    "function, low, high, even, right, error",
    [
        (np.tanh, -2.0, 6.0, False, True, 0.4),
        (np.exp, -10.0, 0.0, False, False, 0.03),
        (np.exp, -20.0, 0.0, False, False, 0.03),
        (lambda x: np.sqrt(1.0 + x * x), -8.0, 8.0, True, True, 0.3),
    ],
)
def test_waves_stay_near_the_function_beyond_the_ends(
    function: Callable[[Floats], Floats], low: float, high: float, even: bool, right: bool, error: float
):
    waves = fourier.fit(function, low, high, 2.0**-10, even=even, right=right)
    reach = 0.4 * (high - low)
    x = np.linspace(low - reach, high + reach * right, 400)
    angles = 2.0 * np.pi / 2.0**waves.log_period * np.outer(np.arange(1, len(waves.cosines) + 1), x)
    found = waves.constant + np.array(waves.cosines) @ np.cos(angles)
    if waves.sines:
        found += np.array(waves.sines) @ np.sin(angles)
    inside = (x >= low) & (x <= high)
    assert np.max(np.abs(found - function(x))[inside]) <= 2.0**-10
    assert np.max(np.abs(found - function(x))) <= error


def _of_x(op: str, **attrs: object) -> Graph:
    build_ = GraphBuilder(op)
    x = build_.input("x", (1, 4, 16))
    return build_.finish(build_.emit(op, x, **attrs))  # type: ignore[arg-type]


GRAPHS = {
    "gelu": (_of_x("gelu", approximate="none"), 0.3),
    "tanh": (_of_x("tanh"), 0.3),
    "softmax": (_of_x("softmax", dim=2), 0.02),
    "layer_norm": (_of_x("layer_norm", axes=(2,), epsilon=1e-5), 2e-3),
    "rms_norm": (_of_x("rms_norm", axes=(2,), epsilon=1e-5), 2e-3),
}


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("factor", [0.6, 1.6])
def test_an_unusual_question_has_a_bounded_error(name: str, factor: float):
    graph, error = GRAPHS[name]
    rng = np.random.default_rng(3)
    typical = [{"x": rng.uniform(-3.0, 3.0, size=(1, 4, 16))} for _ in range(4)]
    built = build(graph, typical)
    question = {"x": typical[0]["x"] * factor}
    run = insecure_run(built.compiled, question)
    scale = 2.0 ** built.compiled.program.by_name()[built.compiled.program.outputs[0]].frac_bits
    wanted = exact.run(graph, question)[graph.outputs[0]]
    assert np.max(np.abs(run.integers[0] / scale - wanted)) <= error


def test_a_layer_stands_a_tenth_more():
    """Powers of its scores double by that."""
    graph, typical = attention_graph(8, 8, 2), samples((1, 8, 3))
    built = build(graph, typical)
    question = {name: 1.1 * value for name, value in typical[0].items()}
    run = insecure_run(built.compiled, question)
    scale = 2.0 ** built.compiled.program.by_name()[built.compiled.program.outputs[0]].frac_bits
    wanted = exact.run(graph, question)[graph.outputs[0]]
    assert np.max(np.abs(run.integers[0] / scale - wanted)) <= 1e-3
