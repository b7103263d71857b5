"""A conversion's folder: weights, recipe, ranges and report, and the way back to a model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from cipherformer.errors import FormatError
from cipherformer.train.convert import Converted, detached, original_ranges, restored
from cipherformer.train.data import Data
from cipherformer.train.losses import Targets
from cipherformer.train.price import prices
from cipherformer.train.ranges import Contract, SiteRange
from cipherformer.train.stage import Conversion, Forms, Stage
from cipherformer.train.state import write_whole

RECIPE, RANGES, REPORT = "recipe.json", "ranges.json", "report.json"
PRICED_ON, CHECKED_ON = 4, 16
"""Inputs that ranges of predicted costs are taken from, and inputs whose refreshed values are looked at."""


def to_json(conversion: Conversion) -> dict[str, Any]:
    """A recipe as JSON values."""
    return asdict(conversion)


def from_json(values: dict[str, Any]) -> Conversion:
    """A recipe from JSON values.

    Raises:
        FormatError: values that are not a recipe's.
    """
    try:
        stages = tuple(
            Stage(**{**stage, "replace": tuple(stage["replace"]), "targets": Targets(**stage["targets"])})
            for stage in values["stages"]
        )
        forms, contract = Forms(**values["forms"]), Contract(**values["contract"])
        return Conversion(values["name"], values["source"], values["about"], forms, stages, contract)
    except (KeyError, TypeError) as error:
        raise FormatError("this is not a recipe", where=RECIPE, why=str(error)) from error


def write_result(
    folder: Path,
    done: Converted,
    data: Data,
    conversion: Conversion,
    *,
    reference: dict[str, Any],
    price: bool = True,
) -> dict[str, Any]:
    """Write `recipe.json`, `ranges.json` and `report.json` beside the weights; gives the report.

    Args:
        folder: of the conversion.
        done: its result.
        data: that it was made on.
        conversion: the recipe.
        reference: JSON values from which the original model can be had again; see `cli.model`.
        price: predict costs before and after.
    """
    costs: dict[str, Any] = {}
    if price:
        few = data.test.first(CHECKED_ON)
        pairs = (("before", done.original), ("after", done.model))
        costs = {when: prices(m, *detached(few.fed(m)), measured=PRICED_ON) for when, m in pairs}
    refreshed = costs.get("after", {}).get("encrypted", {}).get("refreshed")
    ranges = {"before": _rows(original_ranges(done.original, data)), "after": _rows(done.ranges)}
    report = {
        "recipe": conversion.name,
        "source": conversion.source,
        "before": asdict(done.before),
        "after": asdict(done.after),
        "half_interval": done.after.interval(),
        "stages": done.history,
        "sites": [asdict(site) for site in done.sites],
        "contract": {
            **asdict(conversion.contract),
            "refreshed": refreshed,
            "problems": [*done.problems, *refresh_problems(refreshed)],
        },
        "ranges": ranges,
        "costs": costs,
    }
    values = {"format": 1, "reference": reference, "recipe": to_json(conversion)}
    for name, content in ((RECIPE, values), (RANGES, ranges), (REPORT, report)):
        write_whole(folder / name, (json.dumps(content, indent=1, default=str) + "\n").encode())
    return report


def refresh_problems(share: float | None) -> list[str]:
    """One sentence if the largest share of its bound that a refreshed value reaches is above 1."""
    if share is None or share <= 1.0:
        return []
    return [f"a value reaches {share:.3g} of what its refresh takes, which is |x| <= 1 after scaling"]


def _rows(ranges: Iterable[SiteRange]) -> list[dict[str, Any]]:
    return [
        {"site": site.name, "kind": site.kind, "low": site.low, "high": site.high, "levels": site.levels}
        for site in ranges
    ]


def read_result(
    folder: Path, load: Callable[[dict[str, Any]], tuple[nn.Module, tuple[Tensor, ...]]]
) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The converted model in a folder and its example inputs.

    Args:
        folder: as `write_result` left it.
        load: the original model and its example inputs from the reference.

    Raises:
        FormatError: files that are missing or damaged.
    """
    try:
        values = json.loads((folder / RECIPE).read_bytes())
        conversion, reference = from_json(values["recipe"]), values["reference"]
    except (OSError, ValueError, KeyError) as error:
        raise FormatError("not the folder of a conversion", where=str(folder), why=str(error)) from error
    model, example = load(reference)
    return restored(model, conversion, folder, *example), example
