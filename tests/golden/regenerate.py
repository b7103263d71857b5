"""Write the golden files anew: `.venv/bin/python tests/golden/regenerate.py`, then read the difference."""

from __future__ import annotations

from pathlib import Path

from models import SHAPES, captured, samples

from cipherformer.graph.text import print_graph
from cipherformer.graph.verify import verify
from cipherformer.passes.approximate import approximate
from cipherformer.passes.calibrate import calibrate
from cipherformer.passes.fold import fold
from cipherformer.passes.lower import lower

FOLDER = Path(__file__).parent


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


if __name__ == "__main__":
    main()
