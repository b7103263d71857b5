"""Table and JSON record of a streamed emulation."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from cipherformer.backends.stream import StreamedEmulation
from cipherformer.report.table import Table, show_seconds


def record(result: StreamedEmulation) -> dict[str, Any]:
    """Everything but the activations, for `--json`."""
    return {
        "ring_bits": result.target.width,
        "frac_bits": result.target.frac_bits,
        "guard_bits": result.target.guard_bits,
        "truncation": result.target.truncation.value,
        "policy": result.policy,
        "top1_agreement": result.top1_agreement,
        "overflows": list(result.overflows),
        "blocks": [asdict(block) for block in result.blocks],
    }


def blocks_table(result: StreamedEmulation) -> Table:
    """A row a block."""
    rows = [
        (
            b.name,
            f"{b.relative:.1e}",
            f"{b.largest:.1e}",
            str(b.headroom),
            f"{b.elements:,}",
            show_seconds(b.seconds),
            show_seconds(b.seconds_in_all),
        )
        for b in result.blocks
    ]
    columns = ("block", ">error (rms)", ">largest", ">headroom", ">truncated", ">in the ring", ">in all")
    footer = ("all", "", "", "", f"{sum(b.elements for b in result.blocks):,}", "", "")
    title = f"Blocks in {result.target.width} bits; same top entry in {result.top1_agreement:.1%} of rows"
    return Table(title, columns, tuple(rows), footer)
