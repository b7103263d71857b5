"""A causal graph over a whole text, cut to what one step of generation computes.

From the graph of a decoder over M positions: the graph that takes the embeddings of positions start to
stop - 1 and what attention keeps of the earlier ones, and returns the logits of position stop - 1 and what
attention keeps of all. With start = 0 it reads a prompt. A value has at most two axes that follow the text:
its rows, one for each position, and its keys, the positions that a row attends to. A value that another row's
attention reads (the right side of a product) is needed whole: its earlier rows are an input, a cache. Moves
that only lead there (transposes, copies for shared heads) are made behind the cache. Values that only the
logits read have one row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from cipherformer.errors import ModelError
from cipherformer.graph import Graph, Node
from cipherformer.graph.evaluate import evaluate
from cipherformer.graph.rewrite import GraphBuilder
from cipherformer.ops.spec import integer, integers

CACHE = "cache."
"""Begins the names of inputs that are caches; the outputs behind the logits are those of the next step."""

_MOVES = ("reshape", "permute", "expand")
_DIMS = ("dim", "dims", "axes")
Axes = tuple[int | None, int | None]


@dataclass(frozen=True, slots=True)
class StepGraph:
    """One step.

    Args:
        graph: inputs: the text's, then caches; outputs: the logits [1, 1, V], then caches with the new rows.
        cached: value of the whole graph -> its axis of positions, in the order of the caches.
        start: first new position; 0 for a prompt, which has no caches as inputs.
        stop: one behind the last position.
    """

    graph: Graph
    cached: Mapping[str, int]
    start: int
    stop: int


def step_graph(graph: Graph, start: int, stop: int) -> StepGraph:
    """The step that computes positions start to stop - 1.

    Args:
        graph: captured, of one input [1, M, ...] and one output [1, M, V].
        start: 0, or first new position.
        stop: at most M.

    Raises:
        ModelError: the graph mixes positions in another way than attention does.
    """
    return _Cutter(graph, start, stop).run()


def step_samples(
    graph: Graph, step: StepGraph, samples: Sequence[Mapping[str, NDArray[np.float64]]]
) -> list[dict[str, NDArray[np.float64]]]:
    """Inputs of a step, from inputs of the whole graph."""
    text = graph.inputs[0].name
    out = []
    for sample in samples:
        found = {text: np.asarray(sample[text])[:, step.start : step.stop]}
        if step.start:
            values = evaluate(graph, sample, keep=True)
            for i, (name, axis) in enumerate(step.cached.items()):
                found[f"{CACHE}{i}"] = values[name].take(range(step.start), axis=axis)
        out.append(found)
    return out


class _Cutter:
    def __init__(self, graph: Graph, start: int, stop: int) -> None:
        self.graph, self.start, self.stop = graph, start, stop
        self.nodes = graph.by_name()
        if len(graph.inputs) != 1 or len(graph.outputs) != 1:
            raise ModelError("generation needs a model of one text and one output", where=graph.name)
        self.length = graph.inputs[0].type.shape[1]
        if not 0 <= start < stop <= self.length or self.length < 2:
            raise ModelError(f"positions {start} to {stop} of {self.length}", where=graph.name)
        self.axes: dict[str, Axes] = {graph.inputs[0].name: (1, None)}
        for node in graph.nodes:
            if node.type.secret and node.op != "input":
                self.axes[node.name] = self._axes(node)
        self.first, self.cached = self._first_rows()

    def run(self) -> StepGraph:
        build, text = GraphBuilder(self.graph.name), self.graph.inputs[0]
        shape = text.type.shape
        names = {text.name: build.input(text.name, (shape[0], self.stop - self.start, *shape[2:]))}
        earlier = {}
        for i, (name, axis) in enumerate(self.cached.items() if self.start else ()):
            earlier[name] = build.input(f"{CACHE}{i}", self._shape(name, axis, self.start))
        whole: dict[str, str] = {}
        for node in self.graph.nodes:
            build.origin = node.origin
            if node.op != "input":
                names[node.name] = self._emit(build, node, names, whole)
            if node.name in self.cached:
                new = names[node.name]
                whole[node.name] = (
                    build.emit("concat", earlier[node.name], new, dim=self.cached[node.name])
                    if self.start
                    else new
                )
        out = self.graph.outputs[0]
        finished = build.finish(names[out], *(whole[name] for name in self.cached))
        return StepGraph(finished, self.cached, self.start, self.stop)

    # --- which axes follow the text ---

    def _axes(self, node: Node) -> Axes:
        operands = [self.axes.get(name, (None, None)) for name in node.inputs]
        ranks = [len(self.nodes[name].type.shape) for name in node.inputs]
        rank = len(node.type.shape)
        if node.op == "matmul":
            return self._product_axes(node, operands, ranks)
        if node.op == "permute":
            dims = integers(node.attrs, "dims")
            rows, keys = operands[0]
            return tuple(None if a is None else dims.index(a) for a in (rows, keys))  # type: ignore[return-value]
        if node.op == "reshape":
            return tuple(self._moved(node, a) for a in operands[0])  # type: ignore[return-value]
        found: list[int | None] = [None, None]
        for (rows, keys), size in zip(operands, ranks, strict=True):
            for i, axis in enumerate((rows, keys)):
                if axis is not None:
                    found[i] = axis + (rank - size if self._keeps_rank(node) else 0)
        dims = self._dims(node)
        if node.op == "linear":
            dims = (ranks[0] - 1,)
        if node.op == "concat" and len(node.inputs) == 1:
            dims = ()
        if found[0] in dims:
            raise self._mixed(node)
        if not node.attrs.get("keepdim", True):
            found = [None if a is None else a - sum(d < a for d in dims) for a in found]
        keys = found[1]
        if keys is not None and node.type.shape[keys] != self.length:
            keys = None
        if found[0] is not None and node.type.shape[found[0]] != self.length:
            raise self._mixed(node)
        return found[0], keys

    def _keeps_rank(self, node: Node) -> bool:
        return bool(node.attrs.get("keepdim", True)) and node.op not in ("slice", "concat")

    def _product_axes(self, node: Node, operands: list[Axes], ranks: list[int]) -> Axes:
        (left, keys), (right, _) = operands
        rank = len(node.type.shape)
        if left != ranks[0] - 2 or (keys is not None and keys != ranks[0] - 1):
            raise self._mixed(node)
        if right is None:
            return rank - 2, None
        if right == ranks[1] - 1 and keys is None:
            return rank - 2, rank - 1
        if right == ranks[1] - 2 and keys is not None:
            return rank - 2, None
        raise self._mixed(node)

    def _moved(self, node: Node, axis: int | None) -> int | None:
        """Where a reshape moves an axis: as many entries stand before it."""
        if axis is None:
            return None
        old, new = self.nodes[node.inputs[0]].type.shape, node.type.shape
        before = prod(old[:axis])
        for i, size in enumerate(new):
            if size == old[axis] and prod(new[:i]) == before:
                return i
        raise self._mixed(node)

    def _dims(self, node: Node) -> tuple[int, ...]:
        for name in _DIMS:
            if name in node.attrs:
                return (integer(node.attrs, name),) if name == "dim" else integers(node.attrs, name)
        return ()

    def _mixed(self, node: Node) -> ModelError:
        return ModelError(
            f"{node.op} mixes the positions of the text",
            where=node.origin or node.name,
            why="generation step by step needs a decoder in which only attention does so",
        )

    # --- which rows are computed ---

    def _first_rows(self) -> tuple[dict[str, int], dict[str, int]]:
        """First computed row of each value, and the cached values with their axes."""
        last = self.stop - 1
        first = {self.graph.outputs[0]: last}
        wanted_whole: set[str] = set()
        rows: dict[str, list[int]] = {}
        for node in reversed(self.graph.nodes):
            if node.name not in self.axes or self.axes[node.name][0] is None:
                continue
            demands = rows.get(node.name, [])
            only_whole = node.name in wanted_whole and not demands and node.name not in first
            if only_whole and node.op in _MOVES:
                first[node.name] = -1  # made behind the cache, from the whole operand
                wanted_whole.update(node.inputs)
                wanted_whole.discard(node.name)
                continue
            everything = node.name in wanted_whole or node.op == "input" or self.start in demands
            first[node.name] = self.start if everything else last
            for i, name in enumerate(node.inputs):
                if name not in self.axes:
                    continue
                if node.op == "matmul" and i == 1:
                    wanted_whole.add(name)
                else:
                    rows.setdefault(name, []).append(first[node.name])
        cached = {n.name: self._rows_axis(n.name) for n in self.graph.nodes if n.name in wanted_whole}
        return first, cached

    def _rows_axis(self, name: str) -> int:
        axis = self.axes[name][0]
        assert axis is not None
        return axis

    def _shape(self, name: str, axis: int, rows: int) -> tuple[int, ...]:
        shape = self.nodes[name].type.shape
        return (*shape[:axis], rows, *shape[axis + 1 :])

    # --- building ---

    def _emit(self, build: GraphBuilder, node: Node, names: Mapping[str, str], whole: dict[str, str]) -> str:
        if node.op == "constant":
            return build.copy(self.graph, node, ())
        if node.name not in self.first:
            return build.copy(self.graph, node, [names[name] for name in node.inputs])
        begin = self.first[node.name]
        inputs = []
        for i, name in enumerate(node.inputs):
            if name in self.axes:
                behind = begin < 0 or (node.op == "matmul" and i == 1)
                inputs.append(whole[name] if behind else self._rows(build, name, names[name], begin))
            else:
                inputs.append(self._constant(build, node, name, names[name], max(begin, 0)))
        attrs = dict(node.attrs)
        if "shape" in attrs:
            attrs["shape"] = self._new_shape(node, max(begin, 0))
        made = build.emit_named(node.name, node.op, inputs, attrs)
        if begin < 0:
            whole[node.name] = made
        return made

    def _new_shape(self, node: Node, begin: int) -> tuple[int, ...]:
        shape = list(node.type.shape)
        rows, keys = self.axes[node.name]
        if rows is not None:
            shape[rows] = self.stop - begin
        if keys is not None:
            shape[keys] = self.stop
        return tuple(shape)

    def _rows(self, build: GraphBuilder, name: str, made: str, begin: int) -> str:
        """The rows of an operand from `begin` on."""
        extra = begin - self.first[name]
        if extra == 0:
            return made
        axis = self._rows_axis(name)
        size = build.type_of(made).shape[axis]
        return build.emit("slice", made, dim=axis, start=extra, stop=size, step=1)

    def _constant(self, build: GraphBuilder, node: Node, name: str, made: str, begin: int) -> str:
        """The part of a constant that follows the text: rows from `begin`, keys up to `stop`."""
        if node.op in ("linear", "matmul"):
            return made
        value = self.graph.constants[name]
        rank, cut = len(node.type.shape), [slice(None)] * value.ndim
        for axis, part in zip(self.axes[node.name], ((begin, self.stop), (0, self.stop)), strict=True):
            own = None if axis is None else axis - rank + value.ndim
            if own is not None and own >= 0 and value.shape[own] == self.length:
                cut[own] = slice(*part)
        if all(part == slice(None) for part in cut):
            return made
        return build.constant(value[tuple(cut)].copy(), name)
