"""Studies of training that need no checkpoint of a large model: each gives rows of measured numbers.

A study takes the folder of real data, whether it is only a smoke test (`quick`: random data, a few steps),
and a folder for plots.
"""

from __future__ import annotations

import copy
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import training_data as real
from benchmarks import training_small as small
from benchmarks.training_cases import CASES
from benchmarks.training_place import Place, Row, Study, text_data
from cipherformer.approx.goldschmidt import plan_inverse_sqrt, plan_reciprocal
from cipherformer.report.plot_attention import plot_attention
from cipherformer.train.build import Swapper
from cipherformer.train.convert import convert, original_ranges
from cipherformer.train.data import Data
from cipherformer.train.evaluate import Choice, few_shot, last_word, multiple_choice, score
from cipherformer.train.losses import Targets
from cipherformer.train.observe import SITE_TYPES
from cipherformer.train.ranges import measure
from cipherformer.train.recipes import recipe
from cipherformer.train.stage import Conversion, Forms, Stage

SHOTS = 2
"""Examples in front of a question: what a short context holds."""
ERROR = 2.0**-12
"""Relative error that iterations are counted for."""


def _reader(place: Place, layers: int, width: int, seed: int = 0) -> nn.Module:
    return small.decoder(vocabulary=256, width=width, layers=layers, tokens=64, seed=seed)


def iterations(model: nn.Module, data: Data) -> int:
    """Steps of Goldschmidt's iterations that all normalisers and norms of a model take on the data."""
    steps = sum(
        plan_inverse_sqrt(r.low, r.high, ERROR).iterations
        for r in original_ranges(model, data)
        if r.kind == "variance"
    )
    inputs = [tuple(t.detach() for t in b.fed(model)) for b in data.test.batches(64)]
    for site in measure(model, inputs, SITE_TYPES):
        if site.kind == "normaliser":
            steps += plan_reciprocal(site.low, site.high, ERROR).iterations
    return steps


def ranges(place: Place) -> list[Row]:
    """Largest activation range, largest variance and iterations, before and after each kind of loss.

    A PowerSoftmax decoder is trained on text; then copies go on equally long: without a loss for sites, with
    hinges on ranges, and with the iteration-aware loss beside them by several weights.
    """
    data = text_data(place, 16 if place.quick else 64, 64 if place.quick else 1200)
    base = small.attending(_reader(place, 1 if place.quick else 4, 16 if place.quick else 64), "power")
    small.fit(base, data, epochs=0.5 if place.quick else 4.0, rate=3e-3)
    rows = [_range_row("before", base, data)]
    hinges = Targets(activation_bound=0.6, variance_ceiling=0.06, normaliser_ratio=8.0, score_bound=1.0)
    arms = {"no loss": (0.0, hinges), "hinges": (0.05, hinges)}
    for share in (0.1, 0.3):
        arms[f"iteration-aware, {share:g}"] = (0.05, replace(hinges, iterations=share))
    for name, (weight, targets) in arms.items():
        model = copy.deepcopy(base)
        small.fit(model, data, epochs=0.5 if place.quick else 6.0, rate=1e-3, sites=weight, targets=targets)
        rows.append(_range_row(name, model, data))
    return rows


def _range_row(name: str, model: nn.Module, data: Data) -> Row:
    found = original_ranges(model, data)
    return {
        "arm": name,
        "perplexity": score(model, data.test).perplexity,
        "activation_range": max(max(abs(r.low), abs(r.high)) for r in found if r.kind == "other"),
        "variance": max(r.high for r in found if r.kind == "variance"),
        "iterations": iterations(model, data),
    }


def inductive_bias(place: Place) -> list[Row]:
    """How far, and how evenly, each layer attends: softmax and powers, trained on the same text."""
    data = text_data(place, 16 if place.quick else 64, 64 if place.quick else 1200)
    kinds: list[tuple[str, small.Attention, int]] = [("softmax", "softmax", 0)]
    kinds += [(f"p = {p}", "power", p) for p in ((4,) if place.quick else (2, 4, 6, 8))]
    rows: list[Row] = []
    for name, attention, power in kinds:
        model = small.attending(
            _reader(place, 2 if place.quick else 4, 16 if place.quick else 64), attention, power
        )
        small.fit(model, data, epochs=0.5 if place.quick else 3.0, rate=3e-3)
        perplexity = score(model, data.test).perplexity
        found = small.weights_of(model, data.test.inputs[:32])
        for layer, weights in enumerate(found.values()):
            distance, entropy = spread(weights)
            rows.append(
                {
                    "attention": name,
                    "layer": layer,
                    "distance": distance,
                    "entropy": entropy,
                    "perplexity": perplexity,
                }
            )
    plot_attention(
        rows, place.out / "inductive-bias.png", title="attention by layer, decoders trained on text"
    )
    return rows


