"""`backends.fixed` against Python's integers, in every carrier."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cipherformer.backends import fixed, tape
from cipherformer.backends.integers import Carrier, bilinear, divided, scaled, shifted, wrapped
from cipherformer.errors import LimitError, ParameterError
from cipherformer.graph import Graph
from cipherformer.graph.rewrite import GraphBuilder
from cipherformer.passes.calibrate import calibrate
from cipherformer.passes.ring import to_ring
from cipherformer.passes.truncate import place
from cipherformer.targets.ring import RingTarget, Truncation

few = settings(max_examples=40, deadline=None, derandomize=True)


def integers(bits: int, *shape: int, seed: int) -> np.ndarray:
    value = tape.draw(tape.key(seed, "values"), bits, shape).astype(object)
    return value - (1 << (bits - 1))


@few
@given(
    bits=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    seed=st.integers(0, 10**6),
    inner=st.integers(1, 9),
)
def test_products_are_exact(bits: tuple[int, int], seed: int, inner: int):
    a, b = integers(bits[0], 3, inner, seed=seed), integers(bits[1], inner, 2, seed=seed + 1)
    wanted = [[sum(a[i, k] * b[k, j] for k in range(inner)) for j in range(2)] for i in range(3)]
    for carrier in Carrier:
        got = bilinear(np.matmul, a, b, inner, carrier)
        assert [[int(v) for v in row] for row in got] == wanted


@few
@given(bits=st.integers(2, 120), by=st.integers(1, 100), seed=st.integers(0, 10**6))
def test_division_is_exact(bits: int, by: int, seed: int):
    value = integers(bits, 20, seed=seed)
    offset = tape.draw(tape.key(seed, "offsets"), by, (20,))
    got = divided(value, by, offset)
    assert [int(v) for v in got] == [(int(v) + int(o)) >> by for v, o in zip(value, offset, strict=True)]


@few
@given(bits=st.integers(2, 120), width=st.integers(16, 100), seed=st.integers(0, 10**6))
def test_wrapping_is_the_ring_s(bits: int, width: int, seed: int):
    value = integers(bits, 20, seed=seed)
    for got, v in zip(wrapped(value, width), value, strict=True):
        assert (int(got) - int(v)) % (1 << width) == 0
        assert -(1 << (width - 1)) <= int(got) < 1 << (width - 1)


@few
@given(x=st.floats(-1e6, 1e6), bits=st.integers(0, 60))
def test_encoding_is_within_half_a_unit(x: float, bits: int):
    code = int(scaled(np.array([x]), bits)[0])
    assert abs(Fraction(code, 2**bits) - Fraction(x)) <= Fraction(1, 2 ** (bits + 1))
    assert shifted(np.array([code], dtype=object), bits)[0] == float(Fraction(code, 2**bits))


def product_graph(seed: int = 0) -> tuple[Graph, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    build = GraphBuilder("products")
    x = build.input("x", (4, 6))
    y = build.emit("linear", x, build.constant(rng.normal(size=(5, 6))), build.constant(rng.normal(size=5)))
    z = build.emit("mul", y, y)
    out = build.emit("matmul", z, build.emit("permute", y, dims=(1, 0)))
    sample = {"x": rng.normal(size=(4, 6))}
    return calibrate(build.finish(build.emit("sum", out, dims=(1,), keepdim=False)), [sample]), sample


def big_integers(placement, sample) -> dict[str, np.ndarray]:
    """The placed graph by Python's integers alone, with rounding to nearest."""
    values: dict[str, np.ndarray] = {}
    bits = placement.frac_bits
    for node in placement.graph.nodes:
        of = [values[n] for n in node.inputs]
        match node.op:
            case "input" | "constant":
                real = sample[node.name] if node.op == "input" else placement.graph.constants[node.name]
                value = np.vectorize(lambda v, s: round(Fraction(float(v)) * 2**s), otypes=[object])(
                    real, bits[node.name]
                )
            case "trunc":
                by = node.attrs["bits"]
                value = (of[0] + (1 << (by - 1))) >> by
            case "lift":
                value = of[0] << node.attrs["bits"]
            case "linear":
                value = of[0] @ of[1].T + of[2]
            case "mul":
                value = of[0] * of[1]
            case "matmul":
                value = of[0] @ of[1]
            case "permute":
                value = of[0].transpose(node.attrs["dims"])
            case "sum":
                value = of[0].sum(axis=node.attrs["dims"])
        values[node.name] = value
    return values


