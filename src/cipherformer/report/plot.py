"""Pictures: the latency breakdown of a query; an emulated model's costs and errors; a sweep over rings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cipherformer.errors import DataError
from cipherformer.report.table import INPUT_LAYER, group_primitives

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#8C8C8C")
"""Okabe and Ito's palette, told apart by readers who do not see all colours; grey for the rest."""


def figure_class(data: object, path: Path) -> Any:
    """matplotlib's Figure, if there is something to draw and somewhere to put it."""
    if not data or path.suffix not in (".png", ".svg", ".pdf"):
        raise DataError(
            "cannot draw this", where=str(path), fix="give records, and a file ending in .png or .svg"
        )
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DataError("matplotlib is not installed", fix="pip install 'cipherformer[plot]'") from error
    return Figure


def bare(axes: Any) -> None:
    """Without the upper and the right border."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def save_figure(figure: Any, path: Path) -> None:
    """Writes a figure, in a folder that is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def plot_breakdown(breakdown: Sequence[Mapping[str, Any]], path: Path, *, title: str) -> None:
    """Draws seconds by layer and primitive.

    Args:
        breakdown: records {layer, primitive, seconds}.
        path: file to write; its ending (`.png`, `.svg` or `.pdf`) names the format.
        title: above the picture.

    Raises:
        DataError: if there is nothing to draw, the ending is another one, or matplotlib is not installed.
    """
    build = figure_class(breakdown, path)
    layers = list(dict.fromkeys(item["layer"] for item in breakdown))
    group = group_primitives(breakdown, len(COLOURS))
    figure = build(figsize=(9.0, 1.6 + 0.34 * len(layers)), layout="constrained")
    axes = figure.add_subplot()
    left = dict.fromkeys(layers, 0.0)
    for colour, name in zip(COLOURS, dict.fromkeys(group.values()), strict=False):
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
    bare(axes)
    axes.legend(frameon=False, fontsize=8)
    save_figure(figure, path)


def plot_emulation(record: Mapping[str, Any], path: Path, *, title: str) -> None:
    """Draws truncated elements and predicted seconds of each policy, and the error of each layer.

    Args:
        record: from `report.emulation.record`.
        path: file to write, see `plot_breakdown`.
        title: above the picture.

    Raises:
        DataError: as `plot_breakdown` does.
    """
    policies, layers = record["policies"], record["layers"]
    figure = figure_class(policies, path)(figsize=(11.0, 3.6), layout="constrained")
    counts, times, errors = figure.subplots(1, 3)
    names = list(policies)
    counts.bar(names, [policies[n]["truncated_elements"] for n in names], color=COLOURS[0])
    counts.set_title("elements truncated", loc="left", fontsize=10)
    for k, network in enumerate(("lan", "wan")):
        heights = [policies[n]["predicted_seconds"][network] for n in names]
        at = [i + 0.4 * k - 0.2 for i in range(len(names))]
        times.bar(at, heights, width=0.38, color=COLOURS[1 + k], label=network.upper())
    times.set_xticks(range(len(names)), names)
    times.set_yscale("log")
    times.set_title(f"predicted seconds, {record['protocol']}", loc="left", fontsize=10)
    times.legend(frameon=False, fontsize=8)
    errors.semilogy([max(e["relative_error"], 1e-12) for e in layers], color=COLOURS[5], lw=1.2)
    errors.set_xlabel("layer, in order")
    errors.set_title("relative error of each layer", loc="left", fontsize=10)
    for axes in (counts, times, errors):
        bare(axes)
        axes.tick_params(labelsize=8)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    save_figure(figure, path)


def plot_sweep(points: Sequence[Mapping[str, Any]], path: Path, *, title: str) -> None:
    """Draws accuracy and cost against fraction bits, a line for each ring.

    Args:
        points: from `report.emulation.sweep_record`.
        path: file to write, see `plot_breakdown`.
        title: above the picture.

    Raises:
        DataError: as `plot_breakdown` does.
    """
    ran = [p for p in points if p["reason"] is None]
    figure = figure_class(ran, path)(figsize=(11.0, 3.6), layout="constrained")
    perplexed = all(p["perplexity"] for p in ran)
    panels: list[tuple[str, Callable[[Mapping[str, Any]], float], bool]] = []
    panels.append(("root mean square error", lambda p: float(p["rms_error"]), True))
    if perplexed:
        panels.append(("perplexity", lambda p: float(p["perplexity"]["emulated"]), False))
    panels.append(("elements truncated", lambda p: float(p["truncated_elements"]), False))
    panels.append(("predicted seconds, LAN", lambda p: float(p["predicted_seconds"]["lan"]), False))
    for axes, (name, value, logarithmic) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for colour, ring in zip(COLOURS, sorted({p["ring_bits"] for p in ran}), strict=False):
            line = [(p["frac_bits"], value(p)) for p in ran if p["ring_bits"] == ring]
            axes.plot(*zip(*line, strict=True), "o-", ms=3.5, lw=1.2, color=colour, label=f"{ring} bits")
        if logarithmic:
            axes.set_yscale("log")
        elif name == "perplexity":
            axes.axhline(ran[0]["perplexity"]["float"], color=COLOURS[-1], lw=0.8, ls="--")
        axes.set_title(name, loc="left", fontsize=10)
        axes.set_xlabel("fraction bits")
        axes.tick_params(labelsize=8)
        bare(axes)
        axes.legend(frameon=False, fontsize=7)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    save_figure(figure, path)
