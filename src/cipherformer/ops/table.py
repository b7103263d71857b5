"""The op table as documentation: one row an op, derived from its entry."""

from __future__ import annotations

from cipherformer.ops import OPS
from cipherformer.ops.spec import Composite, Op, Primitive


def markdown() -> str:
    """Two tables: primitives, and composites with their lowerings or the way round them."""
    primitives = [_row(op, _exactness(op)) for op in OPS.values() if isinstance(op, Primitive)]
    composites = [_row(op, _private_form(op)) for op in OPS.values() if isinstance(op, Composite)]
    return "\n".join(
        [
            "| primitive | value | attributes | under encryption |",
            "|---|---|---|---|",
            *primitives,
            "",
            "| composite | value | attributes | private form |",
            "|---|---|---|---|",
            *composites,
            "",
        ]
    )


def _exactness(op: Primitive) -> str:
    return "approximated" if op.planned else "exact"


def _private_form(op: Composite) -> str:
    if not op.lowerings:
        return f"none: {op.fix}"
    how = "polynomial of calibrated degree" if op.elementwise else "primitives"
    sources = [low.source for low in op.lowerings.values() if low.source]
    return f"{', '.join(op.lowerings)}: {how}" + (f" ({'; '.join(sources)})" if sources else "")


def _row(op: Op, last: str) -> str:
    attrs = ", ".join(f"{name}: {kind}" for name, kind in op.attrs.items())
    return f"| `{op.name}` | {op.formula.replace('|', '/')} | {attrs} | {last} |"