@pytest.mark.parametrize("width, frac_bits", [(64, 16), (64, 8), (96, 20), (128, 16), (128, 30)])
@pytest.mark.parametrize("policy", ["every", "lazy"])
@pytest.mark.parametrize("carrier", Carrier)
def test_a_run_equals_the_big_integer_reference(width: int, frac_bits: int, policy: str, carrier: Carrier):
    graph, sample = product_graph()
    placement = place(graph, RingTarget(width, frac_bits), policy)
    got = fixed.run(placement, sample, keep=True, carrier=carrier)
    for name, value in big_integers(placement, sample).items():
        wanted = np.vectorize(lambda v, s: float(Fraction(int(v), 2**s)), otypes=[np.float64])(
            value, placement.frac_bits[name]
        )
        np.testing.assert_array_equal(got.values[name], wanted, err_msg=name)


@few
@given(bits=st.integers(1, 70), seed=st.integers(0, 1000))
def test_probabilistic_truncation_is_one_unit_off_at_most_and_right_on_average(bits: int, seed: int):
    value = np.full(2000, int(integers(90, 1, seed=seed)[0]), dtype=object)
    got = divided(value, bits, tape.draw(tape.key(seed, "offsets"), bits, value.shape))
    exact = Fraction(int(value[0]), 1 << bits)
    assert all(-1 < int(v) - exact < 1 for v in got)
    assert abs(Fraction(sum(map(int, got)), 2000) - exact) < Fraction(1, 12)


@pytest.mark.parametrize("truncation", [Truncation.PROBABILISTIC, Truncation.TRUNCATE_REDUCE])
def test_probabilistic_runs_repeat_with_their_seed_and_stay_near_the_exact_one(truncation: Truncation):
    graph, sample = product_graph()
    exact = fixed.run(place(graph, RingTarget(64, 16), "every"), sample).values[graph.outputs[0]]
    placement = place(graph, RingTarget(64, 16, truncation=truncation), "every")
    runs = [fixed.run(placement, sample, seed=s).values[graph.outputs[0]] for s in (1, 1, 2)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.any(runs[0] != runs[2])
    np.testing.assert_allclose(runs[2], exact, atol=0.01)


def test_an_overflow_is_named_or_wraps():
    graph, sample = product_graph()
    placement = place(graph, RingTarget(64, 16), "every")
    large = {"x": sample["x"] * 2.0**16}
    with pytest.raises(LimitError, match="overflows the ring of 64 bits") as error:
        fixed.run(placement, large)
    assert "smallest ring that would do" in error.value.fix
    assert fixed.run(placement, large, wrap=True).overflows


def test_an_impossible_ring_is_refused():
    with pytest.raises(ParameterError, match="a ring of 12 bits"):
        RingTarget(12, 4)
    with pytest.raises(ParameterError, match="31 fraction bits"):
        RingTarget(32, 31)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), op=st.sampled_from(["softmax", "layer_norm", "gelu", "silu", "relu"]))
def test_functions_in_the_ring_are_near_the_reference(seed: int, op: str):
    rng = np.random.default_rng(seed)
    build = GraphBuilder(op)
    attrs = {
        "softmax": {"dim": 1},
        "layer_norm": {"axes": (1,), "epsilon": 1e-5},
        "gelu": {"approximate": "none"},
    }
    graph = build.finish(build.emit(op, build.input("x", (3, 17)), **attrs.get(op, {})))
    sample = {"x": rng.normal(size=(3, 17)) * rng.uniform(0.1, 8.0)}
    ring = to_ring(graph, [sample])
    from cipherformer.backends import exact

    wanted = exact.run(graph, sample)[graph.outputs[0]]
    for policy in ("every", "lazy"):
        placement = place(ring.graph, RingTarget(64, 16), policy)
        got = fixed.run(placement, sample).values[placement.graph.outputs[0]]
        np.testing.assert_allclose(got, wanted, atol=2e-3)
