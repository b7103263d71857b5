"""The graph's own tools: building, verification, text, saving."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_fold import attention, random_graph

from cipherformer.backends import exact
from cipherformer.errors import CompileError, DataError, FormatError
from cipherformer.graph import Graph, Node, serial
from cipherformer.graph.rewrite import GraphBuilder, without_dead_nodes
from cipherformer.graph.text import print_graph
from cipherformer.graph.verify import verify
from cipherformer.types import Type


def small() -> Graph:
    build = GraphBuilder("small")
    x = build.input("x", (1, 2))
    return build.finish(build.emit("mul", x, build.constant(2.0)))


def with_node(graph: Graph, index: int, **changes: Any) -> Graph:
    nodes = list(graph.nodes)
    nodes[index] = nodes[index].with_(**changes)
    return Graph(tuple(nodes), graph.outputs, graph.constants, graph.name)


@pytest.mark.parametrize(
    ("index", "changes", "text"),
    [
        (2, {"op": "cube"}, "no such op"),
        (2, {"inputs": ("x", "y")}, "y is not defined"),
        (2, {"inputs": ("x",)}, "1 operands"),
        (2, {"type": Type((2, 2))}, r"the shape is \(2, 2\)"),
        (2, {"type": Type((1, 2), secret=False)}, "others secret"),
        (2, {"attrs": {"dim": 1}}, "dim is unknown"),
        (2, {"type": Type((1, 2), low=1.0)}, "not a range"),
        (2, {"type": Type((1, 2), low=2.0, high=1.0)}, "not a range"),
        (0, {"type": Type((1, 2), secret=False)}, "input must be secret"),
        (0, {"type": Type((1, 0))}, "empty"),
        (1, {"name": "x"}, "taken"),
        (1, {"type": Type((3,), secret=False)}, "does not fit"),
    ],
)
def test_verification_names_node_and_reason(index: int, changes: dict[str, Any], text: str):
    with pytest.raises(CompileError, match=text) as error:
        verify(with_node(small(), index, **changes))
    assert small().nodes[index].name in error.value.where or changes.get("name", "") in error.value.where


@pytest.mark.parametrize(
    ("stage", "op", "attrs", "text"),
    [
        ("lowered", "softmax", {"dim": 1}, "softmax must be gone"),
        ("lowered", "layer_norm", {"epsilon": 0.1, "axes": (1,)}, "layer_norm must be gone"),
        ("calibrated", "gelu", {"approximate": "none"}, "range is missing"),
    ],
)
def test_stages_refuse_what_must_be_gone(stage: str, op: str, attrs: dict[str, Any], text: str):
    build = GraphBuilder("stage")
    graph = build.finish(build.emit(op, build.input("x", (1, 2)), **attrs))
    with pytest.raises(CompileError, match=text):
        verify(graph, stage)


def test_an_activation_is_not_lowered():
    kind = Type((1, 2), low=1.0, high=2.0)
    graph = Graph((Node("x", "input", (), kind), Node("y", "tanh", ("x",), kind)), ("y",))
    with pytest.raises(CompileError, match="tanh must be gone"):
        verify(graph, "ckks.lowered")


def test_an_unplanned_reciprocal_is_not_lowered():
    kind = Type((1, 2), low=1.0, high=2.0)
    graph = Graph((Node("x", "input", (), kind), Node("y", "reciprocal", ("x",), kind)), ("y",))
    with pytest.raises(CompileError, match="not decided"):
        verify(graph, "ckks.lowered")


def test_dead_nodes_go_and_inputs_stay():
    build = GraphBuilder("dead")
    x, spare = build.input("x", (1, 2)), build.input("spare", (1,))
    build.emit("neg", spare)
    graph = without_dead_nodes(build.finish(build.emit("neg", x)))
    assert [n.name for n in graph] == ["x", "spare", "neg_1"]


def test_public_arithmetic_happens_while_building():
    build = GraphBuilder("public")
    total = build.emit("add", build.constant(1.0), build.constant(2.0))
    assert build.is_constant(total)
    assert build.value(total) == 3.0


def test_a_misfit_is_a_compile_error_with_its_reason():
    build = GraphBuilder("misfit")
    with pytest.raises(CompileError, match="cannot multiply matrices"):
        build.emit("matmul", build.input("a", (2, 3)), build.input("b", (2, 3)))


def test_text_is_one_line_a_node():
    assert print_graph(small()).splitlines() == [
        "graph small",
        "  x = input() : [1, 2] secret",
        "  constant = constant() 2 : [] public",
        "  mul = mul(x, constant) : [1, 2] secret",
        "  return mul",
    ]


def round_trip(graph: Graph) -> Graph:
    data, arrays = serial.to_dict(graph)
    return serial.from_dict(json.loads(json.dumps(data)), arrays)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_saving_and_loading_is_the_identity(seed: int):
    graph = random_graph(seed, 6)
    back = round_trip(graph)
    assert print_graph(back) == print_graph(graph)
    assert back.nodes == graph.nodes
    for name, array in graph.constants.items():
        np.testing.assert_array_equal(back.constants[name], array)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(p for key, child in items for p in _places(child, (*path, key)))]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    where=st.integers(0, 10**6),
    junk=st.sampled_from([None, -1, 0, 7, 1e308, True, "", "x", [], [1], {}, {"a": 1}, "softmax", 2**70]),
)
def test_damaged_files_raise_format_errors_only(where: int, junk: Any):
    data, arrays = serial.to_dict(attention())
    data = copy.deepcopy(data)
    places = _places(data)
    path = places[where % len(places)]
    if not path:
        data = junk
    else:
        holder = data
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = junk
    try:
        serial.from_dict(data, arrays)
    except FormatError:
        return
    # what is accepted is a valid graph of its own: a changed name, origin, exponent ...


def test_arrays_of_another_kind_are_refused():
    data, arrays = serial.to_dict(small())
    with pytest.raises(FormatError, match="float64"):
        serial.from_dict(data, {name: array.astype(np.float32) for name, array in arrays.items()})
    with pytest.raises(FormatError, match="not a valid graph"):
        serial.from_dict(data, {})


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({}, "is missing"),
        ({"x": np.zeros((1, 2)), "y": np.zeros(1)}, "no input is named y"),
        ({"x": np.zeros((2, 1))}, r"has shape \(2, 1\)"),
        ({"x": np.array([[0.0, np.nan]])}, "not finite"),
    ],
)
def test_exact_refuses_inputs_that_do_not_fit(inputs: dict[str, np.ndarray], text: str):
    with pytest.raises(DataError, match=text):
        exact.run(small(), inputs)


def test_keep_returns_every_value():
    assert set(exact.run(small(), {"x": np.ones((1, 2))}, keep=True)) == {"x", "constant", "mul"}
