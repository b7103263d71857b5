"""Two parties on shares and `fixed` on the same masks agree bit for bit; a program's declared cost is that
of a run.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import attention_graph, samples

from cipherformer.backends import exact, fixed
from cipherformer.backends.mpc2.additive import on_shares
from cipherformer.backends.mpc2.build import build
from cipherformer.backends.mpc2.compile import Compiled
from cipherformer.backends.mpc2.dealer import Seeds, insecure_tape
from cipherformer.backends.mpc2.insecure_local import insecure_run
from cipherformer.backends.mpc2.party import SETUP_ROUND
from cipherformer.backends.mpc2.prg import fresh_seed
from cipherformer.backends.mpc2.program import Program, Step
from cipherformer.backends.mpc2.protocols import cost
from cipherformer.graph import Graph
from cipherformer.graph.rewrite import GraphBuilder
from cipherformer.ops.ring_published import SETS

few = settings(max_examples=12, deadline=None, derandomize=True)


def agree(graph: Graph, inputs: list[dict[str, np.ndarray]], *, error: float, **options: str) -> None:
    """Bits as `fixed`, values as float64 within `error`, bytes and rounds as declared."""
    built = build(graph, inputs, **options)
    program, seeds = built.compiled.program, Seeds(fresh_seed(), fresh_seed())
    declared = cost(program)
    for number, sample in enumerate(inputs[:2]):
        version = f"query {number}".encode()
        run = insecure_run(built.compiled, sample, seeds=seeds, version=version)
        plain = fixed.run(built.placement, sample, masks=insecure_tape(program, seeds, version))
        wanted = exact.run(graph, sample)
        for integers, name, old in zip(
            run.integers, built.placement.graph.outputs, graph.outputs, strict=True
        ):
            scale = 2.0 ** built.placement.frac_bits[name]
            assert np.array_equal(integers, np.rint(plain.values[name] * scale))
            assert np.max(np.abs(integers / scale - wanted[old])) <= error
        server, client = run.usage
        assert (server.rounds, client.rounds) == (declared.rounds, declared.rounds)
        assert sum(server.sent.values()) == declared.server_bytes
        assert sum(client.sent.values()) == declared.client_bytes
        assert run.dealt_bytes == declared.dealt_bytes
        turns = range(SETUP_ROUND, SETUP_ROUND - len(program.of("weight")), -1)
        setup = sum(len(link.received.get(turn, b"")) for link in run.links for turn in turns)
        assert setup == declared.setup_bytes


Make = Callable[[GraphBuilder, str, np.random.Generator], str]


def _weight(g: GraphBuilder, rng: np.random.Generator, *shape: int) -> str:
    return g.constant(rng.normal(size=shape))


CONV = {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2), "groups": 2}
OPS: dict[str, tuple[tuple[int, ...], Make, float]] = {
    "linear": ((1, 3, 8), lambda g, x, r: g.emit("linear", x, _weight(g, r, 5, 8), _weight(g, r, 5)), 4e-4),
    "linear twice": (
        (1, 8),
        lambda g, x, r: g.emit("linear", g.emit("linear", x, _weight(g, r, 5, 8)), _weight(g, r, 4, 5)),
        2e-3,
    ),
    "matmul": ((1, 3, 4), lambda g, x, r: g.emit("matmul", x, g.emit("permute", x, dims=(0, 2, 1))), 4e-4),
    "matmul from the left": ((1, 4, 3), lambda g, x, r: g.emit("matmul", _weight(g, r, 2, 4), x), 4e-4),
    "conv2d": (
        (1, 4, 6, 6),
        lambda g, x, r: g.emit("conv2d", x, _weight(g, r, 6, 2, 3, 2), _weight(g, r, 6), **CONV),
        1e-3,
    ),
    "mul": ((2, 3), lambda g, x, r: g.emit("mul", x, x), 4e-4),
    "mul by weights": ((2, 3), lambda g, x, r: g.emit("mul", x, _weight(g, r, 3)), 4e-4),
    "mul by a number": ((2, 3), lambda g, x, r: g.emit("mul", x, g.constant(0.3)), 4e-4),
    "sums": (
        (2, 3),
        lambda g, x, r: g.emit("sub", g.constant(1.0), g.emit("add", x, _weight(g, r, 3))),
        1e-4,
    ),
    "power": ((1, 4), lambda g, x, r: g.emit("power", x, exponent=6), 0.05),
    "mean": ((1, 4, 6), lambda g, x, r: g.emit("mean", x, dims=(2,), keepdim=True), 4e-4),
    "relu": ((1, 9), lambda g, x, r: g.emit("relu", x), 4e-5),
    "largest": ((2, 7), lambda g, x, r: g.emit("largest", x, dim=1), 4e-5),
    "softmax": ((2, 6), lambda g, x, r: g.emit("softmax", x, dim=1), 1e-3),
    "two_quad": ((2, 6), lambda g, x, r: g.emit("two_quad", x, offset=5.0, dim=1), 1e-3),
    "power_softmax": (
        (2, 6),
        lambda g, x, r: g.emit("power_softmax", x, exponent=4, epsilon=0.5, dim=1),
        2e-3,
    ),
    "layer_norm": ((2, 8), lambda g, x, r: g.emit("layer_norm", x, axes=(1,), epsilon=1e-5), 3e-3),
    "gelu": ((2, 8), lambda g, x, r: g.emit("gelu", x, approximate="none"), 1e-3),
    "silu": ((2, 8), lambda g, x, r: g.emit("silu", x), 1e-3),
    "tanh": ((2, 8), lambda g, x, r: g.emit("tanh", x), 1e-3),
    "sigmoid": ((2, 8), lambda g, x, r: g.emit("sigmoid", x), 1e-3),
    "exp": ((2, 8), lambda g, x, r: g.emit("exp", x), 2e-2),
}


@few
@pytest.mark.parametrize("name", sorted(OPS))
@given(seed=st.integers(0, 10**6))
def test_each_operation(name: str, seed: int):
    shape, make, error = OPS[name]
    rng = np.random.default_rng(seed)
    g = GraphBuilder(name)
    graph = g.finish(make(g, g.input("x", shape), rng))
    agree(graph, [{"x": rng.uniform(-2.0, 2.0, size=shape)} for _ in range(4)], error=error)


@pytest.mark.parametrize(
    "method", ["ring.masked", "ring", "ring.secformer", "ring.puma", "ring.shaft", "ring.crypten"]
)
def test_a_transformer(method: str):
    error = {"ring.secformer": 0.1, "ring.puma": 0.1, "ring.shaft": 0.03}.get(method, 5e-3)
    agree(attention_graph(4, 8, 2), samples((1, 4, 3)), method=method, error=error)


@pytest.mark.parametrize("name", sorted(OPS))
def test_each_operation_on_additive_shares(name: str):
    shape, make, error = OPS[name]
    rng = np.random.default_rng(0)
    g = GraphBuilder(name)
    graph = g.finish(make(g, g.input("x", shape), rng))
    inputs = [{"x": rng.uniform(-2.0, 2.0, size=shape)} for _ in range(4)]
    agree(graph, inputs, error=error, protocol="additive")


@pytest.mark.parametrize("policy", ["every", "lazy", "optimal"])
@pytest.mark.parametrize("method", ["ring.masked", "ring"])
def test_a_transformer_on_additive_shares(method: str, policy: str):
    graph = attention_graph(4, 8, 2)
    agree(graph, samples((1, 4, 3)), method=method, policy=policy, protocol="additive", error=5e-3)


@pytest.mark.parametrize("name", sorted(SETS))
def test_published_sets_on_additive_shares(name: str):
    error = {"secformer": 0.06, "puma": 0.06, "shaft": 0.03, "crypten": 0.03}[name]
    agree(attention_graph(4, 8, 2), samples((1, 4, 3)), protocol=name, error=error)


@pytest.mark.parametrize("name, period, waves", [("secformer", 16, 7), ("shaft", 8, 8)])
def test_published_sines_open_their_period_alone(name: str, period: int, waves: int):
    """The argument's other bits stay masked: opened over the whole ring they would leak."""
    g = GraphBuilder("gelu")
    graph = g.finish(g.emit("gelu", g.input("x", (64,)), approximate="none"))
    inputs = [{"x": np.random.default_rng(i).uniform(-6.0, 6.0, size=64)} for i in range(3)]
    agree(graph, inputs, protocol=name, error=2.1e-2)
    program = build(graph, inputs, protocol=name).compiled.program
    (sines,) = program.of("shares.fourier")
    opened = program.by_name()[sines.inputs[0]]
    assert opened.op == "open" and 2.0 ** (opened.width - sines.attrs["operand_bits"]) == period
    assert len(sines.attrs["sines"]) == waves


