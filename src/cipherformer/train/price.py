"""What a model would cost between two parties and under encryption, predicted without running either."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from cipherformer.backends.emulate import Choices, placed, policy_cost
from cipherformer.capture import capture
from cipherformer.capture import check as obstacles_in
from cipherformer.compiler import Options, at_refreshes, compile_graph
from cipherformer.errors import CipherformerError
from cipherformer.graph import Graph
from cipherformer.passes.ring import to_ring
from cipherformer.plan.estimate import summarise
from cipherformer.targets.ring import RingTarget

Sample = dict[str, NDArray[Any]]
PROTOCOL = "additive"


def prices(
    model: nn.Module, *inputs: Tensor, encrypted: bool = True, measured: int | None = None
) -> dict[str, Any]:
    """Predicted costs of one query.

    Args:
        model: in evaluation mode.
        inputs: [n, ...] each, as the model takes them.
        measured: how many of them ranges come from; all by default. What the rest makes of refreshed values
            is only looked at.
        encrypted: compile for encryption too, which takes a while for large models.

    Returns:
        `two_party`: rounds, bytes and seconds; `encrypted`: levels, seconds and, if there are refreshes,
        `refreshed`: the largest share of its bound that a refreshed value reaches. Each with `reason` alone
        where the model cannot be run that way.
    """
    found: dict[str, Any] = {}
    try:
        graph = capture(model, tuple(x[:1] for x in inputs))
    except CipherformerError as error:
        return {"two_party": {"reason": str(error)}, "encrypted": {"reason": str(error)}}
    names = [entry.name for entry in graph.inputs]
    samples: list[Sample] = [
        {name: x[None].double().numpy() for name, x in zip(names, row, strict=True)}
        for row in zip(*inputs, strict=True)
    ]
    try:
        found["two_party"] = _two_party(graph, samples[:measured])
    except CipherformerError as error:
        found["two_party"] = {"reason": str(error)}
    if encrypted:
        found["encrypted"] = _encrypted(model, graph, tuple(x[:1] for x in inputs), samples, measured)
    return found


def _two_party(graph: Graph, samples: Sequence[Sample]) -> dict[str, Any]:
    ring = to_ring(graph, samples)
    choices = Choices(protocol=PROTOCOL)
    cost = policy_cost(placed(ring, RingTarget(64, 16, 1), choices)[choices.policy], PROTOCOL)
    return {
        "protocol": PROTOCOL,
        "rounds": cost.rounds,
        "online_bytes_per_party": cost.online_bytes,
        "offline_bytes": cost.offline_bytes,
        "predicted_seconds": dict(cost.seconds),
    }


def _encrypted(
    model: nn.Module,
    graph: Graph,
    example: tuple[Tensor, ...],
    samples: Sequence[Mapping[str, NDArray[np.float64]]],
    measured: int | None,
) -> dict[str, Any]:
    stands = obstacles_in(model, example)
    if stands:
        kinds = sorted({item.what.split(" of ")[0] for item in stands})
        return {"reason": f"{len(stands)} obstacles: {', '.join(kinds)}"}
    options = Options(threads=2)
    try:
        plan = compile_graph(graph, samples[:measured], options)
        shares = [largest / bound for _, largest, bound in at_refreshes(plan, samples)]
        return {**summarise(plan, options.threads), **({"refreshed": max(shares)} if shares else {})}
    except CipherformerError as error:
        return {"reason": str(error)}
