"""Write the golden files anew: `.venv/bin/python tests/golden/regenerate.py`, then read the difference."""

from __future__ import annotations

from pathlib import Path

from models import SHAPES, captured, samples

from cipherformer.capture.aten import HANDLERS
from cipherformer.graph.text import print_graph
from cipherformer.graph.verify import verify
from cipherformer.ops.table import markdown
from cipherformer.passes.approximate import approximate
from cipherformer.passes.calibrate import calibrate
from cipherformer.passes.fold import fold
from cipherformer.passes.lower import lower

FOLDER = Path(__file__).parent
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


def texts(name: str) -> dict[str, str]:
    """File name to text."""
    graph = captured(name)
    lowered = approximate(calibrate(lower(fold(graph)), samples(name)))
    return {
        f"{name}.captured.txt": print_graph(graph),
        f"{name}.lowered.txt": print_graph(verify(lowered, "ckks.lowered")),
    }


def main() -> None:
    """All of them."""
    for name in SHAPES:
        for file, text in texts(name).items():
            (FOLDER / file).write_text(text)
    OPERATIONS.write_text(operations())


if __name__ == "__main__":
    main()
