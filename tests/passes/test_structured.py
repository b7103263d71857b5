"""Terms that carry axes, products spread over ciphertexts: exact on slots, encrypted as predicted."""

from __future__ import annotations

import numpy as np
import pytest
from small_models import attention_graph, ring, samples

from cipherformer.backends import ckks_sim
from cipherformer.backends.ckks.client import generate_keys
from cipherformer.backends.ckks.server import Evaluation
from cipherformer.compiler import Options, compile_graph
from cipherformer.errors import LimitError
from cipherformer.graph import Graph
from cipherformer.graph.rewrite import GraphBuilder
from cipherformer.kernels import linear
from cipherformer.kernels.layout import REPLICATED, Layout, row_major
from cipherformer.ops import ErrorBudget
from cipherformer.passes import regions as affine
from cipherformer.passes.carried import apply_term, carried_axes, small_matrix, sparse_matrix
from cipherformer.passes.regions import Term
from cipherformer.passes.structured import between, near_layout, term_routes
from cipherformer.plan.plan import Plan
from cipherformer.report.categories import categories

LOOSE = ErrorBudget(activation=0.1, max_reciprocal_ratio=100.0)
RNG = np.random.default_rng(0)


@pytest.fixture
def structured(monkeypatch):
    """Small terms are treated as large ones are."""
    monkeypatch.setattr(affine, "MAX_DENSE", 128)


def slots_of(x: np.ndarray, layout: Layout) -> np.ndarray:
    where = layout.slot_map()
    return np.where(where >= 0, x.reshape(-1)[where], 0.0)


def check(term: Term, shape: tuple[int, ...], source: Layout, target: Layout) -> linear.Routes:
    """The diagonals of a term do what its matrix does."""
    found = term_routes(term, shape, source, target)
    x = RNG.standard_normal(source.shape)
    before = slots_of(x, source)
    after = np.zeros(source.slots)
    for rotation, diagonal in found.diagonals().items():
        after += np.resize(diagonal, source.slots) * np.roll(before, -rotation)
    wanted = slots_of(apply_term(term.matrix, term.carried, x, shape), target)
    read = target.slot_map() >= 0
    assert np.allclose(after[read], wanted[read])
    return found


def test_carried_axes_are_found_from_values():
    w = RNG.standard_normal((6, 8))
    heads = lambda x: (x @ w.T).reshape(1, 5, 2, 3).transpose(0, 2, 3, 1)  # noqa: E731
    pairs = carried_axes(heads, (1, 5, 8), (1, 2, 3, 5))
    assert pairs == ((1, 3),)
    matrix = small_matrix(heads, (1, 5, 8), (1, 2, 3, 5), pairs)
    assert np.allclose(matrix, w)
    x = RNG.standard_normal((1, 5, 8))
    assert np.allclose(apply_term(matrix, pairs, x, (1, 2, 3, 5)), heads(x))
    scaled = lambda x: x * np.arange(1.0, 9.0)  # noqa: E731
    assert carried_axes(scaled, (1, 5, 8), (1, 5, 8)) == ((1, 1),)
    assert carried_axes(lambda x: x[:, ::-1], (1, 5, 8), (1, 5, 8)) == ((2, 2),)


def test_a_pooling_is_probed_where_it_differs():
    w = RNG.standard_normal((3, 8))
    seen = []

    def first(x):
        seen.append(0)
        return x[:, 0] @ w.T

    expected = np.zeros((3, 6, 8))
    expected[:, 0] = w
    assert np.allclose(sparse_matrix(first, (1, 6, 8), 3), expected.reshape(3, -1))
    assert len(seen) < 6 * 8
    mean = sparse_matrix(lambda x: x.mean(axis=1) @ w.T, (1, 6, 8), 3)
    assert np.allclose(mean, np.repeat(w[:, None] / 6, 6, axis=1).reshape(3, -1))


def test_a_layer_has_short_diagonals_whatever_the_tokens():
    source = row_major((1, 16, 8), 8)
    term = Term("x", RNG.standard_normal((8, 8)), ((1, 2),))
    target = near_layout(term, (1, 2, 16, 4), source)
    assert target.positions(2) == source.positions(1)
    found = check(term, (1, 2, 16, 4), source, target)
    rows = linear.make_transform("t", found.diagonals(), 256).diagonals
    assert rows.shape == (15, 8)


def test_a_padded_axis_is_written_out():
    source = row_major((1, 5, 4), 6)
    term = Term("x", RNG.standard_normal((4, 4)), ((1, 1),))
    check(term, (1, 5, 4), source, row_major((1, 5, 4), 6))


def test_a_transposition_in_two_steps_has_few_diagonals():
    have = row_major((1, 16, 16), 9)
    wanted = Layout((1, 16, 16), (*[(1, k) for k in range(4)], *[(2, k) for k in range(4)], REPLICATED))
    identity = Term("x", np.ones((1, 1)), ((1, 1), (2, 2)))
    middle = between(have, wanted)
    assert middle is not None
    steps = [check(identity, (1, 16, 16), *pair) for pair in ((have, middle), (middle, wanted))]
    whole = check(identity, (1, 16, 16), have, wanted)
    assert max(len(s.rotations()) for s in steps) <= 7 < len(whole.rotations())
    assert between(have, have) is None


