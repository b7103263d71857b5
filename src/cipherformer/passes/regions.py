"""Maximal affine regions as explicit matrices.

Between two non-linear operations everything that a model does to a secret tensor (convolutions, linear
layers, normalisation in evaluation mode, reshapes, slices of heads, residual sums, pooling) is affine. This
pass writes each operand of a non-linear operation as sum_k M_k x_k + c over the results x_k of earlier ones.
A chain of any length then costs one level, and packing sees one matrix whatever the layers were called.
Matrices that would be large are written as (identity over carried axes) x (small matrix), see
`passes.carried` and decision 10.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cipherformer.errors import CompileError, LimitError
from cipherformer.graph import Attr, Graph, Node
from cipherformer.kernels.linear import Triplets
from cipherformer.ops import OPS, Primitive
from cipherformer.passes.carried import (
    Carried,
    apply_term,
    carried_axes,
    left_over,
    small_matrix,
    sparse_matrix,
)
from cipherformer.passes.local import local_entries

NONLINEAR = ("mul", "matmul", "power", "polynomial", "reciprocal")
MAX_MATRIX = 1 << 27
"""Largest number of entries of one matrix: a gigabyte in float64."""
MAX_DENSE = MAX_MATRIX
"""Terms with more entries than this, or found from as many, are examined for axes that they carry."""
MAX_PROBED = 1 << 23
"""Terms with more entries than this that act locally are kept as their non-zeros."""
FEW = 4
"""Most non-zeros in a row of a term that is kept so although it carries axes."""


@dataclass(frozen=True, eq=False, slots=True)
class Term:
    """One summand of an affine region: a matrix times a source value.

    Args:
        source: the value.
        matrix: [result.size, source.size] over the axes that are not carried, in their order.
        carried: pairs (axis of the source, axis of the result) of equal size: index c of one goes to index c
            of the other, by the same matrix for every c.
        local: the non-zeros of a map that acts locally, over flat indices; then there is no matrix.
    """

    source: str
    matrix: NDArray[np.float64]
    carried: tuple[Carried, ...] = ()
    local: Triplets | None = None

    @property
    def structured(self) -> bool:
        """True if the whole matrix is not written out."""
        return bool(self.carried) or self.local is not None

    def apply(self, x: NDArray[np.float64], shape: Sequence[int]) -> NDArray[np.float64]:
        """The map, to an array of shape `shape`."""
        if self.local is not None:
            return self.local.apply(x.reshape(-1)).reshape(shape)
        return apply_term(self.matrix, self.carried, x, shape)


@dataclass(frozen=True, eq=False, slots=True)
class Region:
    """A node of the graph of regions.

    Args:
        name: name of the value.
        kind: `input`, `affine`, or a non-linear op of `NONLINEAR`.
        inputs: values it reads (for an affine region, the sources of its terms).
        shape: shape of the value, the batch axis included.
        low, high: calibrated range, None if unknown.
        origin: module path in the user's model.
        attrs: attributes of a non-linear op.
        terms, bias: for an affine region; bias is flat.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    low: float | None
    high: float | None
    origin: str
    attrs: Mapping[str, Attr]
    terms: tuple[Term, ...] = ()
    bias: NDArray[np.float64] | None = None


def uniform(r: Region, shape: Sequence[int]) -> float | None:
    """The factor if an affine region is a number times its one source, of this shape; None otherwise."""
    if len(r.terms) != 1 or tuple(r.shape) != tuple(shape) or r.terms[0].local is not None:
        return None
    term = r.terms[0]
    rows, columns = term.matrix.shape
    factor = float(term.matrix[0, 0])
    if factor == 0 or rows != columns or any(a != b for a, b in term.carried):
        return None
    return factor if np.array_equal(term.matrix, factor * np.eye(rows)) else None


def is_nonlinear(node: Node, nodes: Mapping[str, Node]) -> bool:
    """True if the node's result is secret and not affine in its secret operands."""
    if not node.type.secret or node.op == "input":
        return False
    op = OPS[node.op]
    assert isinstance(op, Primitive)
    return not op.affine([nodes[i].type.secret for i in node.inputs], node.attrs)


def shared_values(graph: Graph) -> list[str]:
    """Affine values with several readers, the candidates for being computed once."""
    nodes = graph.by_name()
    return [
        name
        for name, readers in graph.consumers().items()
        if len(readers) > 1
        and nodes[name].type.secret
        and nodes[name].op != "input"
        and not is_nonlinear(nodes[name], nodes)
    ]


