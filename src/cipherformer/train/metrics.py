"""Metrics of classification and regression by name, and which of them each task of GLUE reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from cipherformer.errors import ParameterError

Metric = Callable[[Tensor, Tensor], float]


def accuracy(predicted: Tensor, wanted: Tensor) -> float:
    """Share of equal entries; of classes [n]."""
    return float((predicted == wanted).double().mean())


def f1(predicted: Tensor, wanted: Tensor) -> float:
    """Of class 1 of two: the harmonic mean of precision and recall; 0 if nothing of it was found."""
    both = float(((predicted == 1) & (wanted == 1)).sum())
    return 2.0 * both / max(float((predicted == 1).sum() + (wanted == 1).sum()), 1.0)


def matthews(predicted: Tensor, wanted: Tensor) -> float:
    """Matthews' correlation of two classes; 0 if all predictions, or all labels, are one class."""
    return _correlation((predicted == 1).double(), (wanted == 1).double())


def pearson(predicted: Tensor, wanted: Tensor) -> float:
    """Pearson's correlation of numbers [n]; 0 if one side is constant."""
    return _correlation(predicted.double(), wanted.double())


def spearman(predicted: Tensor, wanted: Tensor) -> float:
    """Spearman's correlation: Pearson's of ranks, equal numbers sharing the mean of theirs."""
    return _correlation(_ranks(predicted), _ranks(wanted))


def _ranks(values: Tensor) -> Tensor:
    _, places, counts = values.unique(sorted=True, return_inverse=True, return_counts=True)
    ends = counts.double().cumsum(0)
    return (ends - 0.5 * (counts.double() - 1.0))[places]


def _correlation(a: Tensor, b: Tensor) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float((a.square().sum() * b.square().sum()).sqrt())
    return float((a * b).sum()) / size if size > 0.0 else 0.0


METRICS: Mapping[str, Metric] = MappingProxyType(
    {"accuracy": accuracy, "f1": f1, "matthews": matthews, "pearson": pearson, "spearman": spearman}
)

GLUE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "cola": ("matthews",),
        "sst2": ("accuracy",),
        "mrpc": ("accuracy", "f1"),
        "qqp": ("accuracy", "f1"),
        "stsb": ("pearson", "spearman"),
        "mnli": ("accuracy",),
        "qnli": ("accuracy",),
        "rte": ("accuracy",),
        "wnli": ("accuracy",),
    }
)
"""By task, as its authors report it (Wang et al., arXiv 1804.07461, table 1)."""


def metrics_of(names: tuple[str, ...]) -> dict[str, Metric]:
    """The metrics of these names; `glue:TASK` stands for those of a task.

    Raises:
        ParameterError: an unknown name.
    """
    found: dict[str, Metric] = {}
    for name in names:
        task = name.removeprefix("glue:")
        own = GLUE.get(task, ()) if task != name else (name,)
        if not own or any(metric not in METRICS for metric in own):
            known = ", ".join([*METRICS, *(f"glue:{task}" for task in GLUE)])
            raise ParameterError(f"there is no metric {name!r}", fix=f"choose of {known}")
        found |= {metric: METRICS[metric] for metric in own}
    return found


def is_regression(labels: Tensor) -> bool:
    """Whether labels are numbers, not classes: [n] floating-point."""
    return torch.is_floating_point(labels)