def test_fewer_truncations_cost_less_on_additive_shares():
    """There each is an opening: rounds and bytes fall with them, which is what `optimal` is for."""
    graph, inputs = attention_graph(4, 8, 2), samples((1, 4, 3))
    found = {}
    for policy in ("every", "optimal"):
        built = build(graph, inputs, policy=policy, protocol="additive")
        found[policy] = cost(built.compiled.program), built.placement.truncated_elements
    (every, many), (optimal, few_left) = found["every"], found["optimal"]
    assert few_left < many
    assert optimal.rounds < every.rounds and optimal.server_bytes < every.server_bytes


def test_truncation_on_shares_over_its_whole_range():
    """At most one unit from exact, up to the bound, where truncating each share alone would fail."""
    program = _one_truncation(bits=16)
    rng = np.random.default_rng(5)
    x = rng.integers(-(1 << 62), 1 << 62, size=4096)
    x[:4] = ((1 << 62) - 1, -(1 << 62), 0, -1)
    run = insecure_run(Compiled(program, {}), {"x": x.astype(object)})
    difference = run.integers[0] - (x >> 16)
    assert set(np.unique(difference)) == {0, 1}


def _one_truncation(bits: int) -> Program:
    steps = (
        Step("x", "input", (), (4096,), 64, 0),
        Step("t", "trunc", ("x",), (4096,), 64, 0, {"bits": bits}),
        Step("t.reveal", "reveal", ("t",), (4096,), 64, 0),
    )
    return on_shares(Program(steps, ("t.reveal",), {}, "one"))


def test_comparisons_of_wide_values():
    """More than 25 bits are compared in two levels."""
    g = GraphBuilder("wide")
    graph = g.finish(g.emit("relu", g.input("x", (64,))))
    rng = np.random.default_rng(0)
    inputs = [
        {"x": rng.uniform(-1.0, 1.0, size=64) * 2.0 ** rng.integers(-15, 30, size=64)} for _ in range(3)
    ]
    agree(graph, inputs, error=1e-4)
