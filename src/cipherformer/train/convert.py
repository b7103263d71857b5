"""From a checkpoint to a model in private form at its old accuracy, in stages that survive a kill."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from cipherformer.errors import ModelError
from cipherformer.train.build import Swapper, foreseen, kept
from cipherformer.train.checkpoint import digest, load_checkpoint, save_checkpoint
from cipherformer.train.data import Data, Part
from cipherformer.train.evaluate import Score, score
from cipherformer.train.lift import lift
from cipherformer.train.observe import SITE_TYPES, Batch
from cipherformer.train.prepare import measure_batch_norm
from cipherformer.train.ranges import SiteRange, check, measure, restate, violations
from cipherformer.train.sites import ACTIVATIONS, norm_types, sample_sites, variance
from cipherformer.train.stage import Conversion, Stage
from cipherformer.train.state import State, read_state, restore_optimizer, write_state
from cipherformer.train.steps import Step, batch_at, count_steps, end_blends, make_optimizer, run_steps
from cipherformer.train.swap import Site, freeze_polynomials

WEIGHTS = "model.safetensors"
MEASURED_ON = 512
"""Training inputs that ranges are taken from before a swap."""
RESTATED_ON = 4096
"""Training inputs whose ranges the polynomials' intervals are stated on in the end."""
SCORED_BETWEEN = 2000
"""Test inputs that scores between stages are taken from; the first and the last score take all."""
BATCH = 128


@dataclass(frozen=True, slots=True)
class Watch:
    """What a caller wants to be told, and how often the state is saved.

    Args:
        sites: called once with what will be replaced.
        step: called after each step.
        stage: called after each stage with its record.
        save_seconds: between saves within a stage.
    """

    sites: Callable[[tuple[Site, ...], list[str]], None] = lambda _sites, _kept: None
    step: Callable[[Step], None] = lambda _: None
    stage: Callable[[dict[str, Any]], None] = lambda _: None
    save_seconds: float = 30.0


@dataclass(frozen=True)
class Converted:
    """The result.

    Args:
        model: in private form and evaluation mode, ready for `compile`.
        original: as it was given, with calls lifted to modules.
        sites: what was replaced.
        before: score of the original on the test part.
        after: score of the model.
        ranges: of its sites on training and test inputs.
        problems: what breaks the contract; empty unless it was relaxed.
        history: a record of each stage.
    """

    model: nn.Module
    original: nn.Module
    sites: tuple[Site, ...]
    before: Score
    after: Score
    ranges: tuple[SiteRange, ...]
    problems: list[str]
    history: list[dict[str, Any]] = field(default_factory=list)


def convert(
    model: nn.Module,
    data: Data,
    conversion: Conversion,
    folder: Path,
    *,
    example_inputs: Sequence[Tensor],
    seed: int = 0,
    relaxed: bool = False,
    watch: Watch | None = None,
) -> Converted:
    """Convert a model, or go on with a conversion that was interrupted.

    The same model, data, recipe and seed give the same weights, whether the run was interrupted or not.

    Args:
        model: left as it is.
        data: to train and to score on.
        conversion: the recipe; see `train.recipes`.
        folder: for the state, and in the end the weights (`model.safetensors`).
        example_inputs: as the model takes them.
        seed: of shuffling, augmentation and dropout.
        relaxed: a broken contract is reported, not refused.
        watch: see `Watch`.

    Raises:
        ModelError: nothing to replace, or training diverged; says where.
        LimitError: the result breaks the contract; lists every site. The weights are kept.
        FormatError: the folder holds another run, or a damaged one.
    """
    watch = watch or Watch()
    original = lift(model, *example_inputs).eval()
    planned = foreseen(original, conversion)
    if not planned:
        raise ModelError(
            "the recipe finds nothing to replace",
            where=type(model).__name__,
            why=f"{conversion.name!r} replaces attention, norms, activations and pooling",
            fix="check that the model has such layers, and that they are called in its forward",
        )
    before = score(original, data.test, metrics=data.metrics)
    state = _start(folder, original, data, conversion, seed, before)
    current = _rebuilt(original, conversion, state)
    structure = current
    watch.sites(planned, kept(freeze_polynomials(_structure(original, conversion))))
    runner = _Runner(original, data, conversion, folder, seed, watch, state)
    for number in range(max(state.stage, 0), len(conversion.stages)):
        current = runner.stage(structure if number == state.stage else current, number)
    current = freeze_polynomials(current).eval()
    restate(current, measure(current, measuring(data.train, RESTATED_ON)(current)))
    after = score(current, data.test, metrics=data.metrics)
    ranges = measured_ranges(current, data)
    problems = violations(ranges, conversion.contract)
    facts = {
        "recipe": asdict(conversion),
        "before": asdict(before),
        "after": asdict(after),
        "problems": problems,
    }
    save_checkpoint(folder / WEIGHTS, current, facts)
    if not relaxed:
        check(ranges, conversion.contract)
    return Converted(current, original, planned, before, after, ranges, problems, state.history)


