"""Collect what a model computes of one number, however it is written, into one op.

A value is a *function of* another if only elementwise ops with scalar constants lie between them; its root
is the first value that is not itself such a function. A function written out with elementary functions, such
as `x / 2 (1 + tanh(...))`, becomes the table's op if it equals one, and otherwise a `function` node with its
own formula as a program: so an activation that the table does not know has a reference, and private forms
that are fitted to it, without any code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import pi, sqrt

import numpy as np

from cipherformer.graph import Graph, Node
from cipherformer.graph.rewrite import GraphBuilder, rebuilt
from cipherformer.ops import OPS
from cipherformer.ops.program import UNARY_FUNCTIONS, Program, evaluate, of
from cipherformer.ops.spec import integer
from cipherformer.types import Attr

_BINARY = frozenset({"add", "sub", "mul"})
_SMOOTH = frozenset({"exp", "log", "tanh", "sigmoid", "erf", "relu", "gelu", "silu"})
"""Functions of which one is left alone and two in one formula are collected."""

_KNOWN: tuple[tuple[str, Mapping[str, Attr]], ...] = (
    ("gelu", {"approximate": "none"}),
    ("gelu", {"approximate": "tanh"}),
    ("silu", {}),
    ("sigmoid", {}),
    ("tanh", {}),
    ("relu", {}),
    ("erf", {}),
)
_SAME = 1e-6
_TEST_POINTS = np.linspace(-8.0, 8.0, 1601)
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Formula:
    """A value as a function of its root.

    Args:
        root: name.
        program: from the root's value; empty for the root itself.
        foreign: it holds a function without an entry in the table.
        curved: products of values, powers and functions in it.
        smooth: some of them are of `_SMOOTH`.
    """

    root: str
    program: Program = ()
    foreign: bool = False
    curved: int = 0
    smooth: bool = False

    @property
    def collected(self) -> bool:
        """Whether one op should take its place."""
        return self.foreign or (self.smooth and self.curved > 1)


def collect_functions(graph: Graph) -> Graph:
    """The same graph with each formula of one number as one op."""
    nodes = graph.by_name()
    formulas: dict[str, Formula] = {}
    for node in graph.nodes:
        formulas[node.name] = _formula(graph, node, nodes, formulas)
    tips = _tips(graph, formulas)
    if not tips:
        return graph
    build = GraphBuilder(graph.name)
    names: dict[str, str] = {}
    for node in graph.nodes:
        build.origin = node.origin
        if node.name in tips:
            formula = formulas[node.name]
            x, program = _without_prefix(build, names[formula.root], formula.program)
            op, attrs = recognised(program)
            names[node.name] = build.emit_named(node.name, op, [x], attrs)
        else:
            names[node.name] = build.copy(graph, node, [names[i] for i in node.inputs])
    return rebuilt(graph, build, names)


def _tips(graph: Graph, formulas: Mapping[str, Formula]) -> set[str]:
    """Where the collected formulas end: at the last value of a root, sums and products with constants behind
    it left alone.
    """
    nodes, consumers, tips = graph.by_name(), graph.consumers(), set[str]()
    for node in graph.nodes:
        here = formulas[node.name]
        ends = node.name in graph.outputs or any(
            formulas[reader.name].root != here.root for reader in consumers[node.name]
        )
        if not (ends and here.collected):
            continue
        while node.op in (*_BINARY, "neg"):
            secret = [name for name in node.inputs if name not in graph.constants]
            if len(secret) != 1 or not formulas[secret[0]].collected:
                break
            node = nodes[secret[0]]
        tips.add(node.name)
    return tips


def _without_prefix(build: GraphBuilder, x: str, program: Program) -> tuple[str, Program]:
    """Leading sums and products with constants as nodes, which fold into weights, and the rest."""
    while len(program) > 1 and program[0][0] in (*_BINARY, "neg") and _reads(program[1:], 0) == 0:
        name, *operands = program[0]
        x = build.emit(str(name), *(x if isinstance(v, int) else build.constant(float(v)) for v in operands))
        rest = program[1:]
        program = tuple((n, *(v - 1 if isinstance(v, int) else v for v in vs)) for n, *vs in rest)
    return x, program


def _reads(program: Program, value: int) -> int:
    return sum(type(v) is int and v == value for _, *operands in program for v in operands)


def recognised(program: Program) -> tuple[str, Mapping[str, Attr]]:
    """The table's op that equals a program on [-8, 8] to 1e-6, or `function`."""
    values = evaluate(program, _TEST_POINTS)
    for name, attrs in _KNOWN:
        wanted = OPS[name].reference([_TEST_POINTS], attrs)
        if np.isfinite(values).all() and np.max(np.abs(values - wanted)) <= _SAME:
            return name, attrs
    return "function", {"program": program}


