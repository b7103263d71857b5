"""The counting backend: levels, scales, operations and rotation keys of a plan, without any value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.errors import CompileError
from cipherformer.kernels import bootstrap as kernel
from cipherformer.kernels.algebra import SlotAlgebra, Transform
from cipherformer.kernels.step import Step
from cipherformer.targets.bootstrap import BootstrapSet

SCALE_TOLERANCE = 2.0**-30


@dataclass(frozen=True, slots=True)
class Operation:
    """One kind of primitive at one place.

    Args:
        step: name of the step that calls it.
        primitive: `ct-ct product`, `ct-ct term` (joins a product before its relinearisation), `ct-pt
            product`, `ct-pt matrix`, `rotation`, `rescale`, `add`, `ct-scalar product`, `raise` (to `level`),
            `bootstrap`, and of stacks `mix` (`giants` rows of `diagonals` numbers), `rotations` (`babies` of
            one value), `ct-ct sum` (of `diagonals` products).
        level: of the operand.
        diagonals, babies, giants: of a `ct-pt matrix` or `ct-pt product`.
        period: of its diagonals.
        values: that a `bootstrap` refreshes.
    """

    step: str
    primitive: str
    level: int
    diagonals: int = 0
    babies: int = 0
    giants: int = 0
    period: int = 0
    values: int = 0


@dataclass(frozen=True, slots=True)
class Shadow:
    """A value's level and scale."""

    level: int
    scale: float


@dataclass(slots=True)
class Ledger:
    """What a run does: how often each operation, and which keys at which level.

    Args:
        step: name of the step that runs.
        counts: how often each operation ran.
        rotations: steps -> highest level of a rotation.
        relinearise, conjugate: highest level of a product and of a conjugation; -1 for none.
        raised: level that the modulus is raised to; -1 if it is not.
    """

    step: str = ""
    counts: Counter[Operation] = field(default_factory=Counter)
    rotations: dict[int, int] = field(default_factory=dict)
    relinearise: int = -1
    conjugate: int = -1
    raised: int = -1

    def note(self, primitive: str, level: int, **details: int) -> None:
        """Count one operation of the current step."""
        self.counts[Operation(self.step, primitive, level, **details)] += 1

    def rotation(self, steps: int, level: int, slots: int) -> None:
        """Note that a rotation key is used at a level."""
        steps %= slots
        if steps:
            self.rotations[steps] = max(self.rotations.get(steps, -1), level)

    def hoisted(self, steps: Sequence[int], level: int, slots: int) -> None:
        """Count rotations that share a decomposition, and their keys."""
        self.note("rotations", level, babies=sum(1 for r in steps if r % slots))
        for r in steps:
            self.rotation(r, level, slots)

    def sum_of_products(self, level: int, terms: int) -> None:
        """Count a sum of products that is relinearised once."""
        self.note("ct-ct sum", level, diagonals=terms)
        self.relinearise = max(self.relinearise, level)

    def mixture(self, weights: NDArray[np.float64], level: int) -> None:
        """Count a matrix of numbers times ciphertexts."""
        rows, columns = weights.shape
        self.note("mix", level, diagonals=columns, giants=rows)

    def product(self, level: int) -> None:
        """Count a product of ciphertexts and its relinearisation key."""
        self.note("ct-ct product", level)
        self.relinearise = max(self.relinearise, level)

    def conjugation(self, level: int) -> None:
        """Count a conjugation and its key."""
        self.note("rotation", level)
        self.conjugate = max(self.conjugate, level)

    def raising(self, level: int) -> None:
        """Count a raised modulus and the level it reaches."""
        self.note("raise", level)
        self.raised = max(self.raised, level)

    def refresh(self, values: Sequence[Shadow], bootstrap: BootstrapSet | None, level: int) -> None:
        """Count a bootstrapping call and its keys.

        Raises:
            CompileError: without a bootstrapping set, or for values below its input level.
        """
        if bootstrap is None or level != bootstrap.output_level:
            raise CompileError(f"step {self.step} refreshes, and the plan's ring does not hold that")
        if any(v.level < bootstrap.input_level for v in values):
            raise CompileError(f"step {self.step} refreshes a value below level {bootstrap.input_level}")
        self.note("bootstrap", level, values=len(values))
        self.keys_of(refresh_ledger(bootstrap, len(values)))

    def keys_of(self, other: Ledger) -> None:
        """Note the keys of another run, too."""
        for steps, key_level in other.rotations.items():
            self.rotations[steps] = max(self.rotations.get(steps, -1), key_level)
        self.relinearise = max(self.relinearise, other.relinearise)
        self.conjugate = max(self.conjugate, other.conjugate)
        self.raised = max(self.raised, other.raised)

    def taken(self) -> Ledger:
        """What was noted up to now, which this ledger then forgets."""
        out = replace(self)
        self.counts, self.rotations = Counter(), {}
        self.relinearise = self.conjugate = self.raised = -1
        return out

    def key_names(self) -> frozenset[str]:
        """Names of the keys noted, as a signature calls them."""
        names = {f"rotate-{steps}" for steps in self.rotations}
        names |= {"relinearise"} if self.relinearise >= 0 else set()
        names |= {"conjugate"} if self.conjugate >= 0 else set()
        return frozenset(names | ({"encapsulate", "decapsulate"} if self.raised >= 0 else set()))

    def join(self, other: Ledger) -> None:
        """Count what ran beside this."""
        self.counts.update(other.counts)
        self.keys_of(other)

    def transform(self, t: Transform, level: int, slots: int) -> None:
        """Count a linear map and its rotations."""
        babies = [r for r in t.babies if r % slots]
        giants = [r for r in t.giants if r % slots]
        for r in (*babies, *giants):
            self.rotation(r, level, slots)
        name = "ct-pt matrix" if babies or giants else "ct-pt product"
        self.note(
            name,
            level,
            diagonals=len(t.rotations),
            babies=len(babies),
            giants=len(giants),
            period=t.diagonals.shape[1],
        )


