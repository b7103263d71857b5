"""What every site of a model can be, before anything is trained: degrees and steps against predicted cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from cipherformer.errors import ModelError
from cipherformer.nn import PowerSoftmax, TwoQuad
from cipherformer.train.build import Swapper, measured_activations, options_of_activations
from cipherformer.train.observe import Batch
from cipherformer.train.pareto import (
    Option,
    Point,
    frontier,
    inverse_sqrt_options,
    reciprocal_options,
    within,
)
from cipherformer.train.ranges import measure
from cipherformer.train.sites import norm_types, sample_sites, variance
from cipherformer.train.stage import Conversion, Stage


@dataclass(frozen=True)
class Trade:
    """Choices for all sites, from the cheapest to the most precise.

    Args:
        kinds: of the sites: `activation`, `norm` or `normaliser`.
        points: see `pareto.frontier`.
    """

    kinds: Mapping[str, str]
    points: tuple[Point, ...]

    def as_json(self, budget: float | None = None) -> dict[str, Any]:
        """JSON values: `points`, and `chosen`, the cheapest within the budget, if there is one.

        Raises:
            ParameterError: no point is within the budget.
        """
        chosen = {} if budget is None else {"chosen": self._row(within(self.points, budget))}
        return {"budget": budget, **chosen, "points": [self._row(point) for point in self.points]}

    def _row(self, point: Point) -> dict[str, Any]:
        sites = [
            {"site": name, "kind": self.kinds[name], **asdict(option)}
            for name, option in point.options.items()
        ]
        return {"error": point.error, "levels": point.levels, "seconds": point.seconds, "sites": sites}


def trade(model: nn.Module, conversion: Conversion, batches: Sequence[Batch]) -> Trade:
    """Degrees of activations and norms and steps of attention's reciprocals against error and cost.

    Args:
        model: in evaluation mode, its calls lifted; left as it is.
        conversion: whose forms are meant.
        batches: inputs to measure on.

    Raises:
        ModelError: a model without such sites.
    """
    forms = conversion.forms
    options: dict[str, Sequence[Option]] = {}
    measured, _ = measured_activations(model, batches, forms)
    options |= options_of_activations(model, measured, forms)
    kinds = dict.fromkeys(options, "activation")
    if forms.norm == "polynomial" and norm_types(model):
        found = sample_sites(model, batches, norm_types(model), value=variance)
        options |= {n: inverse_sqrt_options(site, margin=forms.norm_margin) for n, site in found.items()}
        kinds |= dict.fromkeys(found, "norm")
    attention = Stage("attention", replace=("attention",))
    swapped, _ = Swapper(conversion, lambda _: batches)(model, attention)
    for site in measure(swapped, batches, (PowerSoftmax, TwoQuad)):
        options[site.name] = reciprocal_options(*site.widened(conversion.contract.margin))
        kinds[site.name] = "normaliser"
    if not options:
        raise ModelError("the model has no activation, norm or attention to choose for")
    return Trade(kinds, frontier(options))