def _formula(graph: Graph, node: Node, nodes: Mapping[str, Node], formulas: Mapping[str, Formula]) -> Formula:
    itself = Formula(node.name)
    secret = [formulas[name] for name in node.inputs if name not in graph.constants]
    if (
        not secret
        or len({f.root for f in secret}) != 1
        or nodes[secret[0].root].type.shape != node.type.shape
    ):
        return itself
    if any(graph.constants[name].size != 1 for name in node.inputs if name in graph.constants):
        return itself
    writer = _Writer()
    operands = [
        float(graph.constants[name].reshape(()))
        if name in graph.constants
        else writer.inline(formulas[name].program, 0)
        for name in node.inputs
    ]
    added = writer.op(node, operands)
    if added is None or not 1 <= len(writer.steps) <= _LONGEST:
        return itself
    return Formula(
        secret[0].root,
        tuple(writer.steps),
        foreign=node.op in ("function", "where") or any(f.foreign for f in secret),
        curved=sum(map(_is_curved, writer.steps)),
        smooth=node.op in _SMOOTH or any(f.smooth for f in secret),
    )


def _is_curved(step: tuple[str | int | float, ...]) -> bool:
    if step[0] in ("add", "sub", "neg"):
        return False
    return step[0] != "mul" or all(type(operand) is int for operand in step[1:])


Value = int | float


class _Writer:
    """Appends instructions; equal ones become one."""

    def __init__(self) -> None:
        self.steps: list[tuple[str | int | float, ...]] = []
        self._made: dict[tuple[str | int | float, ...], int] = {}

    def step(self, name: str, *operands: Value) -> int:
        """The number of the instruction's result."""
        key = (name, *(f"{v!r}" for v in operands))
        if key not in self._made:
            self.steps.append((name, *operands))
            self._made[key] = len(self.steps)
        return self._made[key]

    def inline(self, program: Program, x: Value) -> Value:
        """A program of another value; the number of its result."""
        values: list[Value] = [x]
        for name, *operands in program:
            values.append(self.step(str(name), *(_resolved(values, v) for v in operands)))
        return values[-1]

    def op(self, node: Node, operands: list[Value]) -> Value | None:
        """A node of the graph, or None if it is no elementary function."""
        match node.op:
            case "function":
                return self.inline(of(node.attrs), operands[0])
            case "power":
                return self.step("pow", operands[0], float(integer(node.attrs, "exponent")))
            case "silu":
                return self.step("mul", operands[0], self.step("sigmoid", operands[0]))
            case "gelu":
                return self._gelu(node, operands[0])
            case name if name in UNARY_FUNCTIONS or name in _BINARY or name == "where":
                return self.step(name, *operands)
            case _:
                return None

    def _gelu(self, node: Node, x: Value) -> int:
        if node.attrs["approximate"] == "tanh":
            cube = self.step("mul", self.step("pow", x, 3.0), 0.044715)
            inner = self.step("tanh", self.step("mul", self.step("add", x, cube), sqrt(2.0 / pi)))
        else:
            inner = self.step("erf", self.step("mul", x, sqrt(0.5)))
        return self.step("mul", self.step("mul", x, 0.5), self.step("add", inner, 1.0))


def _resolved(values: list[Value], operand: str | int | float) -> Value:
    return values[operand] if isinstance(operand, int) else float(operand)