def common(a: Shadow, b: Shadow) -> Shadow:
    """Level and scale of a sum.

    Raises:
        CompileError: if the scales differ.
    """
    if abs(a.scale / b.scale - 1) > SCALE_TOLERANCE:
        raise CompileError(f"a sum of scales {a.scale} and {b.scale}")
    return Shadow(min(a.level, b.level), a.scale)


@dataclass(frozen=True, slots=True)
class CountAlgebra:
    """The slot algebra on levels and scales.

    Args:
        moduli: primes by level.
        slots: slots of a ciphertext.
        ledger: filled during the run.
        check_scales: False while scales are not decided yet.
        bootstrap: what refreshes values; None where there is nothing to refresh.
    """

    moduli: Sequence[int]
    slots: int
    ledger: Ledger = field(default_factory=Ledger)
    check_scales: bool = True
    bootstrap: BootstrapSet | None = None

    def modulus(self, level: int) -> int:
        """The prime that a rescaling from `level` divides by."""
        return self.moduli[level]

    def level(self, a: Shadow) -> int:
        """Level."""
        return a.level

    def scale(self, a: Shadow) -> float:
        """Scale."""
        return a.scale

    def add(self, a: Shadow, b: Shadow) -> Shadow:
        """Sum."""
        out = common(a, b) if self.check_scales else Shadow(min(a.level, b.level), a.scale)
        self.ledger.note("add", out.level)
        return out

    sub = add

    def negate(self, a: Shadow) -> Shadow:
        """Negation."""
        return a

    def add_plain(self, a: Shadow, values: NDArray[Any]) -> Shadow:
        """Add a public vector."""
        self.ledger.note("ct-pt add", a.level, period=len(values))
        return a

    def add_scalar(self, a: Shadow, value: float) -> Shadow:
        """Add a public number."""
        return a

    def mul_scalar(self, a: Shadow, value: float, scale: float) -> Shadow:
        """Multiply by a public number."""
        self.ledger.note("ct-scalar product", a.level)
        return Shadow(a.level, a.scale * scale)

    def multiply(self, a: Shadow, b: Shadow) -> Shadow:
        """Product."""
        level = min(a.level, b.level)
        self.ledger.product(level)
        return Shadow(level, a.scale * b.scale)

    def multiply_add(self, total: Shadow, a: Shadow, b: Shadow) -> Shadow:
        """Sum with a product."""
        level = min(a.level, b.level)
        self.ledger.note("ct-ct term", level)
        product = Shadow(level, a.scale * b.scale)
        return common(total, product) if self.check_scales else Shadow(level, total.scale)

    def dot(self, a: Sequence[Shadow], b: Sequence[Shadow]) -> Shadow:
        """Sum of products."""
        level = min(a[0].level, b[0].level)
        self.ledger.sum_of_products(level, len(a))
        return Shadow(level, a[0].scale * b[0].scale)

    def mix(self, values: Sequence[Shadow], weights: NDArray[np.float64], scale: float) -> list[Shadow]:
        """Matrix times values."""
        self.ledger.mixture(weights, values[0].level)
        return [self.rescale(Shadow(values[0].level, values[0].scale * scale)) for _ in weights]

    def apply(self, a: Shadow, transform: Transform, scale: float, rescale: bool = False) -> Shadow:
        """Linear map."""
        self.ledger.transform(transform, a.level, self.slots)
        out = Shadow(a.level, a.scale * scale)
        return self.rescale(out) if rescale else out

    def rescale(self, a: Shadow) -> Shadow:
        """One level less."""
        if a.level < 1:
            raise CompileError(f"step {self.ledger.step} rescales at level 0")
        self.ledger.note("rescale", a.level)
        return Shadow(a.level - 1, a.scale / self.moduli[a.level])

    def drop(self, a: Shadow, level: int) -> Shadow:
        """Lower level."""
        if level > a.level:
            raise CompileError(f"step {self.ledger.step} needs level {level}, its operand has {a.level}")
        return Shadow(level, a.scale)

    def relabel(self, a: Shadow, scale: float) -> Shadow:
        """Another scale."""
        return Shadow(a.level, scale)

    def rotate(self, a: Shadow, steps: int) -> Shadow:
        """Rotation."""
        self.ledger.note("rotation", a.level)
        self.ledger.rotation(steps, a.level, self.slots)
        return a

    def rotations(self, a: Shadow, steps: Sequence[int]) -> list[Shadow]:
        """Several rotations."""
        self.ledger.hoisted(steps, a.level, self.slots)
        return [a for _ in steps]

    def conjugate(self, a: Shadow) -> Shadow:
        """Conjugation."""
        self.ledger.conjugation(a.level)
        return a

    def times_i(self, a: Shadow) -> Shadow:
        """Times the imaginary unit."""
        self.ledger.note("ct-scalar product", a.level)
        return a

    def raise_modulus(self, a: Shadow) -> Shadow:
        """To the highest level."""
        top = len(self.moduli) - 1
        self.ledger.raising(top)
        return Shadow(top, a.scale)

    def each(
        self, kernel: Callable[[SlotAlgebra[Shadow], Shadow], Shadow], values: Sequence[Shadow]
    ) -> list[Shadow]:
        """One after the other."""
        return [kernel(self, value) for value in values]

    def refresh(self, values: Sequence[Shadow], level: int, scale: float) -> list[Shadow]:
        """Bootstrapping."""
        self.ledger.refresh(values, self.bootstrap, level)
        return [Shadow(level, scale) for _ in values]


def shadows_of(steps: Sequence[Step], scale: float = 0.0) -> dict[str, Any]:
    """What stands for the inputs of a plan, at their own or a given scale: shadows, and lists for stacks."""
    out: dict[str, Any] = {}
    for s in steps:
        if s.kernel == "input":
            shadow = Shadow(s.level, scale or s.scale)
            out[s.name] = [shadow] * s.stack if s.stack else shadow
    return out


@lru_cache(maxsize=16)
def refresh_ledger(bootstrap: BootstrapSet, values: int = 2) -> Ledger:
    """What is inside a bootstrapping call: its operations and keys (not to be changed)."""
    target = bootstrap.target()
    algebra = CountAlgebra(target.moduli, target.slots)
    x = Shadow(bootstrap.input_level, target.scale)
    kernel.refresh(algebra, kernel.prepare(bootstrap), [x] * values, bootstrap.output_level, target.scale)
    return algebra.ledger