def restored(model: nn.Module, conversion: Conversion, folder: Path, *example_inputs: Tensor) -> nn.Module:
    """The converted model in a folder, in evaluation mode, from the model that it was made of.

    Raises:
        FormatError: weights that are missing, damaged, or of another model or recipe.
    """
    original = lift(model, *example_inputs).eval()
    structure = freeze_polynomials(_structure(original, conversion)).eval()
    load_checkpoint(folder / WEIGHTS, structure)
    return structure


def measured_ranges(model: nn.Module, data: Data) -> tuple[SiteRange, ...]:
    """Ranges of a model's sites on the inputs of both parts."""
    parts = [b for part in (data.train, data.test) for b in part.first(4 * MEASURED_ON).batches(BATCH)]
    return measure(model, [detached(b.fed(model)) for b in parts], SITE_TYPES)


def original_ranges(model: nn.Module, data: Data) -> tuple[SiteRange, ...]:
    """Ranges of what the activations and norms of a lifted model take before anything is replaced."""
    inputs = measuring(data.train)(model)
    found = sample_sites(model, inputs, ACTIVATIONS)
    norms = sample_sites(model, inputs, norm_types(model), value=variance)
    out = [SiteRange(name, "other", site.low, site.high) for name, site in found.items()]
    return (*out, *(SiteRange(name, "variance", site.low, site.high) for name, site in norms.items()))


def detached(values: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Without their history of gradients."""
    return tuple(value.detach() for value in values)


def measuring(part: Part, count: int = MEASURED_ON) -> Callable[[nn.Module], list[Batch]]:
    """From a model to the inputs that its ranges are taken from."""

    def inputs(model: nn.Module) -> list[Batch]:
        return [detached(b.fed(model)) for b in part.first(count).batches(BATCH)]

    return inputs


def _structure(original: nn.Module, conversion: Conversion, stages: int | None = None) -> nn.Module:
    swapper, model = Swapper(conversion, None), original
    for stage in conversion.stages[:stages]:
        model, _ = swapper(model, stage)
    return model


def _start(
    folder: Path, original: nn.Module, data: Data, conversion: Conversion, seed: int, before: Score
) -> State:
    pieces = [json.dumps(asdict(conversion), sort_keys=True), str(seed), data.augment, digest(original)]
    key = hashlib.sha256("|".join(pieces).encode())
    for tensor in (data.train.inputs, data.train.labels, data.train.mask, data.test.labels):
        key.update(b"" if tensor is None else tensor.contiguous().numpy().tobytes())
    state = read_state(folder, key.hexdigest()) or State(key.hexdigest())
    if not state.history:
        state.history.append({"stage": "original", **asdict(before), "seconds": 0.0, "steps": 0})
    return state


def _rebuilt(original: nn.Module, conversion: Conversion, state: State) -> nn.Module:
    """The model of a state: the structure of its stages with its weights."""
    if state.stage < 0:
        return original
    model = _structure(original, conversion, state.stage + 1)
    model.load_state_dict(state.model_tensors())
    return model


@dataclass
class _Runner:
    """Runs stages and keeps the state."""

    original: nn.Module
    data: Data
    conversion: Conversion
    folder: Path
    seed: int
    watch: Watch
    state: State

    def stage(self, model: nn.Module, number: int) -> nn.Module:
        """One stage, or the rest of it; returns the model, trained."""
        stage, state = self.conversion.stages[number], self.state
        begun = state.stage == number
        if begun and len(state.history) > number + 1:
            return self._ended(model, stage)
        start = time.perf_counter()
        if not begun:
            model, _ = Swapper(self.conversion, measuring(self.data.train))(model, stage)
            state.stage, state.step, state.tensors = number, 0, {}
            swapped = self._score(model)
        else:
            swapped = None
        if stage.epochs > 0.0:
            self._steps(model, stage)
        model = self._ended(model, stage)
        found = self._score(model)
        record: dict[str, Any] = {
            "stage": stage.name,
            **asdict(found),
            "steps": count_steps(stage, self.data),
        }
        record["seconds"] = time.perf_counter() - start
        if swapped is not None:
            record["substituted"] = asdict(swapped)
        state.history.append(record)
        state.step = record["steps"]
        write_state(self.folder, state, model, None)
        self.watch.stage(record)
        return model

    def _steps(self, model: nn.Module, stage: Stage) -> None:
        state = self.state
        optimizer = make_optimizer(model, stage)
        restore_optimizer(optimizer, state.tensors)
        state.tensors = {}
        saved = time.monotonic()

        def after(step: Step) -> None:
            nonlocal saved
            state.step = step.step
            if time.monotonic() - saved >= self.watch.save_seconds and step.step < step.steps:
                write_state(self.folder, state, model, optimizer)
                saved = time.monotonic()
            self.watch.step(step)

        seed = self.seed * 101 + state.stage
        run_steps(model, self.original, self.data, stage, optimizer, seed=seed, start=state.step, after=after)

    def _score(self, model: nn.Module) -> Score:
        return score(model, self.data.test.first(SCORED_BETWEEN), metrics=self.data.metrics)

    def _ended(self, model: nn.Module, stage: Stage) -> nn.Module:
        end_blends(model)
        if stage.recalibrate:
            drawn = (batch_at(self.data, stage, step, self.seed) for step in range(stage.recalibrate))
            measure_batch_norm(model, (detached(batch.fed(model)) for batch in drawn))
        return model.eval()
