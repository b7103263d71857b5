"""A model's private computation in a ring, emulated in plaintext and compared with float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.backends import fixed
from cipherformer.backends.prepared import Prepared
from cipherformer.errors import DataError
from cipherformer.graph import Graph
from cipherformer.graph.evaluate import evaluate
from cipherformer.passes.placement import Placement, Solved
from cipherformer.passes.ring import RingGraph, to_ring
from cipherformer.passes.ring_cost import cost
from cipherformer.passes.truncate import GREEDY, SECONDS, Objective, place
from cipherformer.targets.protocols import NETWORKS, ComputePrices
from cipherformer.targets.protocols import protocol as profile
from cipherformer.targets.ring import RingTarget

Sample = Mapping[str, NDArray[Any]]
Floats = NDArray[np.float64]

NEAR_BITS = 2
"""A value is near the ring's bound if it has fewer bits of headroom."""


@dataclass(frozen=True, slots=True)
class LayerError:
    """How far a layer's values are from float64, over all samples.

    Args:
        origin: module path.
        largest: absolute error.
        relative: root mean square of the errors over that of the values, of the layer's worst value.
        value: the value that it is of.
    """

    origin: str
    largest: float
    relative: float
    value: str


@dataclass(frozen=True, slots=True)
class PolicyCost:
    """What one policy costs for one input, in one protocol.

    Args:
        policy: of truncation.
        truncations: number, each of a whole tensor.
        elements: truncated.
        compared: elements compared with public thresholds.
        extensions: number of re-extensions to a wider ring.
        extended: elements re-extended.
        rounds: on the longest path.
        online_bytes: that one party sends.
        offline_bytes: of correlated randomness that one party receives.
        seconds: predicted, online, by network.
        solved: what the solver says, for `optimal`.
    """

    policy: str
    truncations: int
    elements: int
    compared: int
    extensions: int
    extended: int
    rounds: int
    online_bytes: float
    offline_bytes: float
    seconds: Mapping[str, float]
    solved: Solved | None = None


@dataclass(frozen=True, slots=True)
class Choices:
    """How to place truncations, and for which protocol.

    Args:
        policy: see `passes.truncate`.
        protocol: whose cost is predicted, and made small by `optimal`.
        network: `lan` or `wan`: the one that `optimal` has in mind.
        seconds: for each program of `optimal`.
    """

    policy: str = "hoisted"
    protocol: str = "additive"
    network: str = "lan"
    seconds: float = SECONDS


@dataclass(frozen=True, slots=True)
class Emulation:
    """What an emulated run showed.

    Args:
        target: the ring.
        policy: of the run.
        protocol: of the predicted costs.
        samples: inputs that were run.
        largest_error: of the outputs, against float64.
        rms_error: likewise.
        top1_agreement: part of rows whose largest entry is the same one.
        layers: in order of execution.
        near: origins and names of values near the ring's bound, with their headroom in bits.
        overflows: values that left the ring.
        policies: costs of the greedy policies, and of the run's.
        carriers: operations by the arithmetic that they needed.
        accuracy: with labels: (float64, emulated), part of labels hit.
        perplexity: with labels: (float64, emulated), exp of the mean negative log likelihood.
    """

    target: RingTarget
    policy: str
    protocol: str
    samples: int
    largest_error: float
    rms_error: float
    top1_agreement: float
    layers: tuple[LayerError, ...]
    near: tuple[tuple[str, str, int], ...]
    overflows: tuple[str, ...]
    policies: tuple[PolicyCost, ...]
    carriers: Mapping[str, int]
    accuracy: tuple[float, float] | None = None
    perplexity: tuple[float, float] | None = None


def emulate(
    graph: Graph,
    samples: Sequence[Sample],
    target: RingTarget,
    *,
    policy: str = "hoisted",
    protocol: str = "additive",
    network: str = "lan",
    seconds: float = SECONDS,
    method: str = "ring",
    labels: NDArray[np.int64] | None = None,
    calibration: Sequence[Sample] | None = None,
    seed: int = 0,
    on_step: Callable[[int, int], None] | None = None,
) -> Emulation:
    """Lower, place and run a captured graph; compare with float64.

    Args:
        graph: captured.
        samples: inputs to run.
        target: the ring.
        policy: of truncation, see `passes.truncate`.
        protocol: whose cost is predicted, and made small by `optimal`.
        network: `lan` or `wan`: the one that `optimal` has in mind.
        seconds: for each program of `optimal`.
        method: functions, see `passes.ring.to_ring`.
        labels: int [n] or [n, L]: the right entry of the first output's last axis, or the next tokens; those
            below 0 are left out.
        calibration: inputs that ranges are taken from; `samples` by default.
        seed: of probabilistic truncation.
        on_step: called with (nodes done, nodes in all).

    Raises:
        ModelError, LimitError: as the passes do.
        DataError: no samples, or labels that do not fit.
    """
    if not samples:
        raise DataError("no inputs to run", fix="give at least one")
    ring = to_ring(graph, calibration or samples, method=method)
    choices = Choices(policy, protocol, network, seconds)
    return emulate_ring(ring, samples, target, choices=choices, labels=labels, seed=seed, on_step=on_step)


