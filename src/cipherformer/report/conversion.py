"""Tables of a conversion's report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

from cipherformer.report.table import Table, show_bytes, show_seconds

MOST_SITES = 24


def sites_table(sites: Iterable[tuple[str, str, str, str]], reasons: Mapping[str, str]) -> Table:
    """What will be replaced by what and why, by kind.

    Args:
        sites: (module path, kind, type before, type after).
        reasons: by kind.
    """
    groups: dict[tuple[str, str, str], list[str]] = {}
    for name, kind, before, after in sites:
        groups.setdefault((kind, before, after), []).append(name)
    rows = tuple(
        (f"{len(names)}", kind, f"{before} -> {after}", _some(names), reasons.get(kind, ""))
        for (kind, before, after), names in groups.items()
    )
    return Table("What is replaced", (">sites", "kind", "by what", "where", "why"), rows)


def _some(names: list[str]) -> str:
    return ", ".join(names if len(names) <= 2 else [names[0], "..", names[-1]])


def stages_table(report: Mapping[str, Any]) -> Table:
    """Scores before, between and after."""
    perplexed = report["before"]["perplexity"] is not None
    name = ">perplexity" if perplexed else ">accuracy"
    rows = []
    for record in report["stages"]:
        substituted = record.get("substituted")
        rows.append(
            (
                record["stage"],
                f"{record['steps']}",
                score_text(substituted) if substituted else "",
                score_text(record),
                f"{record['count']}",
                show_seconds(record["seconds"]),
            )
        )
    after = report["after"]
    footer = ("private form", "", "", score_text(after), f"{after['count']}", "")
    return Table("Stages", ("stage", ">steps", ">substituted", name, ">scored", ">time"), tuple(rows), footer)


def score_text(values: Mapping[str, Any]) -> str:
    """Perplexity of a language model, accuracy of a classifier; and the metrics that were asked for."""
    perplexed = values["perplexity"] is not None
    first = f"{values['perplexity']:.3f}" if perplexed else f"{values['accuracy']:.2%}"
    return ", ".join([first, *(f"{name} {value:.3f}" for name, value in values.get("metrics", {}).items())])


def ranges_table(report: Mapping[str, Any]) -> Table:
    """Ranges by site, before and after; the widest first where there are many."""
    before = {row["site"]: row for row in report["ranges"]["before"]}
    after = {_owner(row): row for row in report["ranges"]["after"]}
    names = list(dict.fromkeys([*before, *after]))

    def width(name: str) -> float:
        row = after.get(name) or before[name]
        return float(row["high"] - row["low"])

    shown = names if len(names) <= MOST_SITES else sorted(names, key=width, reverse=True)[:MOST_SITES]
    rows = tuple(
        (name, (after.get(name) or before[name])["kind"], _range(before.get(name)), _range(after.get(name)))
        for name in shown
    )
    title = "Ranges" if len(shown) == len(names) else f"Ranges, the widest {len(shown)} of {len(names)}"
    return Table(title, ("site", "kind", ">before", ">after"), rows)


def _owner(row: Mapping[str, Any]) -> str:
    """The site that a polynomial belongs to: the norm or the scaled activation one level above it."""
    return str(row["site"]).removesuffix(".inverse_sqrt").removesuffix(".polynomial")


def _range(row: Mapping[str, Any] | None) -> str:
    return "" if row is None else f"{row['low']:.3g} .. {row['high']:.3g}"


def costs_table(report: Mapping[str, Any]) -> Table:
    """Predicted costs before and after."""
    rows = []
    for side in ("two_party", "encrypted"):
        pair = [report["costs"].get(when, {}).get(side, {}) for when in ("before", "after")]
        rows.append((side.replace("_", "-"), *(_cost(values) for values in pair)))
    return Table("Predicted cost of one query", ("how", "before", "after"), tuple(rows))


def _cost(values: Mapping[str, Any]) -> str:
    if not values:
        return "not asked for"
    if "reason" in values:
        return "cannot be run: " + str(values["reason"]).split("\n")[0]
    if "rounds" in values:
        seconds = values["predicted_seconds"]
        parts = [f"{values['rounds']} rounds", show_bytes(values["online_bytes_per_party"])]
        parts += [f"{show_seconds(seconds[n])} {n.upper()}" for n in ("lan", "wan") if isfinite(seconds[n])]
        return ", ".join(parts)
    return f"{values['levels']} levels, {show_seconds(values['predicted_seconds'])}"


def contract_table(report: Mapping[str, Any]) -> Table:
    """What was asked for, and what breaks it."""
    contract = report["contract"]
    terms = [name for name in contract if name not in ("problems", "refreshed")]
    rows = [(name.replace("_", " "), f"{contract[name]:g}") for name in terms]
    if contract.get("refreshed") is not None:
        rows.append(("largest |x| at refreshes, of at most 1", f"{contract['refreshed']:.3g}"))
    rows += [("broken", problem) for problem in contract["problems"]]
    return Table("Contract with the encrypted side", ("term", "value"), tuple(rows))
