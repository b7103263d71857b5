"""From a captured graph to a plan: passes, packing, levels, parameters, scales, prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.backends import ckks_sim, exact
from cipherformer.errors import CipherformerError, DataError, LimitError, ParameterError
from cipherformer.graph import Graph
from cipherformer.kernels.count import CountAlgebra, Ledger, Shadow
from cipherformer.kernels.run import execute
from cipherformer.kernels.step import Step
from cipherformer.ops import ErrorBudget
from cipherformer.passes.level import Refreshes, assign_levels, levels_needed, place_refreshes
from cipherformer.passes.pack import MAX_DIAGONALS, pack
from cipherformer.passes.packing import Packed
from cipherformer.passes.pipeline import Settings, run_passes
from cipherformer.passes.regions import is_nonlinear, regions
from cipherformer.passes.scale import assign_scales
from cipherformer.plan.estimate import encoded_bytes, refresh_seconds, seconds_of
from cipherformer.plan.plan import Plan
from cipherformer.targets.bootstrap import MARGIN, SETS, BootstrapSet, bootstrap_set
from cipherformer.targets.ckks import CkksTarget, candidates, check_digits
from cipherformer.targets.prices import PriceTable
from cipherformer.targets.primes import generate_primes


@dataclass(frozen=True, slots=True)
class Options:
    """Choices of a compilation; the defaults are right for most models.

    Args:
        log_n: log2 of the ring degree; 0 lets the compiler choose.
        scale_bits: precision of encoded values; also the size of the primes.
        first_bits: size of the last prime: answers may be up to 2^(first_bits - scale_bits - 1).
        margin: by which calibrated ranges are widened.
        budget: errors allowed by approximations.
        threads: of the server, for the prediction.
        max_levels: most levels of a plan without bootstrapping.
        bootstrap: `auto` compares bootstrapping with doing without where both can be, `never`, or a set to
            use: by its name or itself.
        precision_bits: least mean precision of a set that is chosen automatically.
        memory_price: seconds that a GiB of encoded weights counts for when refreshes are placed.
        max_weight_bytes: encoded weights in the server's memory; a plan within it is preferred to a
            faster one.
        insecure_target: a ring for tests; its name says what it is.
    """

    log_n: int = 0
    scale_bits: int = 40
    first_bits: int = 50
    margin: float = 0.1
    budget: ErrorBudget = field(default_factory=ErrorBudget)
    threads: int = 2
    max_levels: int = 26
    bootstrap: str | BootstrapSet = "auto"
    precision_bits: float = 15.0
    memory_price: float = 0.1
    max_weight_bytes: int = 2 << 30
    insecure_target: CkksTarget | None = None


@dataclass(frozen=True, eq=False, slots=True)
class _Candidate:
    packed: Packed
    steps: tuple[Step, ...]
    target: CkksTarget
    seconds: float
    weight_bytes: int
    refreshes: Refreshes | None = None

    @property
    def bootstrap(self) -> BootstrapSet | None:
        """The set behind the refreshes."""
        return self.refreshes.bootstrap if self.refreshes else None

    def rank(self, options: Options) -> tuple[int, float]:
        """Smaller is better: weights beyond what is allowed, then seconds."""
        return max(0, self.weight_bytes - options.max_weight_bytes), self.seconds


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
    lowered = run_passes(graph, Settings(samples, options.margin, options.budget))
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
    )
    check_refreshed(plan, samples)
    error = ckks_sim.rms_error(plan, samples[: min(4, len(samples))])
    return replace(plan, predicted_rms_error=error)


def _cheapest(graph: Graph, options: Options) -> _Candidate:
    """The fastest predicted of: rings that hold the depth, and affine values computed once or in each
    reader."""
    chosen = _chosen_set(options)
    fixed = options.insecure_target or chosen
    rings = [fixed.log_n] if fixed else [options.log_n or 16]
    if not options.log_n and not fixed:
        rings += [15, 14, 13]
    best: _Candidate | None = None
    problem: Exception | None = None
    for log_n in rings:
        try:
            found = _with_shared_values(graph, log_n, options, stepwise=False)
            if any(len(t.rotations) > MAX_DIAGONALS for t in found.packed.transforms.values()):
                smaller = _with_shared_values(graph, log_n, options, stepwise=True)
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


def _with_shared_values(graph: Graph, log_n: int, options: Options, *, stepwise: bool) -> _Candidate:
    """Greedy: from no shared affine value computed once, or all of them, change one more as long as the
    prediction improves."""
    names = _shared_values(graph)
    best: _Candidate | None = None
    kept: frozenset[str] = frozenset()
    problem: CipherformerError | None = None
    changes = [frozenset(), frozenset(names), *(frozenset({name}) for name in names)]
    for change in changes[:1] if not names else changes:
        try:
            tried = _attempt(graph, kept ^ change, log_n, options, stepwise)
        except (LimitError, ParameterError) as error:
            problem = problem or error
            continue
        if best is None or tried.rank(options) < best.rank(options):
            best, kept = tried, kept ^ change
    if best is None:
        assert problem is not None
        raise problem
    return best


def _shared_values(graph: Graph) -> list[str]:
    """Affine values with several readers, the candidates for being computed once."""
    nodes = graph.by_name()
    return [
        name
        for name, readers in graph.consumers().items()
        if len(readers) > 1
        and nodes[name].type.secret
        and nodes[name].op != "input"
        and not is_nonlinear(nodes[name], nodes)
    ]


def _attempt(graph: Graph, keep: frozenset[str], log_n: int, options: Options, stepwise: bool) -> _Candidate:
    """The cheapest of: one ring that holds the whole depth, and rings with bootstrapping."""
    parts, outputs = regions(graph, keep)
    packed = pack(parts, outputs, log_n - 1, stepwise=stepwise)
    found: list[_Candidate] = []
    problem: CipherformerError | None = None
    chosen = _chosen_set(options)
    if chosen is None:
        try:
            found.append(_leveled(packed, log_n, options))
        except (LimitError, ParameterError) as error:
            problem = error
    depth = levels_needed(assign_levels(packed.steps, packed.outputs))
    for bootstrap in _sets(log_n, options) if chosen is None else [chosen]:
        # A ring whose levels last needs no refresh, and is better without room for one.
        if chosen is None and found and depth <= bootstrap.output_level:
            continue
        try:
            found.append(_refreshed(packed, bootstrap, options))
        except (LimitError, ParameterError) as error:
            problem = error
    if not found:
        assert problem is not None
        raise problem
    best = min(found, key=lambda c: c.rank(options))
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


def _chosen_set(options: Options) -> BootstrapSet | None:
    """The set that the options name, if they do."""
    if isinstance(options.bootstrap, BootstrapSet):
        return options.bootstrap
    return None if options.bootstrap in ("auto", "never") else bootstrap_set(options.bootstrap)


def _sets(log_n: int, options: Options) -> list[BootstrapSet]:
    """Secure sets of a ring, where the choice is automatic."""
    if options.bootstrap == "never" or options.insecure_target is not None:
        return []
    able = [s for s in SETS.values() if s.log_n == log_n and s.precision_bits >= options.precision_bits]
    return [s for s in able if not s.insecure]


def _refreshed(packed: Packed, bootstrap: BootstrapSet, options: Options) -> _Candidate:
    """A plan on a ring with bootstrapping, refreshes where they cost least."""
    target, prices = bootstrap.target(), PriceTable.default()

    def cost(step: Step) -> float:
        ledger = _count(replace(packed, steps=(*_stand_ins(step), step), outputs=(step.name,)), target)
        seconds = sum(seconds_of(ledger, target, prices, options.threads).values())
        held = encoded_bytes([step], packed.transforms, target)
        return seconds + options.memory_price * held / (1 << 30)

    one, two = (refresh_seconds(bootstrap, values, prices, options.threads) for values in (1, 2))
    placed = place_refreshes(packed.steps, packed.outputs, bootstrap, cost, (one, two))
    steps = placed.steps
    ledger = _count(replace(packed, steps=steps), target, bootstrap)
    seconds = sum(seconds_of(ledger, target, prices, options.threads, bootstrap).values())
    weights = encoded_bytes(steps, packed.transforms, target)
    return _Candidate(packed, steps, target, seconds, weights, placed)


def _stand_ins(step: Step) -> list[Step]:
    """Inputs of one step, to count it alone."""
    names = dict.fromkeys(step.inputs)
    return [Step(n, "input", (), step.layout, "", level=step.level_in) for n in names]


def check_refreshed(plan: Plan, samples: Sequence[Mapping[str, NDArray[Any]]]) -> None:
    """What the samples make of refreshed values stays inside their bounds.

    Raises:
        LimitError: if it does not; the range came from the model, the value from its approximation.
    """
    steps = {s.name: s for s in plan.steps}
    calls = [s for s in plan.steps if s.kernel == "refresh"]
    refreshed = [(steps[i], b) for s in calls for i, b in zip(s.inputs, s.bounds, strict=True)]
    for sample in samples if refreshed else ():
        values = exact.run(plan.graph, sample, lowered=True, keep=True)
        for step, bound in refreshed:
            name = step.name
            while name not in values:
                name = name.rpartition(".")[0]
            largest = float(np.abs(values[name]).max())
            if largest > bound * (1 - MARGIN):
                raise LimitError(
                    f"{step.name} reaches {largest:.4g} where it is refreshed",
                    where=step.origin or step.name,
                    why=f"its calibrated range allows {step.bound:.4g}, the refresh {bound:.4g}",
                    fix="calibrate on a wider sample, widen the margin, or train with a range loss",
                )


def _leveled(packed: Packed, log_n: int, options: Options) -> _Candidate:
    """A plan whose ring holds its whole depth."""
    steps = assign_levels(packed.steps, packed.outputs)
    levels = levels_needed(steps)
    if levels > options.max_levels:
        deepest = max(steps, key=lambda s: s.level_in - s.level)
        raise LimitError(
            f"the model needs {levels} levels, {options.max_levels} are allowed without bootstrapping",
            where=deepest.origin,
            why="the deepest single step is "
            + f"{deepest.kernel} with {deepest.level_in - deepest.level} levels",
            fix="lower activation degrees, train a narrower normaliser range, or use fewer layers",
        )
    best: _Candidate | None = None
    for target in _targets(levels, log_n, options):
        ledger = _count(replace(packed, steps=steps), target)
        seconds = sum(seconds_of(ledger, target, PriceTable.default(), options.threads).values())
        if best is None or seconds < best.seconds:
            weights = encoded_bytes(steps, packed.transforms, target)
            best = _Candidate(packed, steps, target, seconds, weights)
    if best is None:
        raise ParameterError(
            f"{levels} levels do not fit N = 2^{log_n} at 128-bit security", fix="choose a larger log_n"
        )
    return best


def _targets(levels: int, log_n: int, options: Options) -> list[CkksTarget]:
    """Parameter sets to price: every digit size that is secure."""
    if options.insecure_target is not None:
        if options.insecure_target.levels < levels:
            raise LimitError(
                f"the model needs {levels} levels, the given ring has {options.insecure_target.levels}"
            )
        return [replace(options.insecure_target, moduli=options.insecure_target.moduli[: levels + 1])]
    out = []
    sizes = [options.first_bits] + [options.scale_bits] * levels
    found = candidates(levels, first_bits=options.first_bits, scale_bits=options.scale_bits)
    for candidate_log_n, digit_size, special in found:
        if candidate_log_n == log_n:
            primes = generate_primes(log_n, [*sizes, *special])
            target = CkksTarget(
                log_n, primes[: levels + 1], primes[levels + 1 :], digit_size, options.scale_bits
            )
            check_digits(target)
            if target.security_bits >= 128:
                out.append(target)
    return out


def _count(packed: Packed, target: CkksTarget, bootstrap: BootstrapSet | None = None) -> Ledger:
    """Operations of a candidate; scales are not decided yet, and do not matter to the count."""
    algebra = CountAlgebra(target.moduli, target.slots, check_scales=False, bootstrap=bootstrap)
    inputs = {s.name: Shadow(s.level, target.scale) for s in packed.steps if s.kernel == "input"}
    steered = [s.with_(scale=target.scale) for s in packed.steps]

    def enter(step: Step) -> None:
        algebra.ledger.step = step.name

    execute(algebra, steered, packed.transforms, packed.vectors, inputs, packed.outputs, enter)
    return algebra.ledger
