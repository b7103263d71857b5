"""Levels: every step runs as late, that is at as low a level, as its readers allow, because fewer limbs cost
less. Where the levels do not last, values are refreshed (`passes.refresh` says which)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil, log2

from cipherformer.errors import CompileError, LimitError
from cipherformer.kernels.run import depth
from cipherformer.kernels.step import Step
from cipherformer.passes.refresh import FEW_LABELS, Calls, Item, Placement, place
from cipherformer.targets.bootstrap import MARGIN, BootstrapSet

SMALLEST_BOUND = 2.0**-2
"""Values below are refreshed with this bound: a smaller one would move scales too far."""


def assign_levels(
    steps: Sequence[Step], outputs: Sequence[str], bootstrap: BootstrapSet | None = None
) -> tuple[Step, ...]:
    """Steps with `level_in` and `level`; an input's level is the largest that a reader needs.

    Raises:
        CompileError: if a step is read by nobody.
    """
    need = dict.fromkeys(outputs, 0)
    done: list[Step] = []
    for step in reversed(steps):
        if step.name not in need:
            raise CompileError("a step without readers", where=step.origin or step.name)
        level = need[step.name]
        level_in = level + depth(step)
        if step.kernel in ("refresh", "part"):
            assert bootstrap is not None
            level = level_in = bootstrap.output_level
        if step.kernel == "refresh":
            assert bootstrap is not None
            level_in = bootstrap.input_level
        for name in step.inputs:
            need[name] = max(need.get(name, 0), level_in)
        done.append(step.with_(level=level, level_in=level_in))
    return tuple(reversed(done))


def levels_needed(steps: Sequence[Step]) -> int:
    """Levels that the client's ciphertexts must have."""
    return max((s.level for s in steps if s.kernel == "input"), default=0)


@dataclass(frozen=True, eq=False, slots=True)
class Refreshes:
    """A placement of refreshes.

    Args:
        bare: the steps without refreshes.
        outputs: values that go back to the client.
        bootstrap: the set that refreshes.
        items: the steps as placement sees them.
        calls: prices and levels of a refresh.
        best: the cheapest placement.
        steps: with refreshes and levels.
    """

    bare: tuple[Step, ...]
    outputs: tuple[str, ...]
    bootstrap: BootstrapSet
    items: tuple[Item, ...]
    calls: Calls
    best: Placement
    steps: tuple[Step, ...]

    def reasons(self) -> dict[str, str]:
        """Why each `refresh` step stands where it stands, by its name."""
        out = {}
        for call in self.best.calls:
            words = [f"{self._serves(v)}; {self._instead(v)}" for v in sorted(call)]
            out[_label(self.bare, call)] = " | ".join(words)
        return out

    def _serves(self, value: int) -> str:
        name = self.bare[value].name
        readers = [s.name for s in self.bare if name in s.inputs]
        shown = ", ".join(readers[:3]) + (f" and {len(readers) - 3} more" if len(readers) > 3 else "")
        return f"serves {shown}"

    def _instead(self, value: int) -> str:
        """What it would cost not to refresh a value."""
        items = list(self.items)
        items[value] = replace(items[value], refreshable=False)
        index = {s.name: i for i, s in enumerate(self.bare)}
        other = place(items, [index[o] for o in self.outputs], self.calls, FEW_LABELS)
        if other is None:
            return "no plan without it"
        here = {v for call in self.best.calls for v in call}
        new = [self.bare[v].name for call in other.calls for v in call if v not in here]
        places = f", at {', '.join(new[:2])}{' and more' if len(new) > 2 else ''}" if new else ""
        return f"elsewhere +{other.cost - self.best.cost:.3g} s{places}"


