"""Pictures of what attention looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cipherformer.report.plot import COLOURS, bare, figure_class, save_figure

PANELS = (("distance", "mean distance, positions"), ("entropy", "entropy, nats"))


def plot_attention(rows: Sequence[Mapping[str, Any]], path: Path, *, title: str) -> None:
    """Draws distance and entropy by layer, a line for each kind of attention.

    Args:
        rows: `attention`, `layer`, `distance` and `entropy` of each layer.
        path: file to write; its ending (`.png`, `.svg` or `.pdf`) names the format.
        title: above the picture.

    Raises:
        DataError: nothing to draw, another ending, or matplotlib is not installed.
    """
    figure = figure_class(rows, path)(figsize=(9.0, 3.6), layout="constrained")
    panels = figure.subplots(1, 2)
    kinds = list(dict.fromkeys(row["attention"] for row in rows))
    for axes, (metric, name) in zip(panels, PANELS, strict=True):
        for number, kind in enumerate(kinds):
            own = [row for row in rows if row["attention"] == kind]
            colour = COLOURS[number % len(COLOURS)]
            axes.plot(
                [r["layer"] for r in own],
                [r[metric] for r in own],
                "o-",
                ms=4,
                lw=1.2,
                color=colour,
                label=kind,
            )
        axes.set_xlabel("layer")
        axes.set_title(name, loc="left", fontsize=10)
        bare(axes)
        axes.tick_params(labelsize=8)
    panels[0].legend(frameon=False, fontsize=8)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    save_figure(figure, path)