def plan_of(tokens: int, width: int, heads: int, log_n: int) -> Plan:
    graph = attention_graph(tokens, width, heads)
    return compile_graph(graph, samples((1, tokens, 3)), Options(insecure_target=ring(log_n), budget=LOOSE))


@pytest.mark.parametrize(
    ("tokens", "width", "heads", "log_n"), [(16, 16, 2, 10), (16, 16, 1, 11), (8, 32, 2, 10), (12, 16, 2, 11)]
)
def test_a_block_larger_than_its_products_equals_its_graph(structured, tokens, width, heads, log_n):
    plan = plan_of(tokens, width, heads, log_n)
    spread = [s for s in plan.steps if s.kernel == "outer"]
    assert len(spread) == 2 and all(s.level_in - s.level == len(s.left) + 1 for s in spread)
    for sample in samples((1, tokens, 3), 2):
        exact = ckks_sim.run(plan, sample, seed=None).output
        assert np.allclose(exact, ckks_sim.reference(plan, sample), atol=1e-9)


def test_an_encrypted_block_is_as_counted_and_as_simulated(structured, tmp_path):
    plan = plan_of(16, 16, 2, 11)
    keys = generate_keys(plan.signature, insecure=True)
    server = Evaluation(plan, threads=1)
    for name, data in keys.evaluation_keys():
        server.add_key(name, data)
    assert server.missing_keys() == ()
    server.prepare()
    encoded = len(server.encoded.transforms)
    sample = samples((1, 16, 3), 1)[0]
    answer, trace = server.run(keys.encrypt(sample))
    assert len(server.encoded.transforms) == encoded, "something was encoded while it ran"
    spent = categories(plan.steps, trace.records)
    assert abs(sum(spent.values()) - sum(r.seconds for r in trace.records)) < 1e-9
    assert spent["ct-ct product"] > spent["attention normaliser"] > 0.0 == spent["bootstrapping"]
    error = keys.decrypt(answer) - ckks_sim.reference(plan, sample)
    assert np.sqrt(np.mean(error**2)) < 4 * plan.predicted_rms_error < 2**-20
    assert server.ledger.counts == plan.ledger.counts == ckks_sim.run(plan, sample).ledger.counts
    assert server.ledger.rotations == plan.ledger.rotations
    again = Plan.load(plan.save(tmp_path / "plan"))
    assert again.fingerprint == plan.fingerprint and again.steps == plan.steps


def wide(tokens: int, width: int, hidden: int) -> Graph:
    """A residual MLP whose hidden values do not fit one ciphertext."""
    rng = np.random.default_rng(0)
    g = GraphBuilder("wide")
    x = g.input("x", (1, tokens, width))

    def layer(value: str, out: int) -> str:
        size = g.type_of(value).shape[-1]
        weight = g.constant(rng.normal(size=(out, size)) / np.sqrt(size))
        return g.emit("linear", value, weight, g.constant(rng.normal(size=out)))

    hidden_values = g.emit("power", layer(layer(x, width), hidden), exponent=2)
    y = g.emit("power", g.emit("add", x, layer(hidden_values, width)), exponent=2)
    return g.finish(layer(g.emit("mean", y, dims=(1,), keepdim=False), 3))


def test_a_value_too_large_for_one_ciphertext_is_cut_into_tiles(structured):
    data = samples((1, 16, 16))
    plan = compile_graph(wide(16, 16, 64), data, Options(insecure_target=ring(10)))
    assert sum(s.kernel == "power" for s in plan.steps) == 4 + 1
    for sample in data[:2]:
        exact = ckks_sim.run(plan, sample, seed=None).output
        assert np.allclose(exact, ckks_sim.reference(plan, sample), atol=1e-9)


def test_products_too_large_are_cut_along_their_heads(structured):
    plan = plan_of(16, 32, 4, 10)
    outer = [s.name for s in plan.steps if s.kernel == "outer"]
    assert len(outer) == 2 * 2
    assert sum(s.kernel == "reciprocal" for s in plan.steps) == 2
    for sample in samples((1, 16, 3), 2):
        exact = ckks_sim.run(plan, sample, seed=None).output
        assert np.allclose(exact, ckks_sim.reference(plan, sample), atol=1e-9)


def test_a_product_too_large_for_one_ciphertext_is_refused(structured):
    g = GraphBuilder("large")
    x, y = g.input("x", (1, 32, 4)), g.input("y", (1, 4, 32))
    out = g.finish(g.emit("linear", g.emit("matmul", x, y), g.constant(np.ones((1, 32)))))
    data = [{"x": np.ones((1, 32, 4)), "y": np.ones((1, 4, 32))}]
    with pytest.raises(LimitError, match="only affine and elementwise"):
        compile_graph(out, data, Options(insecure_target=ring(10)))
