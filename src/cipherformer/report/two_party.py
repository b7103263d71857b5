"""Tables and the JSON record of a two-party run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.backends import exact
from cipherformer.backends.mpc2.compile import Compiled
from cipherformer.backends.mpc2.program import Program, Step
from cipherformer.backends.mpc2.protocols import Cost, cost, opens
from cipherformer.graph import Graph
from cipherformer.report.table import Table, show_bytes, show_seconds

MOST_LAYERS = 20
LAYER_DEPTH = 4
PARTIES = ("server", "client")

Reports = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Layer:
    """What one part of the model took in the last query.

    Args:
        name: module path, or protocol.
        rounds: in which it opened something; parts share rounds.
        sent_bytes: payload, both parties.
        seconds: computing online, both parties.
        dealt_bytes: sent by the dealer.
        dealt_seconds: the dealer took.
    """

    name: str
    rounds: int
    sent_bytes: int
    seconds: float
    dealt_bytes: int
    dealt_seconds: float

    def record(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "name": self.name,
            "rounds": self.rounds,
            "bytes": self.sent_bytes,
            "seconds": self.seconds,
            "offline_bytes": self.dealt_bytes,
            "offline_seconds": self.dealt_seconds,
        }


@dataclass(frozen=True, slots=True)
class Summary:
    """A run against the plaintext model.

    Args:
        samples: asked.
        largest_error: of an output.
        cosine: smallest of an answer with the plaintext one.
        top1_agreement: answers whose largest entry (of the last axis) is the plaintext's.
        answer: the last output, first sample.
        declared: by the program.
        reports: of the roles.
        layers: by module.
        protocols: by protocol.
    """

    samples: int
    largest_error: float
    cosine: float
    top1_agreement: float
    answer: NDArray[np.float64]
    declared: Cost
    reports: Reports
    layers: tuple[Layer, ...]
    protocols: tuple[Layer, ...]

    def mean(self, role: str, name: str) -> float:
        """Of a quantity by query."""
        return float(np.mean(self.reports[role][name]))

    def record(self) -> dict[str, Any]:
        """Everything, for `--json`."""
        return {
            "samples": self.samples,
            "largest_error": self.largest_error,
            "cosine": self.cosine,
            "top1_agreement": self.top1_agreement,
            "answer": self.answer.ravel().tolist(),
            "rounds": self.declared.rounds,
            "online_seconds": self.mean("client", "online_s"),
            "online_bytes_server": self.mean("server", "online_bytes"),
            "online_bytes_client": self.mean("client", "online_bytes"),
            "offline_seconds": self.mean("server", "offline_s"),
            "offline_bytes": self.mean("dealer", "dealt_bytes"),
            "setup_seconds": self.reports["server"]["setup_s"],
            "setup_bytes": self.reports["server"]["setup_bytes"],
            "layers": [part.record() for part in self.layers],
            "protocols": [part.record() for part in self.protocols],
        }


def summary(
    graph: Graph,
    compiled: Compiled,
    samples: Sequence[Mapping[str, NDArray[Any]]],
    outputs: Sequence[NDArray[np.float64]],
    reports: Reports,
) -> Summary:
    """Compares answers with the plaintext model's.

    Args:
        graph: as captured: the plaintext model.
        compiled: what ran.
        samples: that were asked.
        outputs: answers, [n, ...] for each output.
        reports: of the roles.
    """
    errors, cosines, same = [], [], []
    for i, sample in enumerate(samples):
        wanted = exact.run(graph, sample)
        for name, found in zip(graph.outputs, outputs, strict=True):
            a, b = found[i : i + 1], wanted[name]
            errors.append(float(np.max(np.abs(a - b))))
            norms = float(np.linalg.norm(a) * np.linalg.norm(b))
            cosines.append(float(np.vdot(a, b)) / norms if norms else 1.0)
            single = a.shape[-1] == 1
            same.append(float(np.mean(np.rint(a) == np.rint(b) if single else a.argmax(-1) == b.argmax(-1))))
    return Summary(
        len(samples),
        max(errors),
        min(cosines),
        float(np.mean(same)),
        outputs[-1][0],
        cost(compiled.program),
        reports,
        *parts(compiled.program, reports),
    )


def parts(program: Program, reports: Reports) -> tuple[tuple[Layer, ...], tuple[Layer, ...]]:
    """The last query by module and by protocol."""
    layers = _layers(program, reports, lambda s: ".".join(s.origin.split(".")[:LAYER_DEPTH]) or "-")
    return layers, _layers(program, reports, lambda s: s.op)


def _layers(program: Program, reports: Reports, key: Callable[[Step], str]) -> tuple[Layer, ...]:
    rounds: dict[str, set[int]] = {}
    sums: dict[str, list[float]] = {}
    for step in program.steps:
        if step.op == "weight":
            continue
        name = key(step)
        rounds.setdefault(name, set()).update({step.round} if opens(step) else ())
        total = sums.setdefault(name, [0.0] * 4)
        for role in PARTIES:
            total[0] += reports[role]["sent"].get(step.name, 0)
            total[1] += reports[role]["seconds"].get(step.name, 0.0)
        total[2] += reports["dealer"]["sent"].get(step.name, 0)
        total[3] += reports["dealer"]["seconds"].get(step.name, 0.0)
    return tuple(
        Layer(name, len(rounds[name]), int(sent), seconds, int(dealt), dealing)
        for name, (sent, seconds, dealt, dealing) in sums.items()
    )


def tables(result: Summary) -> tuple[Table, ...]:
    """What the command prints."""
    declared = result.declared
    rows = (
        ("questions", str(result.samples)),
        ("largest error of an output", f"{result.largest_error:.2e}"),
        ("smallest cosine with the plaintext answer", f"{result.cosine:.6f}"),
        ("same top entry as in plaintext", f"{result.top1_agreement:.2%}"),
        ("answer (first question)", np.array2string(result.answer.ravel()[:8], precision=4, threshold=8)),
        ("online, a question", show_seconds(result.mean("client", "online_s"))),
        ("  of it waiting, at the client", show_seconds(result.mean("client", "waited_s"))),
        ("  rounds", f"{declared.rounds}"),
        ("  sent by the server", show_bytes(result.mean("server", "online_bytes"))),
        ("  sent by the client", show_bytes(result.mean("client", "online_bytes"))),
        ("offline, a question", show_seconds(result.mean("server", "offline_s"))),
        ("  sent by the dealer", show_bytes(result.mean("dealer", "dealt_bytes"))),
        ("weights, once a session", show_seconds(float(result.reports["server"]["setup_s"]))),
        ("  sent by the server", show_bytes(float(result.reports["server"]["setup_bytes"]))),
    )
    overview = Table("Two parties and a dealer", ("", ">value"), rows)
    return overview, *part_tables(result.layers, result.protocols)


def part_tables(layers: Sequence[Layer], protocols: Sequence[Layer]) -> tuple[Table, Table]:
    """The last query by module and by protocol, the largest first."""
    return _parts("Layers", layers), _parts("Protocols", protocols)


def _parts(title: str, found: Sequence[Layer]) -> Table:
    shown = sorted(found, key=lambda part: -part.sent_bytes)[:MOST_LAYERS]
    rows = tuple(
        (
            p.name,
            str(p.rounds),
            show_bytes(p.sent_bytes),
            show_seconds(p.seconds),
            show_bytes(p.dealt_bytes),
            show_seconds(p.dealt_seconds),
        )
        for p in shown
    )
    columns = (title.lower(), ">rounds", ">sent, both", ">computing, both", ">dealt", ">dealing")
    return Table(f"{title} of the last question", columns, rows)


@dataclass(frozen=True, slots=True)
class Generated:
    """Tokens, and what they took.

    Args:
        tokens: generated [n, count].
        wanted: by the plaintext model, greedily, each from the same tokens before it.
        programs: of the chain.
        reports: of the roles.
    """

    tokens: NDArray[np.int64]
    wanted: NDArray[np.int64]
    programs: Sequence[Program]
    reports: Reports

    def record(self) -> dict[str, Any]:
        """Everything, for `--json`."""
        layers, protocols = parts(self.programs[self.tokens.shape[1] - 1], self.reports)
        steps = [
            {
                "rounds": cost(program).rounds,
                "online_seconds": self._mean("client", "online_s", i),
                "online_bytes_server": self._mean("server", "online_bytes", i),
                "online_bytes_client": self._mean("client", "online_bytes", i),
                "offline_seconds": self._mean("server", "offline_s", i),
                "offline_bytes": self._mean("dealer", "dealt_bytes", i),
            }
            for i, program in enumerate(self.programs[: self.tokens.shape[1]])
        ]
        return {
            "tokens": self.tokens.tolist(),
            "agreement": float(np.mean(self.tokens == self.wanted)),
            "steps": steps,
            "setup_seconds": self.reports["server"]["setup_s"],
            "setup_bytes": self.reports["server"]["setup_bytes"],
            "layers": [part.record() for part in layers],
            "protocols": [part.record() for part in protocols],
        }

    def _mean(self, role: str, name: str, step: int) -> float:
        """Of a quantity of one step, over the prompts."""
        return float(np.mean(self.reports[role][name][step :: self.tokens.shape[1]]))

    def tables(self) -> tuple[Table, ...]:
        """What the command prints."""
        record = self.record()
        rows = tuple(
            (
                "prompt" if i == 0 else f"token {i}",
                str(step["rounds"]),
                show_seconds(step["online_seconds"]),
                show_bytes(step["online_bytes_server"] + step["online_bytes_client"]),
                show_seconds(step["offline_seconds"]),
                show_bytes(step["offline_bytes"]),
            )
            for i, step in enumerate(record["steps"])
        )
        columns = ("read", ">rounds", ">online", ">sent, both", ">offline", ">dealt")
        title = f"Generation: {record['agreement']:.2%} of the tokens are the plaintext model's"
        layers, protocols = parts(self.programs[self.tokens.shape[1] - 1], self.reports)
        return Table(title, columns, rows), *part_tables(layers, protocols)