def emulate_ring(
    ring: RingGraph,
    samples: Sequence[Sample],
    target: RingTarget,
    *,
    choices: Choices | None = None,
    labels: NDArray[np.int64] | None = None,
    seed: int = 0,
    on_step: Callable[[int, int], None] | None = None,
) -> Emulation:
    """As `emulate`, of a model that is in the ring dialect already."""
    chosen = choices or Choices()
    placements = placed(ring, target, chosen)
    placement = placements[chosen.policy]
    books = _Books(ring, placement)
    prepared = Prepared(placement, keep=books.names())
    total, done = len(samples) * len(placement.graph.nodes), 0

    def step(_: object) -> None:
        nonlocal done
        done += 1
        if on_step:
            on_step(done, total)

    for i, sample in enumerate(samples):
        wanted = evaluate(ring.reference, sample, keep=True)
        got = prepared.run(sample, seed=seed + i, on_node=step)
        books.add(wanted, got)
    costs = tuple(policy_cost(p, chosen.protocol) for p in placements.values())
    return books.close(costs, chosen, labels)


def placed(ring: RingGraph, target: RingTarget, choices: Choices) -> dict[str, Placement]:
    """Placements of the greedy policies, and of the one chosen."""
    objective = Objective(profile(choices.protocol), NETWORKS[choices.network])
    names = dict.fromkeys([*GREEDY, choices.policy])
    return {n: place(ring.graph, target, n, objective=objective, seconds=choices.seconds) for n in names}


def policy_cost(placement: Placement, name: str) -> PolicyCost:
    """What a placement costs in a protocol."""
    found, prices = cost(placement, profile(name)), ComputePrices.default()
    return PolicyCost(
        placement.policy,
        placement.truncations,
        placement.truncated_elements,
        placement.compared_elements,
        placement.extensions,
        placement.extended_elements,
        found.rounds,
        found.online_bytes,
        found.offline_bytes,
        {network: found.seconds(link, prices) for network, link in NETWORKS.items()},
        placement.solved,
    )


@dataclass(slots=True)
class _Books:
    """Sums over samples."""

    ring: RingGraph
    placement: Placement
    outputs: list[tuple[Floats, Floats]] = field(default_factory=list)
    errors: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    headroom: dict[str, int] = field(default_factory=dict)
    overflows: list[str] = field(default_factory=list)
    carriers: dict[str, int] = field(default_factory=dict)

    def add(self, wanted: Mapping[str, Floats], got: fixed.Result) -> None:
        """One sample."""
        for node in self.ring.reference.nodes:
            here = self._stands_for(node.name)
            if not node.type.secret or here not in got.values:
                continue
            difference = np.abs(got.values[here] - wanted[node.name])
            largest, squares, norm = self.errors.get(node.name, (0.0, 0.0, 0.0))
            self.errors[node.name] = (
                max(largest, float(difference.max())),
                squares + float((difference**2).sum()),
                norm + float((wanted[node.name] ** 2).sum()),
            )
        for name, bits in got.headroom.items():
            self.headroom[name] = min(bits, self.headroom.get(name, bits))
        for name, count in got.carriers.items():
            self.carriers[name] = self.carriers.get(name, 0) + count
        self.overflows += got.overflows
        output = self.ring.reference.outputs[0]
        self.outputs.append((wanted[output], got.values[self.placement.graph.outputs[0]]))

    def names(self) -> set[str]:
        """Values of the ring that are compared."""
        return {self._stands_for(node.name) for node in self.ring.reference.nodes if node.type.secret}

    def _stands_for(self, name: str) -> str:
        return self.placement.names.get(self.ring.names.get(name, ""), "")

    def close(
        self, costs: tuple[PolicyCost, ...], choices: Choices, labels: NDArray[np.int64] | None
    ) -> Emulation:
        """The finished record."""
        float_out, ring_out = (np.concatenate(parts) for parts in zip(*self.outputs, strict=True))
        error = np.abs(float_out - ring_out)
        best = [out.argmax(axis=-1) for out in (float_out, ring_out)]
        scores = [score(out, labels) for out in (float_out, ring_out)] if labels is not None else []
        nodes = self.placement.graph.by_name()
        near = [
            (nodes[name].origin, name, bits)
            for name, bits in sorted(self.headroom.items(), key=lambda item: item[1])
            if bits < NEAR_BITS
        ]
        return Emulation(
            target=self.placement.target,
            policy=choices.policy,
            protocol=choices.protocol,
            samples=len(self.outputs),
            largest_error=float(error.max()),
            rms_error=float(np.sqrt((error**2).mean())),
            top1_agreement=float((best[0] == best[1]).mean()),
            layers=self._layers(),
            near=tuple(near),
            overflows=tuple(self.overflows),
            policies=costs,
            carriers=dict(self.carriers),
            accuracy=(scores[0][0], scores[1][0]) if scores else None,
            perplexity=(scores[0][1], scores[1][1]) if scores else None,
        )

    def _layers(self) -> tuple[LayerError, ...]:
        worst: dict[str, LayerError] = {}
        for node in self.ring.reference.nodes:
            if node.name in self.errors:
                largest, squares, norm = self.errors[node.name]
                here = LayerError(node.origin, largest, (squares / norm) ** 0.5 if norm else 0.0, node.name)
                before = worst.get(node.origin)
                if before is None or here.relative > before.relative:
                    worst[node.origin] = here
        return tuple(worst.values())


def score(outputs: Floats, labels: NDArray[np.int64]) -> tuple[float, float]:
    """Accuracy, and exp of the mean negative log likelihood, of logits [n, ..., classes] for labels [n, ...].

    Raises:
        DataError: shapes that do not fit.
    """
    if outputs.shape[:-1] != labels.shape:
        raise DataError(
            f"labels of shape {list(labels.shape)}", why=f"the outputs have shape {list(outputs.shape)}"
        )
    counted = labels >= 0
    logits, right = outputs[counted], labels[counted]
    shifted = logits - logits.max(axis=-1, keepdims=True)
    likelihood = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    loss = -np.take_along_axis(likelihood, right[:, None], axis=-1).mean()
    return float((logits.argmax(axis=-1) == right).mean()), exp(float(loss))
