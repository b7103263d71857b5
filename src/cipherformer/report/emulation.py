"""Tables and the JSON record of an emulated run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from cipherformer.backends.emulate import Emulation
from cipherformer.backends.sweep import Point
from cipherformer.passes.placement import Solved
from cipherformer.report.table import Table

MOST_LAYERS = 12


def record(result: Emulation) -> dict[str, Any]:
    """Everything, for `--json`."""
    every = result.policies[0].elements
    return {
        "ring_bits": result.target.width,
        "frac_bits": result.target.frac_bits,
        "guard_bits": result.target.guard_bits,
        "truncation": result.target.truncation.value,
        "policy": result.policy,
        "protocol": result.protocol,
        "samples": result.samples,
        "largest_error": result.largest_error,
        "rms_error": result.rms_error,
        "top1_agreement": result.top1_agreement,
        "accuracy": _pair(result.accuracy),
        "perplexity": _pair(result.perplexity),
        "overflows": list(result.overflows),
        "near_bound": [{"origin": o, "value": v, "headroom_bits": b} for o, v, b in result.near],
        "policies": {
            p.policy: {
                "truncations": p.truncations,
                "truncated_elements": p.elements,
                "compared_elements": p.compared,
                "extensions": p.extensions,
                "extended_elements": p.extended,
                "rounds": p.rounds,
                "online_bytes_per_party": p.online_bytes,
                "offline_bytes": p.offline_bytes,
                "predicted_seconds": dict(p.seconds),
                "solver": _solver(p.solved),
                "truncated_elements_over_every": p.elements / every if every else 1.0,
            }
            for p in result.policies
        },
        "layers": [
            {"origin": e.origin, "value": e.value, "largest_error": e.largest, "relative_error": e.relative}
            for e in result.layers
        ],
        "operations_by_carrier": dict(result.carriers),
    }


def _solver(solved: Solved | None) -> dict[str, Any] | None:
    return None if solved is None else {**asdict(solved), "gap": solved.gap}


def _pair(values: tuple[float, float] | None) -> dict[str, float] | None:
    return None if values is None else {"float": values[0], "emulated": values[1]}


def result_table(result: Emulation) -> Table:
    """The outputs against float64."""
    ring = result.target
    rows = [
        ("truncation", ring.truncation.value),
        ("policy", result.policy),
        ("inputs", str(result.samples)),
        ("largest error of an output", f"{result.largest_error:.2e}"),
        ("root mean square", f"{result.rms_error:.2e}"),
        ("same top entry as float", f"{result.top1_agreement:.2%}"),
    ]
    for name, pair, form in (
        ("accuracy", result.accuracy, "{:.2%}"),
        ("perplexity", result.perplexity, "{:.4f}"),
    ):
        if pair is not None:
            rows.append((f"{name}, float and emulated", ", ".join(map(form.format, pair))))
    rows.append(("elements compared with thresholds", f"{result.policies[-1].compared:,}"))
    rows.append(("values near the ring's bound", str(len(result.near))))
    if result.near:
        origin, name, bits = result.near[0]
        rows.append(("the nearest, bits of headroom", f"{origin or '(input)'} {name}, {bits}"))
    solved = next((p.solved for p in result.policies if p.policy == result.policy), None)
    if solved is not None:
        rows += _solver_rows(solved)
    title = f"Emulated in {ring.width} bits with {ring.frac_bits} fraction bits"
    return Table(title, ("", ">value"), tuple(rows))


def _solver_rows(solved: Solved) -> list[tuple[str, str]]:
    late = f", {solved.timed_out} stopped at the time limit" if solved.timed_out else ""
    rows = [
        ("solver: programs for blocks", f"{solved.programs} for {solved.blocks}{late}"),
        ("solver: gap to the bound, time", f"{solved.gap:.2%}, {solved.seconds:.1f} s"),
    ]
    if solved.why:
        rows.append((f"placement taken from {solved.taken}", solved.why))
    return rows


def policies_table(result: Emulation) -> Table:
    """Truncations and predicted costs of each policy, against `every`."""
    every = result.policies[0].elements
    rows = tuple(
        (
            p.policy,
            f"{p.truncations:,}",
            f"{p.elements:,}",
            f"{p.elements / every:.3f}" if every else "1",
            f"{p.extended:,}",
            f"{p.rounds:,}",
            f"{p.online_bytes / 1e6:.3f}",
            f"{p.offline_bytes / 1e6:.3f}",
            *(f"{p.seconds[n]:.3g}" for n in ("lan", "wan")),
        )
        for p in result.policies
    )
    columns = (
        "policy",
        ">truncations",
        ">elements",
        ">of every",
        ">extended",
        ">rounds",
        ">MB sent",
        ">MB dealt",
        ">LAN s",
        ">WAN s",
    )
    return Table(f"One input, predicted for one party of {result.protocol}", columns, rows)


def layers_table(result: Emulation) -> Table:
    """Layers with the largest relative errors, the worst first."""
    worst = sorted(result.layers, key=lambda e: -e.relative)[:MOST_LAYERS]
    rows = tuple((e.origin or "(input)", e.value, f"{e.largest:.1e}", f"{e.relative:.1e}") for e in worst)
    return Table("Layers with the largest errors", ("layer", "value", ">largest error", ">relative"), rows)


def sweep_table(points: Sequence[Point]) -> Table:
    """Accuracy and cost of every ring."""
    rows = []
    for p in points:
        if p.result is None:
            rows.append((str(p.ring_bits), str(p.frac_bits), *["-"] * 7, p.reason))
            continue
        r, cost = p.result, p.result.policies[-1]
        rows.append(
            (
                str(p.ring_bits),
                str(p.frac_bits),
                f"{r.perplexity[1]:.4f}" if r.perplexity else "-",
                f"{r.top1_agreement:.1%}",
                f"{r.rms_error:.1e}",
                f"{cost.elements:,}",
                f"{cost.online_bytes / 1e6:.2f}",
                f"{cost.seconds['lan']:.3g}",
                f"{cost.seconds['wan']:.3g}",
                "",
            )
        )
    columns = (
        ">ring",
        ">fraction",
        ">perplexity",
        ">same top",
        ">rms error",
        ">truncated",
        ">MB sent",
        ">LAN s",
        ">WAN s",
        "",
    )
    return Table("Accuracy and cost by ring and fraction bits", columns, tuple(rows))


def sweep_record(points: Sequence[Point]) -> list[dict[str, Any]]:
    """Every point, for `--json`."""
    return [
        {
            "ring_bits": p.ring_bits,
            "frac_bits": p.frac_bits,
            "reason": p.reason or None,
            **({} if p.result is None else _point(p.result)),
        }
        for p in points
    ]


def _point(result: Emulation) -> dict[str, Any]:
    cost = result.policies[-1]
    return {
        "rms_error": result.rms_error,
        "largest_error": result.largest_error,
        "top1_agreement": result.top1_agreement,
        "perplexity": _pair(result.perplexity),
        "accuracy": _pair(result.accuracy),
        "policy": cost.policy,
        "truncated_elements": cost.elements,
        "rounds": cost.rounds,
        "online_bytes_per_party": cost.online_bytes,
        "offline_bytes": cost.offline_bytes,
        "predicted_seconds": dict(cost.seconds),
    }