def spread(weights: Tensor) -> tuple[float, float]:
    """Mean distance to what is attended to, and entropy in nats; rows of [.., T, S] are made to sum to 1."""
    rows = weights / weights.sum(-1, keepdim=True).clamp(min=1e-9)
    places = torch.arange(weights.shape[-1], dtype=rows.dtype)
    away = (places[: weights.shape[-2], None] - places[None, :]).abs()
    entropy = -(rows * rows.clamp(min=1e-12).log()).sum(-1)
    return float((rows * away).sum(-1).mean()), float(entropy.mean())


def reasoning(place: Place) -> list[Row]:
    """Associative recall from scratch by three kinds of attention, and LAMBADA and PIQA by stories260K before
    and after conversion.
    """
    rows: list[Row] = []
    count, epochs = (64, 1.0) if place.quick else (6000, 12.0)
    data = Data(small.recall(count), small.recall(64 if place.quick else 1000, seed=1))
    kinds: tuple[small.Attention, ...] = ("softmax", "power", "pointwise")
    for attention in kinds:
        model = small.decoder(vocabulary=32, width=16 if place.quick else 64, layers=2, tokens=13)
        model = small.attending(model, attention)
        small.fit(model, data, epochs=epochs, rate=2e-3, batch=32 if place.quick else 64)
        found = score(model, data.test)
        rows.append(
            {"task": "recall", "attention": attention, "accuracy": found.accuracy, "scored": found.count}
        )
    if not place.quick:
        return rows + _questions(place)
    tiny = small.decoder(vocabulary=32, width=16, layers=1, tokens=8)
    one = Choice(torch.tensor([1, 2]), (torch.tensor([3]), torch.tensor([4, 5])), 1)
    return rows + asked_of(tiny, "original", [replace(one, answers=one.answers[:1], right=0)] * 4, [one] * 4)


def _questions(place: Place, most: int = 200) -> list[Row]:
    """Zero-shot and few-shot scores of stories260K and of its private form, which case `lm` trains or has
    trained.
    """
    root = str(place.data)
    model, example = real.stories(root)
    done = convert(
        model,
        real.tinystories(root),
        CASES["lm"].recipes[0],
        place.out / "lm-default-0",
        example_inputs=(example,),
        relaxed=True,
    )
    words, pairs = real.lambada(root, most + SHOTS), real.piqa(root, most + SHOTS)
    rows: list[Row] = []
    for form, asked in (("original", done.original), ("private", done.model)):
        rows += asked_of(asked, form, words, pairs)
    return rows


def asked_of(model: nn.Module, form: str, words: Sequence[Choice], pairs: Sequence[Choice]) -> list[Row]:
    """Scores of both tasks without and with examples: the first `SHOTS` of each, which are not asked."""
    rows: list[Row] = []
    for shots in (0, SHOTS):
        for task, found, metric in (("LAMBADA", words, last_word), ("PIQA", pairs, multiple_choice)):
            asked = few_shot(found[SHOTS:], found[:shots])
            values = {"accuracy": metric(model, asked), "scored": len(asked)}
            rows.append({"task": task, "attention": form, "shots": str(shots), **values})
    return rows


def deep(place: Place) -> list[Row]:
    """32 layers of small width: the loss at the start and the end, and steps that were not finite."""
    data = text_data(place, 16 if place.quick else 32, 64 if place.quick else 640)
    rows: list[Row] = []
    kinds: tuple[small.Attention, ...] = ("softmax", "power", "pointwise", "pointwise-unscaled")
    for layers in (4,) if place.quick else (8, 32):
        for rate in (1e-3,) if place.quick else (1e-3, 1e-2):
            for attention in kinds:
                model = small.attending(_reader(place, layers, 16 if place.quick else 32), attention)
                rows.append(
                    {"layers": layers, "rate": rate, "attention": attention, **_run(model, data, rate)}
                )
    return rows


