"""A model of CKKS on numpy slots: exact levels and scales, and noise of the size that the engine makes.

Imitates `backends.ckks`: the same kernels, the same operations in the same order, with random errors whose
variance is that of encryption, encoding, rescaling and key switching (Cheon et al., ASIACRYPT 2017, section
3; hybrid key switching after Kim et al., "Approximate homomorphic encryption with reduced approximation
error", 2022). Errors are independent and Gaussian; a real run's root mean square error is within a factor of
four (tested).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import pi, prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer.backends import exact
from cipherformer.errors import CompileError
from cipherformer.kernels import dft
from cipherformer.kernels.algebra import SlotAlgebra, Transform
from cipherformer.kernels.count import Ledger, Shadow, common
from cipherformer.kernels.run import execute, flat, grouped
from cipherformer.kernels.stack import integers
from cipherformer.kernels.step import Step
from cipherformer.plan.plan import Plan
from cipherformer.targets.bootstrap import BootstrapSet
from cipherformer.targets.ckks import CkksTarget

SIGMA = 3.2
EPHEMERAL_WEIGHT = 32


@dataclass(frozen=True, eq=False, slots=True)
class Simulated:
    """Slots of a value with its noise, and its level and scale."""

    slots: NDArray[Any]
    shadow: Shadow


@dataclass(frozen=True, slots=True)
class SimAlgebra:
    """The slot algebra on noisy numpy slots.

    Args:
        target: ring and primes.
        rng: source of the noise; None for slots without noise.
        ledger: filled during the run.
        bootstrap: what refreshes values; None where there is nothing to refresh.
    """

    target: CkksTarget
    rng: np.random.Generator | None = None
    ledger: Ledger = field(default_factory=Ledger)
    bootstrap: BootstrapSet | None = None

    @property
    def slots(self) -> int:
        """Slots of a ciphertext."""
        return self.target.slots

    def modulus(self, level: int) -> int:
        """The prime that a rescaling from `level` divides by."""
        return self.target.moduli[level]

    def level(self, a: Simulated) -> int:
        """Level."""
        return a.shadow.level

    def scale(self, a: Simulated) -> float:
        """Scale."""
        return a.shadow.scale

    def _noisy(self, slots: NDArray[Any], coefficient_variance: float, scale: float) -> NDArray[Any]:
        """Add the slot error that independent coefficient errors make: variance N/2 times theirs."""
        if self.rng is None:
            return slots
        deviation = sqrt((1 << self.target.log_n) / 2 * coefficient_variance) / scale
        noisy = slots + self.rng.normal(0.0, deviation, self.slots)
        return noisy + 1j * self.rng.normal(0.0, deviation, self.slots) if np.iscomplexobj(slots) else noisy

    def encrypt(self, values: NDArray[Any], level: int, scale: float) -> Simulated:
        """A fresh ciphertext under the secret key: error sigma^2 and rounding 1/12 a coefficient."""
        slots = np.resize(np.asarray(values), self.slots)
        return Simulated(self._noisy(slots, SIGMA**2 + 1 / 12, scale), Shadow(level, scale))

    def _rounding(self) -> float:
        """Variance of (r_0 + r_1 s) for uniform roundings r and a ternary s of about 2N/3 non-zeros."""
        return (1 + (1 << self.target.log_n) * 2 / 3) / 12

    def _switching(self, level: int) -> float:
        """Variance of a key switch at a level, after the division by P."""
        p = prod(self.target.special_moduli)
        n, alpha = 1 << self.target.log_n, self.target.digit_size
        digits = 0.0
        for start in range(0, level + 1, alpha):
            # The fast base conversion adds a multiple of the digit below alpha: its square is at most
            # alpha^2 / 3.
            ratio = prod(self.target.moduli[start : min(start + alpha, level + 1)]) / p
            digits += n * SIGMA**2 * ratio**2 * (1 / 12 + alpha**2 / 3)
        return digits + self._rounding()

    def add(self, a: Simulated, b: Simulated) -> Simulated:
        """Sum."""
        shadow = common(a.shadow, b.shadow)
        self.ledger.note("add", shadow.level)
        return Simulated(a.slots + b.slots, shadow)

    def sub(self, a: Simulated, b: Simulated) -> Simulated:
        """Difference."""
        return self.add(a, self.negate(b))

    def negate(self, a: Simulated) -> Simulated:
        """Negation."""
        return Simulated(-a.slots, a.shadow)

    def add_plain(self, a: Simulated, values: NDArray[Any]) -> Simulated:
        """Add a public vector."""
        self.ledger.note("ct-pt add", a.shadow.level, period=len(values))
        return Simulated(
            self._noisy(a.slots + np.resize(values, self.slots), 1 / 12, a.shadow.scale), a.shadow
        )

    def add_scalar(self, a: Simulated, value: float) -> Simulated:
        """Add a public number."""
        return Simulated(a.slots + value, a.shadow)

    def mul_scalar(self, a: Simulated, value: float, scale: float) -> Simulated:
        """Multiply by a public number."""
        self.ledger.note("ct-scalar product", a.shadow.level)
        return Simulated(a.slots * value, Shadow(a.shadow.level, a.shadow.scale * scale))

    def multiply(self, a: Simulated, b: Simulated) -> Simulated:
        """Product, relinearised."""
        shadow = Shadow(min(a.shadow.level, b.shadow.level), a.shadow.scale * b.shadow.scale)
        self.ledger.product(shadow.level)
        return Simulated(self._noisy(a.slots * b.slots, self._switching(shadow.level), shadow.scale), shadow)

    def multiply_add(self, total: Simulated, a: Simulated, b: Simulated) -> Simulated:
        """Sum with a product, relinearised once with the others."""
        product = Shadow(min(a.shadow.level, b.shadow.level), a.shadow.scale * b.shadow.scale)
        self.ledger.note("ct-ct term", product.level)
        return Simulated(total.slots + a.slots * b.slots, common(total.shadow, product))

    def dot(self, a: Sequence[Simulated], b: Sequence[Simulated]) -> Simulated:
        """Sum of products, relinearised once."""
        left, right = a[0].shadow, b[0].shadow
        shadow = Shadow(min(left.level, right.level), left.scale * right.scale)
        self.ledger.sum_of_products(shadow.level, len(a))
        total = sum((x.slots * y.slots for x, y in zip(a, b, strict=True)), np.zeros(self.slots))
        return Simulated(self._noisy(total, self._switching(shadow.level), shadow.scale), shadow)

    def mix(self, values: Sequence[Simulated], weights: NDArray[np.float64], scale: float) -> list[Simulated]:
        """Matrix of rounded numbers times values, rescaled."""
        first = values[0].shadow
        self.ledger.mixture(weights, first.level)
        rounded, factor = integers(weights, scale)
        rows = (rounded * (factor / scale)) @ np.stack([v.slots for v in values])
        shadow = Shadow(first.level, first.scale * scale)
        return [self.rescale(Simulated(row, shadow)) for row in rows]

    def apply(self, a: Simulated, transform: Transform, scale: float, rescale: bool = False) -> Simulated:
        """Linear map; a diagonal carries its encoding error, a rotation its key-switching error."""
        self.ledger.transform(transform, a.shadow.level, self.slots)
        total = np.zeros(self.slots, dtype=np.result_type(a.slots, transform.diagonals))
        for rotation, row in zip(transform.rotations, transform.diagonals, strict=True):
            total += np.resize(row, self.slots) * np.roll(a.slots, -rotation)
        shadow = Shadow(a.shadow.level, a.shadow.scale * scale)
        size = float(np.sqrt(np.mean(np.abs(a.slots) ** 2)))
        encoding = (
            len(transform.rotations)
            / 12
            * transform.diagonals.shape[1]
            / self.slots
            * (size * a.shadow.scale) ** 2
        )
        switched = [r for r in (*transform.babies, *transform.giants) if r % self.slots]
        slots = self._noisy(total, encoding + len(switched) * self._switching(shadow.level), shadow.scale)
        out = Simulated(slots, shadow)
        return self.rescale(out) if rescale else out

    def rescale(self, a: Simulated) -> Simulated:
        """Divide by the last prime."""
        if a.shadow.level < 1:
            raise CompileError(f"step {self.ledger.step} rescales at level 0")
        self.ledger.note("rescale", a.shadow.level)
        shadow = Shadow(a.shadow.level - 1, a.shadow.scale / self.modulus(a.shadow.level))
        return Simulated(self._noisy(a.slots, self._rounding(), shadow.scale), shadow)

    def drop(self, a: Simulated, level: int) -> Simulated:
        """Lower level."""
        if level > a.shadow.level:
            raise CompileError(
                f"step {self.ledger.step} needs level {level}, its operand has {a.shadow.level}"
            )
        return Simulated(a.slots, Shadow(level, a.shadow.scale))

    def relabel(self, a: Simulated, scale: float) -> Simulated:
        """Another scale: the value changes by the quotient."""
        return Simulated(a.slots * (a.shadow.scale / scale), Shadow(a.shadow.level, scale))

    def rotate(self, a: Simulated, steps: int) -> Simulated:
        """Left rotation."""
        self.ledger.note("rotation", a.shadow.level)
        self.ledger.rotation(steps, a.shadow.level, self.slots)
        rolled = np.roll(a.slots, -steps)
        return Simulated(self._noisy(rolled, self._switching(a.shadow.level), a.shadow.scale), a.shadow)

    def rotations(self, a: Simulated, steps: Sequence[int]) -> list[Simulated]:
        """Several left rotations."""
        self.ledger.hoisted(steps, a.shadow.level, self.slots)
        error = self._switching(a.shadow.level)
        rolled = [(r, np.roll(a.slots, -r)) for r in steps]
        return [
            Simulated(self._noisy(x, error, a.shadow.scale) if r % self.slots else x, a.shadow)
            for r, x in rolled
        ]

    def conjugate(self, a: Simulated) -> Simulated:
        """Complex conjugate."""
        self.ledger.conjugation(a.shadow.level)
        noisy = self._noisy(a.slots.conj(), self._switching(a.shadow.level), a.shadow.scale)
        return Simulated(noisy, a.shadow)

    def times_i(self, a: Simulated) -> Simulated:
        """Times the imaginary unit."""
        self.ledger.note("ct-scalar product", a.shadow.level)
        return Simulated(a.slots * 1j, a.shadow)

    def each(
        self, kernel: Callable[[SlotAlgebra[Simulated], Simulated], Simulated], values: Sequence[Simulated]
    ) -> list[Simulated]:
        """One after the other."""
        return [kernel(self, value) for value in values]

    def raise_modulus(self, a: Simulated) -> Simulated:
        """To the highest level: without noise nothing changes, with it small multiples of q_0 join the
        coefficients."""
        top = self.target.levels
        self.ledger.raising(top)
        shadow = Shadow(top, a.shadow.scale)
        if self.rng is None:
            return Simulated(a.slots, shadow)
        terms = self.rng.uniform(-0.5, 0.5, (2, EPHEMERAL_WEIGHT + 1, self.slots)).sum(axis=1)
        multiples = np.rint(terms[0]) + 1j * np.rint(terms[1])
        for half in (1 << k for k in range(self.slots.bit_length() - 1)):
            multiples = dft.apply(dft.layer(half, inverse=False), multiples)
        return Simulated(a.slots + multiples * (self.modulus(0) / a.shadow.scale), shadow)

    def refresh(self, values: Sequence[Simulated], level: int, scale: float) -> list[Simulated]:
        """Bootstrapping: the set's measured error; what is beyond 1 falls onto EvalMod's sine."""
        self.ledger.refresh([v.shadow for v in values], self.bootstrap, level)
        assert self.bootstrap is not None
        period = self.target.moduli[0] / scale
        deviation = sqrt(pi / 2) * 2.0**-self.bootstrap.precision_bits
        out = []
        for v in values:
            folded = period / (2 * pi) * np.sin(2 * pi / period * v.slots)
            slots = np.where(np.abs(v.slots) <= 1, v.slots, folded)
            if self.rng is not None:
                slots = slots + self.rng.normal(0.0, deviation, self.slots)
            out.append(Simulated(slots, Shadow(level, scale)))
        return out


@dataclass(frozen=True, eq=False, slots=True)
class SimResult:
    """What a simulated run gives.

    Args:
        output: the model's output with noise.
        ledger: operations that ran.
    """

    output: NDArray[np.float64]
    ledger: Ledger


def run(plan: Plan, x: NDArray[Any] | Mapping[str, NDArray[Any]], *, seed: int | None = 0) -> SimResult:
    """Run a plan on simulated ciphertexts.

    Args:
        plan: the plan.
        x: as for `Signature.pack`.
        seed: of the noise; None for none.
    """
    rng = None if seed is None else np.random.default_rng(seed)
    algebra = SimAlgebra(plan.target, rng, bootstrap=plan.bootstrap)
    specs = plan.signature.inputs
    packed = plan.signature.pack(x)
    fresh = [algebra.encrypt(v, i.level, i.scale) for i, v in zip(specs, packed, strict=True)]
    inputs = grouped(plan.steps, fresh)

    def enter(step: Step) -> None:
        algebra.ledger.step = step.name

    out = execute(algebra, plan.steps, plan.transforms, plan.vectors, inputs, plan.outputs, enter)
    output = plan.signature.unpack([_flooded(v, plan, rng) for v in flat(out[name] for name in plan.outputs)])
    return SimResult(output, algebra.ledger)


def _flooded(value: Simulated, plan: Plan, rng: np.random.Generator | None) -> NDArray[Any]:
    """Slots under the error of re-randomisation: its coefficients are uniform, so slots have N times their
    variance."""
    if rng is None or plan.flood_bits < 0:
        return value.slots
    deviation = 2.0**plan.flood_bits * np.sqrt(2 * plan.target.slots / 6) / value.shadow.scale
    return value.slots + rng.normal(0.0, deviation, value.slots.shape)


def reference(plan: Plan, x: NDArray[Any] | Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """The plaintext polynomial model: the plan's graph in float64, approximations included, without noise."""
    sources = plan.graph.inputs
    given = x if isinstance(x, Mapping) else {sources[0].name: np.asarray(x, dtype=np.float64)}
    rows = {n.name: np.asarray(given[n.name], dtype=np.float64).reshape(-1, *n.type.shape) for n in sources}
    out = [
        exact.run(plan.graph, {name: row[i] for name, row in rows.items()}, lowered=True)
        for i in range(len(rows[sources[0].name]))
    ]
    return np.concatenate([o[plan.graph.outputs[0]] for o in out])


def rms_error(plan: Plan, samples: Sequence[Mapping[str, NDArray[Any]]]) -> float:
    """Root mean square error of the simulated output against the reference, over some inputs."""
    errors = [run(plan, x, seed=i).output - reference(plan, x) for i, x in enumerate(samples)]
    return float(np.sqrt(np.mean(np.square(errors))))
