"""Priced candidates for a plan: packed steps on one ring, with levels and, where it has them, refreshes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cipherformer.errors import LimitError, ParameterError
from cipherformer.kernels.count import CountAlgebra, Ledger, shadows_of
from cipherformer.kernels.run import execute
from cipherformer.kernels.step import Step
from cipherformer.passes.level import Refreshes, assign_levels, levels_needed, place_refreshes
from cipherformer.passes.packing import Packed
from cipherformer.plan.estimate import ledger_key_bytes, refresh_seconds, seconds_of
from cipherformer.plan.options import Options
from cipherformer.plan.weights import plan_weights
from cipherformer.targets.bootstrap import SETS, BootstrapSet, bootstrap_set
from cipherformer.targets.ckks import CkksTarget, candidates, check_digits
from cipherformer.targets.prices import PriceTable
from cipherformer.targets.primes import generate_primes


@dataclass(frozen=True, eq=False, slots=True)
class Candidate:
    """A plan without scales.

    Args:
        packed: layouts and diagonals.
        steps: with levels.
        target: the ring.
        seconds: predicted.
        weight_bytes: encoded weights in the server's memory.
        key_bytes: evaluation keys in the server's memory.
        refreshes: where values are refreshed; None on a ring without bootstrapping.
    """

    packed: Packed
    steps: tuple[Step, ...]
    target: CkksTarget
    seconds: float
    weight_bytes: int
    key_bytes: int
    refreshes: Refreshes | None = None

    @property
    def bootstrap(self) -> BootstrapSet | None:
        """The set behind the refreshes."""
        return self.refreshes.bootstrap if self.refreshes else None

    def rank(self, options: Options) -> tuple[int, float]:
        """Smaller is better: weights beyond what is allowed, then seconds with the price of the memory."""
        held = (self.weight_bytes + self.key_bytes) / (1 << 30)
        excess = max(0, self.weight_bytes - options.max_weight_bytes)
        return excess, self.seconds + options.memory_price * held


def chosen_set(options: Options) -> BootstrapSet | None:
    """The set that the options name, if they do."""
    if isinstance(options.bootstrap, BootstrapSet):
        return options.bootstrap
    return None if options.bootstrap in ("auto", "never") else bootstrap_set(options.bootstrap)


def sets_of(log_n: int, options: Options) -> list[BootstrapSet]:
    """Secure sets of a ring, where the choice is automatic."""
    if options.bootstrap == "never" or options.insecure_target is not None:
        return []
    able = [s for s in SETS.values() if s.log_n == log_n and s.precision_bits >= options.precision_bits]
    return [s for s in able if not s.insecure]


def refreshed(packed: Packed, bootstrap: BootstrapSet, options: Options) -> Candidate:
    """A plan on a ring with bootstrapping, refreshes where they cost least."""
    target, prices = bootstrap.target(), PriceTable.default()
    one, two = (refresh_seconds(bootstrap, values, prices, options.threads) for values in (1, 2))
    cost = _step_cost(packed, target, prices, options)
    placed = place_refreshes(packed.steps, packed.outputs, bootstrap, cost, (one, two))
    steps = placed.steps
    ledger = _count(replace(packed, steps=steps), target, bootstrap)
    weights = plan_weights(steps, packed.transforms, target, options.max_weight_bytes)
    times = seconds_of(ledger, target, prices, options.threads, bootstrap, weights.expansions)
    seconds, held = sum(times.values()), weights.held_bytes
    return Candidate(packed, steps, target, seconds, held, ledger_key_bytes(ledger, target), placed)


def _step_cost(
    packed: Packed, target: CkksTarget, prices: PriceTable, options: Options
) -> Callable[[Step], float]:
    """Seconds of a step at its level, its weights' memory included; equal work is priced once."""
    known: dict[Any, float] = {}
    stacks = {s.name: s.stack for s in packed.steps}

    def cost(step: Step) -> float:
        key = _work_key(step, packed, stacks)
        if key not in known:
            alone = replace(packed, steps=(*_stand_ins(step, stacks), step), outputs=(step.name,))
            weights = plan_weights([step], packed.transforms, target, options.max_weight_bytes)
            ledger = _count(alone, target)
            times = seconds_of(ledger, target, prices, options.threads, expansions=weights.expansions)
            known[key] = sum(times.values()) + options.memory_price * weights.held_bytes / (1 << 30)
        return known[key]

    return cost


def _work_key(step: Step, packed: Packed, stacks: Mapping[str, int]) -> tuple[Any, ...]:
    """Equal for steps that do the same operations."""
    maps = []
    for t in step.terms:
        m, weights = packed.transforms.get(t.transform), packed.vectors.get(t.transform)
        size = () if weights is None else weights.shape
        maps.append((t.source, t.pre, t.post, (m.rotations, m.diagonals.shape) if m else size))
    stages = step.left, step.right
    shape = (
        step.exponent,
        step.coefficients,
        step.relaxations,
        step.sums,
        bool(step.bias),
        step.factor,
        stages,
    )
    operands = tuple(stacks[name] for name in step.inputs)
    return step.kernel, step.level_in, operands, step.stack, step.diagonals, tuple(maps), shape


def _stand_ins(step: Step, stacks: Mapping[str, int]) -> list[Step]:
    """Inputs of one step, to count it alone."""
    names = dict.fromkeys(step.inputs)
    return [Step(n, "input", (), step.layout, "", level=step.level_in, stack=stacks.get(n, 0)) for n in names]


def leveled(packed: Packed, log_n: int, options: Options) -> Candidate:
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
    best: Candidate | None = None
    for target in _targets(levels, log_n, options):
        ledger = _count(replace(packed, steps=steps), target)
        weights = plan_weights(steps, packed.transforms, target, options.max_weight_bytes)
        prices, expansions = PriceTable.default(), weights.expansions
        times = seconds_of(ledger, target, prices, options.threads, expansions=expansions)
        seconds, held = sum(times.values()), weights.held_bytes
        found = Candidate(packed, steps, target, seconds, held, ledger_key_bytes(ledger, target))
        if best is None or found.rank(options) < best.rank(options):
            best = found
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
    inputs = shadows_of(packed.steps, target.scale)
    steered = [s.with_(scale=target.scale) for s in packed.steps]

    def enter(step: Step) -> None:
        algebra.ledger.step = step.name

    execute(algebra, steered, packed.transforms, packed.vectors, inputs, packed.outputs, enter)
    return algebra.ledger