def place_refreshes(
    steps: Sequence[Step],
    outputs: Sequence[str],
    bootstrap: BootstrapSet,
    cost: Callable[[Step], float],
    seconds: tuple[float, float],
) -> Refreshes:
    """Steps with refreshes where they cost least, and with levels.

    Args:
        steps: without refreshes.
        outputs: values that go back to the client.
        bootstrap: the set that refreshes.
        cost: seconds of a step whose levels are set, memory included.
        seconds: of a call with one value, and with two.

    Raises:
        LimitError: a step deeper than what a refresh gives; a value to refresh that has no range.
    """
    items = _items(steps, bootstrap.output_level, cost)
    first, both = seconds
    second = min(first, max(0.0, both - first)) if bootstrap.values_per_call > 1 else None
    if any(s.stack for s in steps):
        # The ciphertexts of a stack share calls among themselves.
        calls_of = [s.stack // 2 + (s.stack % 2) * first / both for s in steps]
        items = tuple(replace(i, weight=w) for i, w in zip(items, calls_of, strict=True))
        first, second = both, None
    calls = Calls(bootstrap.input_level, bootstrap.output_level, first, second)
    index = {s.name: i for i, s in enumerate(steps)}
    best = place(items, [index[o] for o in outputs], calls)
    if best is None:
        deepest = max(steps, key=depth)
        raise LimitError(
            f"{deepest.kernel} takes {depth(deepest)} levels",
            where=deepest.origin or deepest.name,
            why=f"a refresh with {bootstrap.name} gives levels {bootstrap.output_level} down to"
            f" {bootstrap.input_level}",
            fix="lower activation degrees or train a narrower normaliser range",
        )
    placed = assign_levels(_inserted(steps, best), outputs, bootstrap)
    return Refreshes(tuple(steps), tuple(outputs), bootstrap, items, calls, best, placed)


def _items(steps: Sequence[Step], highest: int, cost: Callable[[Step], float]) -> tuple[Item, ...]:
    index = {s.name: i for i, s in enumerate(steps)}
    items = []
    for step in steps:
        d, costs = depth(step), [0.0] * (highest + 1)
        for level_in in range(d, highest + 1):
            seconds_here = cost(step.with_(level_in=level_in, level=level_in - d))
            costs[level_in] = max(seconds_here, costs[level_in - 1] if level_in else 0.0)
        inputs = tuple(dict.fromkeys(index[i] for i in step.inputs))
        items.append(Item(inputs, d, tuple(costs), step.kernel != "input"))
    return tuple(items)


def _label(steps: Sequence[Step], call: Sequence[int]) -> str:
    return f"{'+'.join(steps[v].name for v in sorted(call))}.fresh"


def _inserted(steps: Sequence[Step], best: Placement) -> tuple[Step, ...]:
    """The steps with refreshes, each as early as its order allows; readers read what was refreshed."""
    fresh: dict[str, str] = {}
    made: dict[str, Step] = {}
    for call in best.calls:
        values = [steps[v] for v in sorted(call)]
        bounds = tuple(bound_of(v) for v in values)
        common = {"layout": values[0].layout, "origin": values[0].origin, "stack": values[0].stack}
        names = tuple(v.name for v in values)
        label = _label(steps, call)
        ones = (1,) * len(names)
        made[label] = Step(label, "refresh", names, bounds=bounds, gains=ones, **common)
        for k, value in enumerate(values):
            fresh[value.name] = f"{value.name}.fresh"
            if len(values) > 1:
                part = f"{value.name}.fresh"
                made[part] = Step(part, "part", (label,), value.layout, value.origin, index=k)
    for step in steps:
        made[step.name] = step.with_(inputs=tuple(fresh.get(i, i) for i in step.inputs))
    out: dict[str, Step] = {}

    def visit(name: str) -> None:
        if name not in out:
            for i in made[name].inputs:
                visit(i)
            out[name] = made[name]

    for step in steps:
        visit(step.name)
    return tuple(out.values())


def bound_of(step: Step) -> float:
    """The power of two that a value's calibrated range stays below, with `MARGIN` to spare.

    Raises:
        LimitError: if there is no range.
    """
    if step.bound <= 0:
        raise LimitError(
            f"{step.name} has no calibrated range and must be refreshed",
            where=step.origin,
            fix="calibrate with samples on which the value is not always zero",
        )
    return float(max(SMALLEST_BOUND, 2.0 ** ceil(log2(step.bound / (1 - MARGIN)))))