def _run(model: nn.Module, data: Data, rate: float) -> Row:
    from cipherformer.errors import ModelError

    try:
        losses = small.fit(model, data, epochs=2.0, rate=rate, batch=16)
    except ModelError as error:
        return {"first": None, "last": None, "diverged": str(error).split(":")[0]}
    tail = losses[-max(1, len(losses) // 10) :]
    return {"first": losses[0], "last": statistics.mean(tail), "diverged": None}


def _images(place: Place, count: int) -> Data:
    if place.quick:
        return Data(small.blobs(64), small.blobs(64, seed=1))
    return real.cifar10(str(place.data), str(count))


def cifar_vit(place: Place) -> list[Row]:
    """A vision transformer on CIFAR-10: softmax from scratch, what is converted from it, and one PowerSoftmax
    from scratch.
    """
    data = _images(place, 20_000)
    sizes = (
        {"width": 32, "layers": 1, "patch": 4, "size": 8}
        if place.quick
        else {"width": 96, "layers": 4, "patch": 4}
    )
    base = small.vision(classes=4 if place.quick else 10, **sizes)
    epochs = 1.0 if place.quick else 12.0
    small.fit(base, data, epochs=epochs, rate=1e-3, batch=64)
    rows: list[Row] = [{"variant": "softmax", "accuracy": score(base, data.test).accuracy}]
    forms = {
        "power": Forms(attention="power", shifted=True, norm="keep"),
        "two-quad": Forms(attention="two_quad", norm="keep"),
        "pointwise": Forms(attention="pointwise", norm="keep"),
        "polynomial": recipe("default").forms,
    }
    for name, form in forms.items():
        kinds = ("attention", "activation", "norm") if name == "polynomial" else ("attention",)
        stage = Stage("convert", replace=kinds, epochs=0.0)
        conversion = Conversion(name, "", "", form, (stage,))
        model, _ = Swapper(conversion, lambda _: [data.train.inputs[:256]])(base, stage)  # type: ignore[arg-type]
        small.fit(model, data, epochs=0.25 * epochs, rate=4e-4, batch=64, sites=0.1)
        rows.append({"variant": name, "accuracy": score(model, data.test).accuracy})
    scratch = small.attending(small.vision(classes=4 if place.quick else 10, **sizes), "power")
    small.fit(scratch, data, epochs=epochs, rate=1e-3, batch=64)
    rows.append({"variant": "power, from scratch", "accuracy": score(scratch, data.test).accuracy})
    return rows


def ablation(place: Place) -> list[Row]:
    """What each part of a conversion is worth: one changed at a time, three seeds each, with the spread."""
    data = text_data(place, 16 if place.quick else 32, 64 if place.quick else 600)
    seeds = (0,) if place.quick else (0, 1, 2)
    default = recipe("default")
    targets = default.stages[0].targets
    arms: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
        "default": ({}, {}),
        "learnt constants for norms": ({"norm": "constant"}, {}),
        "BatchNorm for norms": ({"norm": "batch"}, {}),
        "pointwise, 1/sqrt(L)": ({"attention": "pointwise"}, {}),
        "pointwise, unscaled": ({"attention": "pointwise", "length_scaled": False}, {}),
        "no losses of sites": ({}, {"sites": 0.0}),
        "no range loss": ({}, {"targets": replace(targets, ranges=0.0)}),
        "no variance loss": ({}, {"targets": replace(targets, variances=0.0)}),
        "no shift": ({"shifted": False}, {}),
        "degree 3": ({"activation": 3}, {}),
        "degree 15": ({"activation": 15}, {}),
    }
    bases = {}
    for seed in seeds:
        bases[seed] = _reader(place, 1 if place.quick else 2, 16 if place.quick else 48, seed)
        small.fit(bases[seed], data, epochs=1.0 if place.quick else 6.0, rate=3e-3, seed=seed)
    rows: list[Row] = []
    for name, (forms, stage) in list(arms.items())[: 2 if place.quick else None]:
        found = [_converted(bases[s], data, default, forms, stage, place, s) for s in seeds]
        deviation = statistics.stdev(found) if len(found) > 1 else 0.0
        rows.append(
            {
                "arm": name,
                "perplexity_ratio": statistics.mean(found),
                "spread": deviation,
                "seeds": len(seeds),
            }
        )
    return rows


def _converted(
    base: nn.Module,
    data: Data,
    conversion: Conversion,
    forms: Mapping[str, Any],
    stage: Mapping[str, Any],
    place: Place,
    seed: int,
) -> float:
    """Perplexity after a short conversion over that before."""
    own = replace(conversion.stages[0], epochs=0.5 if place.quick else 1.0, batch_size=32, **stage)
    changed = replace(conversion, forms=replace(conversion.forms, **forms), stages=(own,))
    model, _ = Swapper(changed, lambda m: [b.fed(m)[0].detach() for b in data.train.first(128).batches(64)])(
        base, own
    )
    optimizer = small.make_optimizer(model, own)
    small.run_steps(model, base, data, own, optimizer, seed=seed, start=0, after=lambda _: None)
    before, after = score(base, data.test).loss, score(model, data.test).loss
    return math.exp(min(after - before, 50.0))


STUDIES: Mapping[str, Study] = MappingProxyType(
    {
        "ranges": Study("ranges, variances and iterations under four losses", 6.0, ranges),
        "inductive-bias": Study("distance and entropy of attention by layer and power", 8.0, inductive_bias),
        "reasoning": Study("recall; LAMBADA and PIQA before and after, with examples", 20.0, reasoning),
        "deep": Study("32 layers, three kinds of attention, two rates", 20.0, deep),
        "cifar-vit": Study("a vision transformer on CIFAR-10 and its variants", 90.0, cifar_vit),
        "ablation": Study("parts of a conversion, three seeds", 12.0, ablation),
    }
)
