"""Write the golden files anew: `.venv/bin/python tests/golden/regenerate.py`, then read the difference."""

from __future__ import annotations

from pathlib import Path

from models import SHAPES, captured, samples

from cipherformer.capture.aten import HANDLERS
from cipherformer.graph import Node
from cipherformer.graph.text import print_graph
from cipherformer.graph.verify import verify
from cipherformer.ops.table import markdown
from cipherformer.passes.approximate import approximate
from cipherformer.passes.calibrate import calibrate
from cipherformer.passes.fold import fold
from cipherformer.passes.lower import lower
from cipherformer.passes.ring import to_ring
from cipherformer.passes.ring_cost import cost
from cipherformer.passes.truncate import POLICIES, Placement, place
from cipherformer.targets.protocols import protocol
from cipherformer.targets.ring import RingTarget

FOLDER = Path(__file__).parent
STEPS = ("trunc", "extend", "narrow")
OPERATIONS = FOLDER.parents[1] / "docs" / "operations.md"


def operations() -> str:
    """The page that lists what models may contain."""
    imported = ", ".join(f"`{name}`" for name in sorted(HANDLERS))
    return (
        "# Operations\n\n"
        "Made from the op table by `.venv/bin/python tests/golden/regenerate.py`; a test compares.\n\n"
        f"{markdown()}\n"
        "## What the importer takes\n\n"
        "Operations of `torch.export` on values that depend on the input. What depends on weights and\n"
        "constants only is computed on import. Other operations are decomposed by torch into these if they\n"
        f"can be, and named by `cipherformer check` if not.\n\n{imported}\n"
    )


def placement(name: str) -> str:
    """Where truncations stand in 64 bits with 16 fraction bits, and what each policy costs."""
    ring = to_ring(captured(name), samples(name)).graph
    lines = []
    for profile in (protocol("additive"), protocol("masked")):
        target = RingTarget(64, 16, truncation=profile.truncation)
        for policy in POLICIES:
            placed = place(ring, target, policy)
            found = cost(placed, profile)
            sent, dealt = round(found.online_bytes), round(found.offline_bytes)
            lines.append(
                f"{profile.name} {policy}: {placed.truncated_elements} elements truncated"
                + ("" if policy == "optimal" else f", {found.rounds} rounds, {sent} + {dealt} bytes")
            )
            if policy in ("every", "hoisted"):  # optima need not be unique
                lines += [_step(placed, node) for node in placed.graph.nodes if node.op in STEPS]
    return "\n".join(lines) + "\n"


def _step(placed: Placement, node: Node) -> str:
    source = node.inputs[0]
    before, after = (f"{placed.frac_bits[n]} in {placed.widths[n]} bits" for n in (source, node.name))
    return f"  {node.op} {source}: {before} -> {after}, {node.type.size} elements @ {node.origin}"


def texts(name: str) -> dict[str, str]:
    """File name to text."""
    graph = captured(name)
    lowered = approximate(calibrate(lower(fold(graph)), samples(name)))
    return {
        f"{name}.captured.txt": print_graph(graph),
        f"{name}.lowered.txt": print_graph(verify(lowered, "ckks.lowered")),
        f"{name}.placement.txt": placement(name),
    }


def main() -> None:
    """All of them."""
    for name in SHAPES:
        for file, text in texts(name).items():
            (FOLDER / file).write_text(text)
    OPERATIONS.write_text(operations())


if __name__ == "__main__":
    main()