def regions(graph: Graph, keep: frozenset[str] = frozenset()) -> tuple[tuple[Region, ...], tuple[str, ...]]:
    """The graph of regions, in topological order, and the names of its outputs.

    Args:
        graph: at stage `ckks.lowered`.
        keep: affine values that are computed for their own sake (and then read by several regions) instead of
            being composed into each reader.

    Raises:
        LimitError: if a matrix would have more than `MAX_MATRIX` entries.
    """
    nodes = graph.by_name()
    whole = {n.name for n in graph if n.op == "input" or n.name in keep or is_nonlinear(n, nodes)}
    out: dict[str, Region] = {}

    def operand(name: str, reader: Node | None) -> str:
        """The name of the region that stands for an operand; made on first use."""
        if name in whole:
            if name in keep and name not in out:
                out[name] = _affine(graph, nodes, name, whole - {name}, nodes[name])
            if reader is not None and reader.op != "input" and nodes[name].op == "input":
                label = f"{name}.copy"
                out.setdefault(label, _affine(graph, nodes, name, whole, nodes[name], label))
                return label
            return name
        if name not in out:
            out[name] = _affine(graph, nodes, name, whole, nodes[name])
        return name

    for node in graph:
        if node.op == "input":
            out[node.name] = _plain(node, "input", ())
        elif node.name in keep:
            operand(node.name, None)
        elif node.name in whole:
            if node.op not in NONLINEAR:
                raise CompileError(f"{node.op} is not an operation that packing knows", where=node.origin)
            inputs = tuple(operand(i, node) for i in node.inputs)
            out[node.name] = _plain(node, node.op, inputs)
    outputs = tuple(operand(name, None) for name in graph.outputs)
    return tuple(out.values()), outputs


def _plain(node: Node, kind: str, inputs: tuple[str, ...]) -> Region:
    t = node.type
    return Region(node.name, kind, inputs, t.shape, t.low, t.high, node.origin, node.attrs)


def _affine(
    graph: Graph, nodes: Mapping[str, Node], name: str, whole: set[str], node: Node, label: str = ""
) -> Region:
    """The region that ends at `name`, its matrices found by sending unit vectors through the exact
    references."""
    inside, sources = _collect(nodes, name, whole)
    zeros = {s: np.zeros(nodes[s].type.shape) for s in sources}
    bias = _evaluate(graph, inside, name, zeros).reshape(-1)
    terms = []
    for s in sources:
        size = nodes[s].type.size
        found = None
        if size * max(size, bias.size) > MAX_DENSE:
            found = _structured(graph, inside, name, zeros, s)
        elif size * bias.size > MAX_PROBED:
            found = _local(graph, inside, name, zeros, s)
        if found is None and size * max(size, bias.size) > MAX_PROBED:
            found = _carrying(graph, inside, name, zeros, s)
        if found is not None:
            terms.append(found)
        else:
            terms.append(Term(s, _probe(graph, inside, name, zeros, s) - bias[:, None]))
    t = node.type
    region = Region(
        label or name, "affine", tuple(sources), t.shape, t.low, t.high, node.origin, {}, tuple(terms), bias
    )
    _check(graph, inside, name, nodes, region)
    return region


def _collect(nodes: Mapping[str, Node], name: str, whole: set[str]) -> tuple[list[Node], list[str]]:
    """Secret nodes inside the region in topological order, and the whole values it starts from."""
    inside: dict[str, Node] = {}
    sources: dict[str, None] = {}

    def visit(value: str) -> None:
        if value in whole:
            sources.setdefault(value)
        elif value not in inside and nodes[value].type.secret:
            for i in nodes[value].inputs:
                visit(i)
            inside[value] = nodes[value]

    visit(name)
    return list(inside.values()), list(sources)


def _evaluate(
    graph: Graph, inside: list[Node], name: str, values: Mapping[str, NDArray[np.float64]]
) -> NDArray[np.float64]:
    known = dict(values)
    for node in inside:
        op = OPS[node.op]
        assert isinstance(op, Primitive)
        operands = [known[i] if i in known else graph.constants[i] for i in node.inputs]
        known[node.name] = op.reference(operands, node.attrs)
    return np.asarray(known[name], dtype=np.float64)


def _probe(
    graph: Graph, inside: list[Node], name: str, zeros: Mapping[str, NDArray[np.float64]], source: str
) -> NDArray[np.float64]:
    """Matrix plus bias, [result.size, source.size]: all unit vectors as one batch, or one by one.

    The batch works where the leading axis is carried through untouched; `_check` would see it if it did not.
    """
    if all(z.shape[0] == 1 for z in zeros.values()):
        unit = np.eye(zeros[source].size).reshape(-1, *zeros[source].shape[1:])
        rows = {s: unit if s == source else np.repeat(z, len(unit), axis=0) for s, z in zeros.items()}
        try:
            out = _evaluate(graph, _with_batch(inside, len(unit)), name, rows)
        except (ValueError, IndexError):
            out = np.zeros(0)
        if out.size == len(unit) * _size(inside, name, zeros) and out.shape[0] == len(unit):
            return np.ascontiguousarray(out.reshape(len(unit), -1).T)
    columns = []
    for column in np.eye(zeros[source].size):
        columns.append(
            _evaluate(graph, inside, name, {**zeros, source: column.reshape(zeros[source].shape)}).reshape(-1)
        )
    return np.stack(columns, axis=1)


