"""What a graph must be at each stage. Each pass is followed by the check of the stage it claims to reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from types import MappingProxyType

import numpy as np

from cipherformer.errors import CompileError
from cipherformer.graph.ir import Graph, Node
from cipherformer.ops import OPS, Composite, Op, Primitive
from cipherformer.ops.program import is_program
from cipherformer.types import Attr


def _is_int(value: Attr) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


_KINDS: Mapping[str, Callable[[Attr], bool]] = MappingProxyType(
    {
        "int": _is_int,
        "float": lambda v: _is_int(v) or (isinstance(v, float) and isfinite(v)),
        "bool": lambda v: isinstance(v, bool),
        "str": lambda v: isinstance(v, str),
        "ints": lambda v: isinstance(v, tuple) and all(map(_is_int, v)),
        "program": is_program,
        "floats": lambda v: isinstance(v, tuple) and all(map(_KINDS["float"], v)),
    }
)


@dataclass(frozen=True, slots=True)
class Stage:
    """What holds at a stage, beyond what holds at every one.

    Args:
        name: for example `ckks.lowered`.
        allows: whether a graph may contain an op.
        ranges: every secret value has a calibrated range.
        planned: every approximating primitive has its plan.
        pruned: every node but an input is needed by an output.
    """

    name: str
    allows: Callable[[Op], bool]
    ranges: bool = False
    planned: bool = False
    pruned: bool = True


def _any(op: Op) -> bool:
    return True


def _unfolded(op: Op) -> bool:
    return op.name != "batch_norm"


def _structural(op: Op) -> bool:
    return isinstance(op, Primitive) or op.elementwise


def _primitive(op: Op) -> bool:
    return isinstance(op, Primitive)


STAGES: Mapping[str, Stage] = MappingProxyType(
    {
        stage.name: stage
        for stage in (
            Stage("captured", _any, pruned=False),
            Stage("folded", _unfolded),
            Stage("lowered", _structural),
            Stage("calibrated", _structural, ranges=True),
            Stage("ckks.lowered", _primitive, ranges=True, planned=True),
        )
    }
)
"""The stages, in the order of the pipeline."""


def verify(graph: Graph, stage: str = "captured") -> Graph:
    """Return the graph if it is what `stage` says; raise CompileError otherwise."""
    if stage not in STAGES:
        raise CompileError(f"no stage is named {stage}", why=f"the stages are {', '.join(STAGES)}")
    seen: dict[str, Node] = {}
    for node in graph.nodes:
        try:
            _check_node(graph, node, seen)
            _check_stage(node, STAGES[stage])
        except (ValueError, KeyError, IndexError) as error:
            raise _fail(node, stage, str(error)) from error
        seen[node.name] = node
    missing = [name for name in graph.outputs if name not in seen]
    if missing or not graph.outputs:
        raise CompileError(f"outputs {missing} are not values of the graph", where=graph.name)
    if graph.constants.keys() != {n.name for n in graph.nodes if n.op == "constant"}:
        raise CompileError("constants and arrays do not match", where=graph.name)
    if STAGES[stage].pruned:
        _check_pruned(graph, stage)
    return graph


def _fail(node: Node, stage: str, why: str) -> CompileError:
    where = f"{node.name} = {node.op}" + (f" @ {node.origin}" if node.origin else "")
    return CompileError(f"not a graph of stage {stage}", where=where, why=why)


def _check_node(graph: Graph, node: Node, seen: Mapping[str, Node]) -> None:
    if node.name in seen or not node.name:
        raise ValueError("the name is taken or empty")
    op = OPS.get(node.op)
    if op is None:
        raise ValueError("the op table has no such op")
    unknown = [name for name in node.inputs if name not in seen]
    if unknown:
        raise ValueError(f"{', '.join(unknown)} is not defined before it")
    low, high = op.arity
    if len(node.inputs) < low or (high is not None and len(node.inputs) > high):
        raise ValueError(f"{len(node.inputs)} operands, not {low} to {high}")
    check_attrs(op, node.attrs)
    _check_type(graph, node, op, [seen[name] for name in node.inputs])


def check_attrs(op: Op, attrs: Mapping[str, Attr]) -> None:
    """Raise ValueError unless `attrs` are exactly those that the op table says, of the right kinds."""
    wanted = {name.rstrip("?"): kind for name, kind in op.attrs.items()}
    for name in attrs.keys() - wanted.keys():
        raise ValueError(f"attribute {name} is unknown")
    for name, kind in wanted.items():
        if name not in attrs:
            if not kind.endswith("?"):
                raise ValueError(f"attribute {name} is missing")
        elif not _KINDS[kind.rstrip("?")](attrs[name]):
            raise ValueError(f"attribute {name} is {attrs[name]!r}, not {kind}")


def _check_type(graph: Graph, node: Node, op: Op, operands: list[Node]) -> None:
    kind = node.type
    if any(not 1 <= s < 2**63 for s in kind.shape):
        raise ValueError(f"the shape {kind.shape} is empty")
    if (kind.low is None) != (kind.high is None) or (
        kind.low is not None and kind.high is not None and not -np.inf < kind.low <= kind.high < np.inf
    ):
        raise ValueError(f"[{kind.low}, {kind.high}] is not a range")
    if node.op == "input":
        if not kind.secret:
            raise ValueError("an input must be secret: bake public values in as constants")
        return
    if node.op == "constant":
        array = graph.constants[node.name]
        if kind.secret or array.shape != kind.shape or not np.isfinite(array).all():
            raise ValueError(f"the array {array.shape} does not fit, or has non-finite values")
        return
    shape = op.shape([o.type.shape for o in operands], node.attrs)
    if tuple(shape) != kind.shape:
        raise ValueError(f"the shape is {kind.shape}, the op makes {tuple(shape)}")
    if not kind.secret or not any(o.type.secret for o in operands):
        raise ValueError("a value that depends on no input must be a constant, and others secret")


def _check_stage(node: Node, stage: Stage) -> None:
    op = OPS[node.op]
    if not stage.allows(op):
        raise ValueError(f"{node.op} must be gone")
    if stage.ranges and node.type.secret and node.type.low is None:
        raise ValueError("the range is missing")
    if stage.planned and isinstance(op, Primitive) and any(a not in node.attrs for a in op.planned):
        raise ValueError(f"{', '.join(op.planned)} are not decided")


def _check_pruned(graph: Graph, stage: str) -> None:
    live = set(graph.outputs)
    for node in reversed(graph.nodes):
        if node.name in live:
            live.update(node.inputs)
        elif node.op != "input":
            raise _fail(node, stage, "no output needs it")


def composites(graph: Graph) -> tuple[Node, ...]:
    """Nodes that are still composites."""
    return tuple(n for n in graph.nodes if isinstance(OPS[n.op], Composite))
