"""Every entry of the op table against its own promises, on random shapes and values."""

from __future__ import annotations

import numpy as np
import pytest
from cases import CASES, Case
from hypothesis import given, settings
from hypothesis import strategies as st

from cipherformer.backends import exact
from cipherformer.graph import Graph
from cipherformer.graph.rewrite import GraphBuilder
from cipherformer.graph.verify import check_attrs, verify
from cipherformer.ops import OPS, Composite, ErrorBudget, Primitive
from cipherformer.passes.approximate import approximate
from cipherformer.passes.calibrate import calibrate
from cipherformer.passes.lower import lower

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=12, deadline=None, derandomize=True)
LEAVES = {"input", "constant"}
LOWERED = [name for name in CASES if isinstance(OPS[name], Composite) and "ckks" in OPS[name].lowerings]
BUDGET = ErrorBudget(activation=0.02, max_degree=63, max_reciprocal_levels=64, max_reciprocal_ratio=1e9)


def case_of(name: str, seed: int) -> Case:
    return CASES[name](np.random.default_rng(seed))


def graph_of(name: str, case: Case) -> tuple[Graph, dict[str, np.ndarray]]:
    build, inputs, names = GraphBuilder(name), {}, []
    for i, value in enumerate(case.operands):
        if i in case.public:
            names.append(build.constant(value, f"c{i}"))
        else:
            names.append(build.input(f"x{i}", value.shape))
            inputs[f"x{i}"] = value
    return build.finish(build.emit(name, *names, **case.attrs)), inputs


def test_every_op_has_a_case():
    assert set(CASES) | LEAVES == set(OPS)


@pytest.mark.parametrize("name", sorted(CASES))
@few
@given(seed=seeds)
def test_shape_rule_attributes_and_work(name: str, seed: int):
    case, op = case_of(name, seed), OPS[name]
    check_attrs(op, case.attrs)
    value = op.reference(list(case.operands), case.attrs)
    shapes = [v.shape for v in case.operands]
    assert op.shape(shapes, case.attrs) == value.shape
    assert value.dtype == np.float64
    assert op.work(shapes, value.shape, case.attrs) >= 0
    graph, inputs = graph_of(name, case)
    np.testing.assert_array_equal(exact.run(verify(graph), inputs)[graph.outputs[0]], value)


@pytest.mark.parametrize("name", sorted(CASES))
@few
@given(seed=seeds)
def test_linearity_rule(name: str, seed: int):
    """An op that claims to be affine in its secret operands has equal differences."""
    rng = np.random.default_rng(seed)
    case, op = case_of(name, seed), OPS[name]
    secret = [i not in case.public for i in range(len(case.operands))]
    if not op.affine(secret, case.attrs):
        return

    def at(step: list[np.ndarray], times: float) -> np.ndarray:
        moved = [
            v + times * s if hidden else v for v, s, hidden in zip(case.operands, step, secret, strict=True)
        ]
        return op.reference(moved, case.attrs)

    step = [rng.normal(size=v.shape) for v in case.operands]
    np.testing.assert_allclose(at(step, 2.0) - at(step, 1.0), at(step, 1.0) - at(step, 0.0), atol=1e-9)


@pytest.mark.parametrize("name", ["mul", "matmul"])
def test_products_are_affine_in_one_secret_only(name: str):
    op = OPS[name]
    assert op.affine([True, False], {})
    assert not op.affine([True, True], {})


@pytest.mark.parametrize("name", LOWERED)
@few
@given(seed=seeds)
def test_lowering_is_within_its_error(name: str, seed: int):
    case = case_of(name, seed)
    graph, inputs = graph_of(name, case)
    wanted = exact.run(graph, inputs)[graph.outputs[0]]
    if np.ptp(case.operands[0]) == 0.0:
        return  # one value spans no interval to fit on
    calibrated = calibrate(lower(graph), [inputs])
    low = verify(approximate(calibrated, BUDGET), "ckks.lowered")
    got = exact.run(low, inputs, lowered=True)[low.outputs[0]]
    op = OPS[name]
    assert isinstance(op, Composite)
    if op.elementwise:
        assert np.max(np.abs(got - wanted)) <= BUDGET.activation
    else:
        np.testing.assert_allclose(got, wanted, rtol=1.01 * BUDGET.reciprocal, atol=1e-12)


@few
@given(low=st.floats(1e-3, 10.0), ratio=st.floats(1.0, 100.0), error=st.floats(1e-6, 0.1))
def test_reciprocal_keeps_its_stated_error(low: float, ratio: float, error: float):
    from cipherformer.approx.goldschmidt import plan_reciprocal

    plan, op = plan_reciprocal(low, low * ratio, error), OPS["reciprocal"]
    attrs = {"low": low, "high": low * ratio, "iterations": plan.iterations, "relaxations": plan.relaxations}
    assert isinstance(op, Primitive)
    assert op.lowered is not None
    assert op.error is not None
    x = np.linspace(low, low * ratio, 2001)
    worst = float(np.max(np.abs(op.lowered([x], attrs) * x - 1.0)))
    assert worst <= op.error(attrs) + 1e-12
    assert op.error(attrs) <= error + 1e-12
