"""Decide every approximation: the degree of each polynomial, the steps of each reciprocal."""

from __future__ import annotations

from cipherformer.approx.goldschmidt import ReciprocalPlan, plan_reciprocal
from cipherformer.errors import CipherformerError, LimitError
from cipherformer.graph import Graph, Node
from cipherformer.graph.rewrite import GraphBuilder, rebuilt
from cipherformer.ops import OPS, Composite, ErrorBudget
from cipherformer.ops.spec import number

DOMAIN_SLACK = 0.25
"""Part of its interval's width by which a calibrated range, margin included, may leave it."""


def approximate(graph: Graph, budget: ErrorBudget | None = None, *, target: str = "ckks") -> Graph:
    """Replace elementwise composites by polynomials, and plan reciprocals, from calibrated ranges.

    Args:
        graph: calibrated.
        budget: errors allowed and costs accepted.
        target: whose lowerings to take.

    Raises:
        LimitError: sites that the budget does not allow, all of them, each with its reason.
    """
    budget = budget or ErrorBudget()
    build = GraphBuilder(graph.name)
    names: dict[str, str] = {}
    refused: list[CipherformerError] = []
    for node in graph.nodes:
        build.origin = node.origin
        inputs = [names[i] for i in node.inputs]
        try:
            names[node.name] = _approximated(graph, node, inputs, build, budget, target)
        except LimitError as error:
            refused.append(
                LimitError(error.what, where=node.origin or node.name, why=error.why, fix=error.fix)
            )
            names[node.name] = build.copy(graph, node, inputs)
    if len(refused) == 1:
        raise refused[0]
    if refused:
        raise LimitError(
            f"{len(refused)} sites exceed the error budget",
            where=graph.name,
            why="\n".join(map(str, refused)),
            fix="see each site",
        )
    return rebuilt(graph, build, names)


def _approximated(
    graph: Graph, node: Node, inputs: list[str], build: GraphBuilder, budget: ErrorBudget, target: str
) -> str:
    op = OPS[node.op]
    if node.op == "reciprocal" and "relaxations" not in node.attrs:
        plan = plan_divisor(node, build.node(inputs[0]), budget)
        low, high = build.type_of(inputs[0]).low, build.type_of(inputs[0]).high
        attrs = {
            "low": low,
            "high": high,
            "iterations": plan.iterations,
            "relaxations": plan.relaxations,
        }
        return build.copy(graph, node.with_(attrs=attrs), inputs)
    if isinstance(op, Composite) and op.elementwise and target in op.lowerings:
        name = op.lowerings[target].emit(build, inputs, node.attrs, budget)
        if node.type.low is not None and node.type.high is not None:
            build.set_range(name, node.type.low - budget.activation, node.type.high + budget.activation)
        return name
    if node.op == "polynomial":
        check_domain(node, build.node(inputs[0]))
    return build.copy(graph, node, inputs)


def check_domain(node: Node, operand: Node) -> None:
    """LimitError if a polynomial of the model is used far outside the interval it was fitted on."""
    low, high = number(node.attrs, "low"), number(node.attrs, "high")
    slack = DOMAIN_SLACK * (high - low)
    kind = operand.type
    if (
        kind.low is not None
        and kind.high is not None
        and (kind.low < low - slack or kind.high > high + slack)
    ):
        raise LimitError(
            f"a polynomial for [{low:.4g}, {high:.4g}] gets values in [{kind.low:.4g}, {kind.high:.4g}]",
            why="outside its interval a polynomial grows without bound",
            fix="fit it on a wider interval, or train with a range loss so that its inputs stay inside",
        )


def plan_divisor(node: Node, divisor: Node, budget: ErrorBudget) -> ReciprocalPlan:
    """The plan of a reciprocal, or LimitError with what the site needs and what would help."""
    low, high = divisor.type.low, divisor.type.high
    if low is None or high is None:
        raise LimitError("a divisor has no calibrated range", fix="calibrate before approximating")
    span = f"the divisor lies in [{low:.4g}, {high:.4g}]"
    if low <= 0.0:
        raise LimitError(
            "a divisor can be zero or negative", why=span, fix="add a positive epsilon to the divisor"
        )
    plan = plan_reciprocal(low, high, budget.reciprocal)
    if high / low > budget.max_reciprocal_ratio or plan.levels > budget.max_reciprocal_levels:
        raise LimitError(
            f"a reciprocal needs {plan.levels} levels on an interval with high / low = {high / low:.4g}",
            why=f"{span}; the budget allows {budget.max_reciprocal_levels} levels"
            f" and a ratio of {budget.max_reciprocal_ratio:g}",
            fix="train with a range loss so that the interval shrinks, use a larger epsilon,"
            " or raise max_reciprocal_ratio and max_reciprocal_levels",
        )
    return plan