def _structured(
    graph: Graph, inside: list[Node], name: str, zeros: Mapping[str, NDArray[np.float64]], source: str
) -> Term:
    """A term whose matrix is too large to be written out: over the axes that are not carried only."""
    linear, bias = _linear(graph, inside, name, zeros, source)
    pairs = carried_axes(linear, zeros[source].shape, bias.shape)
    entries = None if pairs else local_entries(linear, zeros[source].shape, bias.shape)
    if entries is not None:
        return Term(source, np.zeros((0, 0)), local=entries)
    rows, columns = (
        left_over(s, [p[i] for p in pairs]) for i, s in ((1, bias.shape), (0, zeros[source].shape))
    )
    if rows * columns > MAX_MATRIX:
        node = next(n for n in inside if n.name == name)
        raise LimitError(
            f"an affine map of {zeros[source].size} to {bias.size} values",
            where=node.origin,
            why=f"its matrix has more than {MAX_MATRIX} entries, and only"
            f" {len(pairs)} axes are carried through unchanged",
            fix="use a smaller model",
        )
    if not pairs:
        return Term(source, sparse_matrix(linear, zeros[source].shape, bias.size))
    return Term(source, small_matrix(linear, zeros[source].shape, bias.shape, pairs), pairs)


def _carrying(
    graph: Graph, inside: list[Node], name: str, zeros: Mapping[str, NDArray[np.float64]], source: str
) -> Term | None:
    """A term over the axes that are not carried, if some are."""
    linear, bias = _linear(graph, inside, name, zeros, source)
    pairs = carried_axes(linear, zeros[source].shape, bias.shape)
    if not pairs:
        return None
    return Term(source, small_matrix(linear, zeros[source].shape, bias.shape, pairs), pairs)


def _local(
    graph: Graph, inside: list[Node], name: str, zeros: Mapping[str, NDArray[np.float64]], source: str
) -> Term | None:
    """A term as its non-zeros, if it acts locally and carries nothing, or has few as a shortcut has. Axes
    that are to be filled up to a power of two are carried in any case."""
    linear, bias = _linear(graph, inside, name, zeros, source)
    shape = zeros[source].shape
    carried = carried_axes(linear, shape, bias.shape)
    if any(shape[a] & (shape[a] - 1) for a, _ in carried):
        return None
    entries = local_entries(linear, shape, bias.shape)
    if entries is None or (entries.widest > FEW and carried):
        return None
    return Term(source, np.zeros((0, 0)), local=entries)


def _linear(
    graph: Graph, inside: list[Node], name: str, zeros: Mapping[str, NDArray[np.float64]], source: str
) -> tuple[Callable[[NDArray[np.float64]], NDArray[np.float64]], NDArray[np.float64]]:
    """The map from one source without its bias, and the bias."""
    bias = _evaluate(graph, inside, name, zeros)
    return lambda x: _evaluate(graph, inside, name, {**zeros, source: x}) - bias, bias


def _size(inside: list[Node], name: str, zeros: Mapping[str, NDArray[np.float64]]) -> int:
    return zeros[name].size if name in zeros else next(n.type.size for n in inside if n.name == name)


def _with_batch(inside: list[Node], batch: int) -> list[Node]:
    """The same nodes for a batch: shapes in attributes get the batch instead of the leading 1."""
    out = []
    for node in inside:
        shape = node.attrs.get("shape")
        if isinstance(shape, tuple) and shape and shape[0] == 1:
            node = node.with_(attrs={**node.attrs, "shape": (batch, *shape[1:])})
        out.append(node)
    return out


def _check(graph: Graph, inside: list[Node], name: str, nodes: Mapping[str, Node], region: Region) -> None:
    """The matrices give what the nodes give, on one random input."""
    rng = np.random.default_rng(0)
    values = {t.source: rng.standard_normal(nodes[t.source].type.shape) for t in region.terms}
    assert region.bias is not None
    mine = region.bias + sum(t.apply(values[t.source], region.shape).reshape(-1) for t in region.terms)
    true = _evaluate(graph, inside, name, values).reshape(-1)
    if not np.allclose(mine, true, rtol=1e-9, atol=1e-9 * (1 + np.abs(true).max())):
        raise CompileError("the matrix of an affine region disagrees with its nodes", where=region.origin)
