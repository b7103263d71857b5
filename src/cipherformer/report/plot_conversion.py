"""Pictures of a conversion: scores by stage, and ranges by site before and after."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cipherformer.report.plot import COLOURS, bare, figure_class, save_figure

SCALED = ("normaliser", "variance")


def plot_conversion(report: Mapping[str, Any], path: Path, *, title: str) -> None:
    """Draws scores by stage, and the width of each site's range: high - low, or hi / lo of what is
    divided by.

    Args:
        report: as `train.result.write_result` gives it.
        path: file to write; its ending (`.png`, `.svg` or `.pdf`) names the format.
        title: above the picture.

    Raises:
        DataError: nothing to draw, another ending, or matplotlib is not installed.
    """
    figure = figure_class(report["stages"], path)(figsize=(11.0, 3.8), layout="constrained")
    scores, ranges = figure.subplots(1, 2, width_ratios=(1, 2))
    perplexed = report["before"]["perplexity"] is not None
    name = "perplexity" if perplexed else "accuracy"
    labels, values = [], []
    for record in report["stages"]:
        if "substituted" in record:
            labels.append("swapped")
            values.append(record["substituted"][name])
        labels.append(record["stage"])
        values.append(record[name])
    scores.plot(values, "o-", color=COLOURS[0], lw=1.2, ms=4)
    scores.axhline(report["before"][name], color=COLOURS[-1], lw=0.8, ls="--")
    scores.set_xticks(range(len(labels)), labels, rotation=30, ha="right")
    scores.set_title(f"{name} on the scored inputs", loc="left", fontsize=10)
    for number, when in enumerate(("before", "after")):
        widths = [_width(row) for row in report["ranges"][when]]
        ranges.semilogy(widths, "o-", ms=3, lw=1.0, color=COLOURS[number], label=when)
    ranges.set_xlabel("site, in order")
    ranges.set_title("width of ranges; hi/lo of normalisers and variances", loc="left", fontsize=10)
    ranges.legend(frameon=False, fontsize=8)
    for axes in (scores, ranges):
        bare(axes)
        axes.tick_params(labelsize=8)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    save_figure(figure, path)


def _width(row: Mapping[str, Any]) -> float:
    if row["kind"] in SCALED:
        return float(row["high"] / max(row["low"], 1e-12))
    return max(float(row["high"] - row["low"]), 1e-12)
