"""Tables and the JSON record of an emulated run."""

from __future__ import annotations

from typing import Any

from cipherformer.backends.emulate import Emulation
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
    rows.append(("values near the ring's bound", str(len(result.near))))
    if result.near:
        origin, name, bits = result.near[0]
        rows.append(("the nearest, bits of headroom", f"{origin or '(input)'} {name}, {bits}"))
    title = f"Emulated in {ring.width} bits with {ring.frac_bits} fraction bits"
    return Table(title, ("", ">value"), tuple(rows))


def policies_table(result: Emulation) -> Table:
    """Truncations of each policy, against `every`."""
    every = result.policies[0].elements
    rows = tuple(
        (
            p.policy,
            f"{p.truncations:,}",
            f"{p.elements:,}",
            f"{p.elements / every:.3f}" if every else "1",
            f"{p.compared:,}",
        )
        for p in result.policies
    )
    columns = ("policy", ">truncations", ">elements truncated", ">of every", ">elements compared")
    return Table("Truncations for one input", columns, rows)


def layers_table(result: Emulation) -> Table:
    """Layers with the largest relative errors, the worst first."""
    worst = sorted(result.layers, key=lambda e: -e.relative)[:MOST_LAYERS]
    rows = tuple((e.origin or "(input)", e.value, f"{e.largest:.1e}", f"{e.relative:.1e}") for e in worst)
    return Table("Layers with the largest errors", ("layer", "value", ">largest error", ">relative"), rows)
