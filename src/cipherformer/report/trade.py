"""Degrees against predicted cost, as a table and a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cipherformer.report.plot import COLOURS, bare, figure_class, save_figure
from cipherformer.report.table import Table, show_seconds

MOST_ROWS = 24
_WORDS = {"activation": "degree", "norm": "degree", "normaliser": "steps"}


def trade_table(found: Mapping[str, Any]) -> Table:
    """The points of `train.trade.Trade.as_json`; evenly chosen ones where there are many. `<-` marks the
    cheapest within the budget.
    """
    points: Sequence[Mapping[str, Any]] = found["points"]
    last = len(points) - 1
    shown = sorted({round(i * last / (MOST_ROWS - 1)) for i in range(MOST_ROWS)}) if last else [0]
    chosen = found.get("chosen")
    if chosen is not None:
        shown = sorted({*shown, points.index(chosen)})
    rows = tuple(
        (
            f"{points[i]['error']:.2g}" + (" <-" if points[i] == chosen else ""),
            f"{points[i]['levels']}",
            show_seconds(points[i]["seconds"]),
            _sizes(points[i]["sites"]),
        )
        for i in shown
    )
    counts = Counter(site["kind"] for site in points[0]["sites"])
    named = ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counts.items())
    title = f"Error against cost under encryption: {named}; {len(points)} points"
    return Table(title, (">error", ">levels", ">seconds", "degrees and steps"), rows)


def _sizes(sites: Sequence[Mapping[str, Any]]) -> str:
    parts = []
    for kind, word in _WORDS.items():
        sizes = Counter(site["size"] for site in sites if site["kind"] == kind)
        if sizes:
            listed = ", ".join(f"{n} x {size}" for size, n in sorted(sizes.items()))
            parts.append(f"{kind} {word} {listed}")
    return "; ".join(parts)


def plot_trade(found: Mapping[str, Any], path: Path, *, title: str) -> None:
    """Draws error over seconds, both in logarithms, and the point within the budget.

    Args:
        found: see `trade_table`.
        path: file to write; its ending (`.png`, `.svg` or `.pdf`) names the format.
        title: above the picture.

    Raises:
        DataError: nothing to draw, another ending, or matplotlib is not installed.
    """
    points = found["points"]
    figure = figure_class(points, path)(figsize=(6.0, 4.0), layout="constrained")
    axes = figure.subplots()
    seconds, errors = ([max(p[name], 1e-9) for p in points] for name in ("seconds", "error"))
    axes.loglog(seconds, errors, "o-", ms=3, lw=1.0, color=COLOURS[0])
    if chosen := found.get("chosen"):
        axes.plot([chosen["seconds"]], [chosen["error"]], "o", ms=9, mfc="none", color=COLOURS[5])
        axes.axhline(found["budget"], color=COLOURS[-1], lw=0.8, ls="--")
    axes.set_xlabel("predicted seconds of products and levels, one ciphertext")
    axes.set_title("error of all sites, relative", loc="left", fontsize=10)
    bare(axes)
    axes.tick_params(labelsize=8)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    save_figure(figure, path)
