"""Write composites in primitives, and put the normaliser of attention behind the product with the values."""

from __future__ import annotations

from cipherformer.errors import ModelError
from cipherformer.graph import Graph, Node
from cipherformer.graph.move import through
from cipherformer.graph.rewrite import GraphBuilder, rebuilt
from cipherformer.ops import OPS, Composite, ErrorBudget, Lowering
from cipherformer.passes.fold import fold


def lower(graph: Graph, *, target: str = "ckks") -> Graph:
    """Only primitives and elementwise composites remain; the latter wait for their ranges (`approximate`).

    What the lowerings bring in (1/L, epsilon, masks) is folded again.

    Raises:
        ModelError: composites that the target cannot do, all of them, each with its fix.
    """
    refused = unsupported(graph, target)
    if refused:
        raise ModelError(
            f"{len(refused)} operations have no private form for {target}",
            where=graph.name,
            why="\n".join(f"{node.origin or node.name}: {node.op}" for node in refused),
            fix="; ".join(dict.fromkeys(_fix(node) for node in refused)),
        )
    build = GraphBuilder(graph.name)
    names: dict[str, str] = {}
    for node in graph.nodes:
        build.origin = node.origin
        inputs = [names[i] for i in node.inputs]
        op = OPS[node.op]
        if isinstance(op, Composite) and not op.elementwise:
            names[node.name] = _lowering(op, target).emit(build, inputs, node.attrs, ErrorBudget())
        else:
            names[node.name] = build.copy(graph, node, inputs)
    return fold(defer_normalisers(rebuilt(graph, build, names)))


def _lowering(op: Composite, target: str) -> Lowering:
    """That of `family.set` where there is one, else that of `family`."""
    return op.lowerings.get(target) or op.lowerings[target.split(".")[0]]


def unsupported(graph: Graph, target: str) -> list[Node]:
    """Composites without a lowering for the target."""
    found = []
    for node in graph.nodes:
        op = OPS[node.op]
        if isinstance(op, Composite) and target.split(".")[0] not in op.lowerings:
            found.append(node)
    return found


def _fix(node: Node) -> str:
    op = OPS[node.op]
    return op.fix if isinstance(op, Composite) else ""


def defer_normalisers(graph: Graph) -> Graph:
    """`(u r) v` becomes `(u v) r` where r is constant along the contracted axis.

    The reciprocal is the deepest chain of an attention layer. Behind the product it is multiplied last, so
    that it runs beside the product, and it scales L x d values in place of L x L.
    """
    build = GraphBuilder(graph.name)
    names: dict[str, str] = {}
    carriers = _carriers(graph)
    for node in graph.nodes:
        build.origin = node.origin
        inputs = [names[i] for i in node.inputs]
        moved = None
        if node.op == "matmul":
            moved = _defer(build, node, inputs)
        elif node.name in carriers:
            moved = _carry(build, node, inputs)
        names[node.name] = moved or build.copy(graph, node, inputs)
    return rebuilt(graph, build, names)


def _carriers(graph: Graph) -> set[str]:
    """Ops that only move values on their way to the left of a matmul."""
    consumers, found = graph.consumers(), set[str]()
    for node in reversed(graph.nodes):
        readers = consumers[node.name]
        if node.op in ("reshape", "permute", "expand") and len(readers) == 1:
            reader = readers[0]
            if reader.name in found or (reader.op == "matmul" and reader.inputs[0] == node.name):
                found.add(node.name)
    return found


def _row_factor(build: GraphBuilder, name: str) -> tuple[str, str] | None:
    """`(u, r)` if a value is u r with secret r constant along the last axis and u of full shape."""
    node = build.node(name)
    if node.op != "mul":
        return None
    for u, r in (node.inputs, node.inputs[::-1]):
        kinds = build.type_of(u), build.type_of(r)
        if kinds[1].secret and kinds[0].shape == node.type.shape and kinds[1].shape[-1:] == (1,):
            return u, r
    return None


def _defer(build: GraphBuilder, node: Node, inputs: list[str]) -> str | None:
    factors = _row_factor(build, inputs[0])
    if factors is None or build.type_of(inputs[0]).shape[-1] == 1:
        return None
    product = build.emit("matmul", factors[0], inputs[1])
    return build.emit("mul", product, factors[1])


def _carry(build: GraphBuilder, node: Node, inputs: list[str]) -> str | None:
    factors = _row_factor(build, inputs[0])
    if factors is None:
        return None
    u, r = factors
    moved = through(build, node, build.type_of(u).shape, r)
    if moved is None:
        return None
    return build.emit("mul", build.emit(node.op, u, **dict(node.attrs)), moved)
