"""From a captured graph to a plan: passes, packing, levels, parameters, scales, prediction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.backends import ckks_sim, exact
from cipherformer.errors import CipherformerError, DataError, LimitError, ParameterError
from cipherformer.graph import Graph
from cipherformer.kernels.step import Step
from cipherformer.passes.hide import hide_outputs
from cipherformer.passes.level import assign_levels, levels_needed
from cipherformer.passes.pack import MAX_DIAGONALS, pack
from cipherformer.passes.pipeline import Settings, run_passes
from cipherformer.passes.regions import MAX_DENSE, Region, is_nonlinear, regions, shared_values
from cipherformer.passes.scale import assign_scales
from cipherformer.passes.stacks import Stacked
from cipherformer.plan.candidate import Candidate, chosen_set, leveled, refreshed, sets_of
from cipherformer.plan.options import MODES, Options
from cipherformer.plan.plan import Plan
from cipherformer.plan.throughput import batches, best_stacked
from cipherformer.targets.bootstrap import MARGIN

__all__ = ["Options", "at_refreshes", "check_refreshed", "compile_ckks", "compile_graph"]

_Known = dict[frozenset[str], tuple[tuple[Region, ...], tuple[str, ...]]]
"""The last graph of regions, by the values that are kept."""


def compile_ckks(
    model: Graph | Any,
    samples: NDArray[Any] | Sequence[Any],
    *,
    name: str = "",
    options: Options | None = None,
) -> Plan:
    """Compile a model for CKKS.

    Args:
        model: a torch module in evaluation mode, or a captured graph.
        samples: typical inputs, for the ranges: an array [n, ...], or a sequence of arrays as the model
            takes them (leading batch axis 1), or of mappings from input name to such arrays.
        name: of the plan; the module's class name by default.
        options: see `Options`.

    Raises:
        DataError: no samples.
        ModelError: operations that cannot be made private.
        LimitError: too many levels, slots, or iterations; the message says where and what helps.
    """
    if len(samples) == 0:
        raise DataError("no samples", fix="give typical inputs: the plan's ranges come from them")
    if isinstance(samples, np.ndarray):
        samples = [x[None] for x in samples]
    first = samples[0]
    if isinstance(model, Graph):
        graph = model
    else:
        from cipherformer.capture import capture_arrays

        shapes = [np.asarray(v) for v in (first.values() if isinstance(first, Mapping) else [first])]
        graph = capture_arrays(model, shapes, name=name)
    inputs = graph.inputs
    given = [
        sample
        if isinstance(sample, Mapping)
        else {inputs[0].name: np.asarray(sample, dtype=np.float64).reshape(inputs[0].type.shape)}
        for sample in samples
    ]
    return compile_graph(graph, given, options)


def compile_graph(
    graph: Graph, samples: Sequence[Mapping[str, NDArray[Any]]], options: Options | None = None
) -> Plan:
    """Compile a captured graph for CKKS.

    Args:
        graph: at stage `captured`.
        samples: typical inputs, at least one, each {input name: array}.
        options: see `Options`.

    Raises:
        ModelError: operations that cannot be made private.
        LimitError: too many levels, slots, or iterations; the message says where and what helps.
    """
    options = options or Options()
    check_options(options)
    lowered = run_passes(graph, Settings(samples, options.margin, options.budget))
    stacked: Stacked | None = None
    if options.mode == "throughput":
        unscaled, stacked = best_stacked(lowered, options)
        best = _scaled(unscaled)
    else:
        best = _cheapest(lowered, options)
    reasons = best.refreshes.reasons() if best.refreshes else {}
    steps = tuple(s.with_(reason=reasons.get(s.name, "")) for s in best.steps)
    plan = Plan(
        name=lowered.name,
        graph=lowered,
        target=best.target,
        steps=steps,
        outputs=best.packed.outputs,
        transforms=best.packed.transforms,
        vectors=best.packed.vectors,
        packings=best.packed.packings,
        bootstrap=best.bootstrap,
        flood_bits=options.flood_bits,
        batch=stacked.batch if stacked else 1,
        read=stacked.read if stacked else {},
    )
    check_refreshed(plan, samples)
    shown = [batches(samples, stacked.batch)] if stacked else samples[: min(4, len(samples))]
    error = ckks_sim.rms_error(plan, shown)
    return replace(plan, predicted_rms_error=error)


def _cheapest(graph: Graph, options: Options) -> Candidate:
    """The fastest predicted of: rings that hold the depth, and affine values computed once or in each
    reader."""
    chosen = chosen_set(options)
    fixed = options.insecure_target or chosen
    rings = [fixed.log_n] if fixed else [options.log_n or 16]
    if not options.log_n and not fixed:
        rings += [15, 14, 13]
    known: _Known = {}
    best: Candidate | None = None
    problem: Exception | None = None
    for log_n in rings:
        try:
            found = _with_shared_values(graph, known, log_n, options, stepwise=False)
            if any(len(t.rotations) > MAX_DIAGONALS for t in found.packed.transforms.values()):
                smaller = _with_shared_values(graph, known, log_n, options, stepwise=True)
                found = min(found, smaller, key=lambda c: c.rank(options))
        except (LimitError, ParameterError) as error:
            problem = problem or error
            break
        if best is None or found.rank(options) < best.rank(options):
            best = found
    if best is None:
        assert problem is not None
        raise problem
    return best


def _with_shared_values(
    graph: Graph, known: _Known, log_n: int, options: Options, *, stepwise: bool
) -> Candidate:
    """Greedy: from no shared affine value computed once, or all of them, change one more as long as the
    prediction improves."""
    names = shared_values(graph)
    best: Candidate | None = None
    kept: frozenset[str] = frozenset()
    problem: CipherformerError | None = None
    changes = [frozenset(), frozenset(names), *(frozenset({name}) for name in names)]
    large = any(node.type.size**2 > MAX_DENSE for node in graph)
    if large:
        # Composing layers of real size into each of several readers never pays: only what is computed once is
        # tried, and that without what a single region reads in several places.
        changes = list(dict.fromkeys((frozenset(names), frozenset(_with_several_ends(graph, names)))))
    for change in changes[:1] if not names else changes:
        keep = change if large else kept ^ change
        try:
            tried = _attempt(graph, known, keep, log_n, options, stepwise)
        except (LimitError, ParameterError) as error:
            problem = problem or error
            continue
        if best is None or tried.rank(options) < best.rank(options):
            best, kept = tried, keep
    if best is None:
        assert problem is not None
        raise problem
    return best


def _with_several_ends(graph: Graph, names: Sequence[str]) -> list[str]:
    """Those of some affine values that several regions would compute each for itself."""
    nodes, readers = graph.by_name(), graph.consumers()
    ends: dict[str, frozenset[str]] = {}
    for node in reversed(list(graph)):
        found = frozenset({node.name}) if node.name in graph.outputs else frozenset()
        for reader in readers[node.name]:
            found |= {node.name} if is_nonlinear(reader, nodes) else ends[reader.name]
        ends[node.name] = found
    return [name for name in names if len(ends[name]) > 1]


def _attempt(
    graph: Graph, known: _Known, keep: frozenset[str], log_n: int, options: Options, stepwise: bool
) -> Candidate:
    """The cheapest of: one ring that holds the whole depth, and rings with bootstrapping."""
    if keep not in known:
        known.clear()
        known[keep] = regions(graph, keep)
    parts, outputs = known[keep]
    packed = pack(parts, outputs, log_n - 1, stepwise=stepwise)
    if options.flood_bits >= 0:
        packed = hide_outputs(packed, 1 << (log_n - 1))
    found: list[Candidate] = []
    problem: CipherformerError | None = None
    chosen = chosen_set(options)
    if chosen is None:
        try:
            found.append(leveled(packed, log_n, options))
        except (LimitError, ParameterError) as error:
            problem = error
    depth = levels_needed(assign_levels(packed.steps, packed.outputs))
    for bootstrap in sets_of(log_n, options) if chosen is None else [chosen]:
        # A ring whose levels last needs no refresh, and is better without room for one.
        if chosen is None and found and depth <= bootstrap.output_level:
            continue
        try:
            found.append(refreshed(packed, bootstrap, options))
        except (LimitError, ParameterError) as error:
            problem = error
    if not found:
        assert problem is not None
        raise problem
    return _scaled(min(found, key=lambda c: c.rank(options)))


def _scaled(best: Candidate) -> Candidate:
    """A candidate with the scale of every step."""
    packed = best.packed
    scaled = assign_scales(
        best.steps,
        packed.outputs,
        packed.transforms,
        packed.vectors,
        best.target.moduli,
        best.target.scale,
        best.bootstrap,
    )
    return replace(best, steps=scaled)


def check_options(options: Options) -> None:
    """The mode is one of `MODES`, and the flood leaves room for the answer below q_0.

    Raises:
        ParameterError: if it does not.
    """
    if options.mode not in MODES:
        raise ParameterError(f"no mode is called {options.mode!r}", fix=f"choose one of: {', '.join(MODES)}")
    if options.flood_bits > options.first_bits - 2:
        raise ParameterError(
            f"flood_bits is {options.flood_bits}",
            why=f"answers stand below a prime of {options.first_bits} bits, the flood must as well",
            fix=f"choose at most {options.first_bits - 2}; precision is lost long before",
        )


def at_refreshes(
    plan: Plan, samples: Sequence[Mapping[str, NDArray[Any]]]
) -> Iterator[tuple[Step, float, float]]:
    """What the samples make of each refreshed value: its step, its largest |x|, and the bound that it must
    keep to, which a refresh scales to 1.
    """
    steps = {s.name: s for s in plan.steps}
    calls = [s for s in plan.steps if s.kernel == "refresh"]
    sites = [(steps[i], b) for s in calls for i, b in zip(s.inputs, s.bounds, strict=True)]
    for sample in samples if sites else ():
        values = exact.run(plan.graph, sample, lowered=True, keep=True)
        for step, bound in sites:
            name = step.name
            while name not in values:
                name = name.rpartition(".")[0]
            yield step, float(np.abs(values[name]).max()), bound


def check_refreshed(plan: Plan, samples: Sequence[Mapping[str, NDArray[Any]]]) -> None:
    """What the samples make of refreshed values stays inside their bounds.

    Raises:
        LimitError: if it does not; the range came from the model, the value from its approximation.
    """
    for step, largest, bound in at_refreshes(plan, samples):
        if largest > bound * (1 - MARGIN):
            raise LimitError(
                f"{step.name} reaches {largest:.4g} where it is refreshed",
                where=step.origin or step.name,
                why=f"its calibrated range allows {step.bound:.4g}, the refresh {bound:.4g}",
                fix="calibrate on a wider sample, widen the margin, or train with a range loss",
            )
