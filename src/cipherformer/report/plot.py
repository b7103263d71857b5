"""The latency breakdown as a picture: a bar per layer, a colour per primitive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cipherformer.errors import DataError
from cipherformer.report.table import INPUT_LAYER, group_primitives

# Okabe and Ito's palette, told apart by readers who do not see all colours; grey for the rest.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#8C8C8C")


def plot_breakdown(breakdown: Sequence[Mapping[str, Any]], path: Path, *, title: str) -> None:
    """Draws seconds by layer and primitive.

    Args:
        breakdown: records {layer, primitive, seconds}.
        path: file to write; its ending (`.png`, `.svg` or `.pdf`) names the format.
        title: above the picture.

    Raises:
        DataError: if there is nothing to draw, the ending is another one, or matplotlib is not installed.
    """
    if not breakdown or path.suffix not in (".png", ".svg", ".pdf"):
        raise DataError(
            "cannot draw this", where=str(path), fix="give records, and a file ending in .png or .svg"
        )
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DataError("matplotlib is not installed", fix="pip install 'cipherformer[plot]'") from error

    layers = list(dict.fromkeys(item["layer"] for item in breakdown))
    group = group_primitives(breakdown, len(_COLOURS))
    figure = Figure(figsize=(9.0, 1.6 + 0.34 * len(layers)), layout="constrained")
    axes = figure.add_subplot()
    left = dict.fromkeys(layers, 0.0)
    for colour, name in zip(_COLOURS, dict.fromkeys(group.values()), strict=False):
        widths = [
            sum(i["seconds"] for i in breakdown if i["layer"] == layer and group[i["primitive"]] == name)
            for layer in layers
        ]
        axes.barh(
            range(len(layers)), widths, left=[left[x] for x in layers], height=0.72, color=colour, label=name
        )
        for layer, width in zip(layers, widths, strict=True):
            left[layer] += width
    for row, layer in enumerate(layers):
        axes.text(left[layer], row, f"  {left[layer]:.2f} s", va="center", fontsize=8, color="#404040")
    axes.set_yticks(range(len(layers)), [layer or INPUT_LAYER for layer in layers], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, max(left.values()) * 1.12 or 1.0)
    axes.set_xlabel("seconds")
    axes.set_title(title, loc="left", fontsize=11)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
