"""The op table as documentation: one row an op, derived from its entry."""

from __future__ import annotations

from cipherformer.ops import OPS, ring
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
            "| composite | value | attributes | under encryption | in a ring |",
            "|---|---|---|---|---|",
            *composites,
            "",
        ]
    )


def _exactness(op: Primitive) -> str:
    if op in ring.OPS:
        return "in rings only"
    return "approximated" if op.planned else "exact"


def _private_form(op: Composite) -> str:
    """Two cells: the form for CKKS, or the way round it; and the lowerings for rings."""
    own = op.lowerings.get("ckks")
    if own is None:
        encrypted = f"none: {op.fix}"
    else:
        how = "polynomial of calibrated degree" if op.elementwise else "primitives"
        encrypted = how + (f" ({own.source})" if own.source else "")
    names = [name.removeprefix("ring.") for name in op.lowerings if name.startswith("ring")]
    return f"{encrypted} | {', '.join('default' if name == 'ring' else name for name in names) or 'none'}"


def _row(op: Op, last: str) -> str:
    attrs = ", ".join(f"{name}: {kind}" for name, kind in op.attrs.items())
    return f"| `{op.name}` | {op.formula.replace('|', '/')} | {attrs} | {last} |"
