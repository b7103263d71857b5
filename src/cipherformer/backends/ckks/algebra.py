"""The slot algebra on ciphertexts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherformer import _native as native
from cipherformer.backends.ckks.trace import Trace
from cipherformer.kernels import bootstrap as kernel
from cipherformer.kernels.algebra import SlotAlgebra, Transform
from cipherformer.kernels.count import Ledger, Shadow
from cipherformer.kernels.stack import integers
from cipherformer.targets.bootstrap import BootstrapSet

Key = tuple[str, int, float]

IMAGINARY = np.array([1j])

Refresher = Callable[[Sequence[native.Ciphertext], int, float], list[native.Ciphertext]]
"""(values of at most 1 in absolute value, level, scale) -> the same values at that level and scale."""


@dataclass(slots=True)
class Encoded:
    """Diagonals and vectors as the engine wants them, encoded once for each level and scale they are used
    at.

    Args:
        context: of the engine.
        compact: (transform, level) to keep as coefficients; see `plan.weights`.
        transforms, vectors: filled on demand.
    """

    context: native.Context
    compact: frozenset[tuple[str, int]] = frozenset()
    transforms: dict[Key, native.LinearTransform] = field(default_factory=dict)
    vectors: dict[tuple[int, int, float], tuple[NDArray[Any], native.Plaintext]] = field(default_factory=dict)

    def transform(self, t: Transform, level: int, scale: float) -> native.LinearTransform:
        """Encoded diagonals of a linear map."""
        key = (t.name, level, scale)
        if key not in self.transforms:
            self.transforms[key] = self.context.linear_transform(
                list(t.rotations),
                np.ascontiguousarray(t.diagonals),
                level,
                scale,
                t.baby_step,
                compact=(t.name, level) in self.compact,
            )
        return self.transforms[key]

    def vector(self, values: NDArray[Any], level: int, scale: float) -> native.Plaintext:
        """An encoded vector. The array is kept, so that its identity stays a key."""
        key = (id(values), level, scale)
        if key not in self.vectors:
            self.vectors[key] = (values, self.context.encode(np.ascontiguousarray(values), level, scale))
        return self.vectors[key][1]

    @property
    def memory_bytes(self) -> int:
        """Memory of all encoded diagonals and vectors."""
        held = sum(t.memory_bytes for t in self.transforms.values())
        return held + sum(p.memory_bytes for _, p in self.vectors.values())


@dataclass(frozen=True, slots=True)
class CkksAlgebra:
    """The slot algebra on ciphertexts of one context.

    Args:
        moduli: primes by level.
        evaluator: with the keys that the plan names.
        encoded: cache of encoded plaintexts, shared by all runs of a plan.
        ledger: operations of this run.
        trace: times of this run.
        bootstrap: the set that the ring was made for, if any.
        refresher: what refreshes values in place of bootstrapping, for tests.
    """

    moduli: Sequence[int]
    slots: int
    evaluator: native.Evaluator
    encoded: Encoded
    ledger: Ledger = field(default_factory=Ledger)
    trace: Trace = field(default_factory=Trace)
    bootstrap: BootstrapSet | None = None
    refresher: Refresher | None = None

    def modulus(self, level: int) -> int:
        """The prime that a rescaling from `level` divides by."""
        return self.moduli[level]

    def level(self, a: native.Ciphertext) -> int:
        """Level."""
        return a.level

    def scale(self, a: native.Ciphertext) -> float:
        """Scale."""
        return a.scale

    def add(self, a: native.Ciphertext, b: native.Ciphertext) -> native.Ciphertext:
        """Sum."""
        self.ledger.note("add", min(a.level, b.level))
        with self.trace.timed("add"):
            return self.evaluator.add(a, b)

    def sub(self, a: native.Ciphertext, b: native.Ciphertext) -> native.Ciphertext:
        """Difference."""
        self.ledger.note("add", min(a.level, b.level))
        with self.trace.timed("add"):
            return self.evaluator.sub(a, b)

    def negate(self, a: native.Ciphertext) -> native.Ciphertext:
        """Negation."""
        with self.trace.timed("add"):
            return self.evaluator.negate(a)

    def add_plain(self, a: native.Ciphertext, values: NDArray[Any]) -> native.Ciphertext:
        """Add a public vector."""
        self.ledger.note("ct-pt add", a.level, period=len(values))
        with self.trace.timed("encode"):
            plain = self.encoded.vector(values, a.level, a.scale)
        with self.trace.timed("ct-pt add"):
            return self.evaluator.add_plain(a, plain)

    def add_scalar(self, a: native.Ciphertext, value: float) -> native.Ciphertext:
        """Add a public number."""
        with self.trace.timed("ct-pt add"):
            return self.evaluator.add_scalar(a, value)

    def mul_scalar(self, a: native.Ciphertext, value: float, scale: float) -> native.Ciphertext:
        """Multiply by a public number."""
        self.ledger.note("ct-scalar product", a.level)
        with self.trace.timed("ct-scalar product"):
            return self.evaluator.mul_scalar(a, value, scale)

    def multiply(self, a: native.Ciphertext, b: native.Ciphertext) -> native.Ciphertext:
        """Product, with three parts until it is rescaled or used: sums are relinearised once, and the
        division by P is one with the rescaling."""
        self.ledger.product(min(a.level, b.level))
        left = self._two_parts(a)
        right = left if a is b else self._two_parts(b)
        with self.trace.timed("ct-ct product"):
            return self.evaluator.multiply(left, right, relinearise=False)

    def multiply_add(
        self, total: native.Ciphertext, a: native.Ciphertext, b: native.Ciphertext
    ) -> native.Ciphertext:
        """Sum with a product, of three parts each."""
        self.ledger.note("ct-ct term", min(a.level, b.level))
        left, right = self._two_parts(a), self._two_parts(b)
        with self.trace.timed("ct-ct product"):
            return self.evaluator.add(total, self.evaluator.multiply(left, right, relinearise=False))

    def dot(self, a: Sequence[native.Ciphertext], b: Sequence[native.Ciphertext]) -> native.Ciphertext:
        """Sum of products, with three parts until it is rescaled or used."""
        self.ledger.sum_of_products(min(a[0].level, b[0].level), len(a))
        left, right = [self._two_parts(x) for x in a], [self._two_parts(x) for x in b]
        with self.trace.timed("ct-ct product"):
            return self.evaluator.dot(left, right)

    def mix(
        self, values: Sequence[native.Ciphertext], weights: NDArray[np.float64], scale: float
    ) -> list[native.Ciphertext]:
        """Matrix of numbers times values; the rescalings are part of the call."""
        self.ledger.mixture(weights, values[0].level)
        for _ in weights:
            self.ledger.note("rescale", values[0].level)
        rounded, factor = integers(weights, scale)
        with self.trace.timed("mix"):
            return self.evaluator.mix([self._two_parts(v) for v in values], rounded, factor, scale)

    def _two_parts(self, a: native.Ciphertext) -> native.Ciphertext:
        if a.size == 2:
            return a
        with self.trace.timed("ct-ct product"):
            return self.evaluator.relinearise(a)

    def apply(
        self, a: native.Ciphertext, transform: Transform, scale: float, rescale: bool = False
    ) -> native.Ciphertext:
        """Linear map; the division by P is one with the rescaling."""
        self.ledger.transform(transform, a.level, self.slots)
        if rescale:
            self.ledger.note("rescale", a.level)
        with self.trace.timed("encode"):
            encoded = self.encoded.transform(transform, a.level, scale)
        with self.trace.timed("ct-pt product" if transform.rotations == (0,) else "ct-pt matrix"):
            return self.evaluator.apply(encoded, self._two_parts(a), rescale)

    def rescale(self, a: native.Ciphertext) -> native.Ciphertext:
        """Divide by the last prime."""
        self.ledger.note("rescale", a.level)
        if a.size == 3:
            with self.trace.timed("ct-ct product"):
                return self.evaluator.relinearise(a, rescale=True)
        with self.trace.timed("rescale"):
            return self.evaluator.rescale(a)

    def drop(self, a: native.Ciphertext, level: int) -> native.Ciphertext:
        """Lower level."""
        return a if a.level == level else self.evaluator.drop_level(a, level)

    def relabel(self, a: native.Ciphertext, scale: float) -> native.Ciphertext:
        """Another scale."""
        return a.set_scale(scale)

    def rotate(self, a: native.Ciphertext, steps: int) -> native.Ciphertext:
        """Left rotation."""
        self.ledger.note("rotation", a.level)
        self.ledger.rotation(steps, a.level, self.slots)
        with self.trace.timed("rotation"):
            return self.evaluator.rotate(self._two_parts(a), steps)

    def rotations(self, a: native.Ciphertext, steps: Sequence[int]) -> list[native.Ciphertext]:
        """Several left rotations with one decomposition."""
        self.ledger.hoisted(steps, a.level, self.slots)
        with self.trace.timed("rotation"):
            return self.evaluator.rotate_hoisted(self._two_parts(a), steps)

    def conjugate(self, a: native.Ciphertext) -> native.Ciphertext:
        """Complex conjugate of every slot."""
        self.ledger.conjugation(a.level)
        with self.trace.timed("rotation"):
            return self.evaluator.conjugate(self._two_parts(a))

    def times_i(self, a: native.Ciphertext) -> native.Ciphertext:
        """Times the imaginary unit: the monomial X^(N/2), which an encoding at scale 1 is."""
        self.ledger.note("ct-scalar product", a.level)
        with self.trace.timed("ct-scalar product"):
            return self.evaluator.mul_plain(a, self.encoded.vector(IMAGINARY, a.level, 1.0))

    def raise_modulus(self, a: native.Ciphertext) -> native.Ciphertext:
        """To the highest level."""
        top = len(self.moduli) - 1
        self.ledger.raising(top)
        with self.trace.timed("raise"):
            return self.evaluator.raise_modulus(a, top)

    def each(
        self,
        kernel: Callable[[SlotAlgebra[native.Ciphertext], native.Ciphertext], native.Ciphertext],
        values: Sequence[native.Ciphertext],
    ) -> list[native.Ciphertext]:
        """One thread a value: the engine's calls then keep to their threads, which never wait."""
        if self.evaluator.threads == 1 or len(values) == 1:
            return [kernel(self, value) for value in values]
        copies = [replace(self, ledger=Ledger(), trace=self.trace.beside()) for _ in values]
        start = time.perf_counter()
        with ThreadPoolExecutor(self.evaluator.threads) as threads:
            out = list(threads.map(kernel, copies, values))
        self.trace.join([copy.trace for copy in copies], time.perf_counter() - start)
        for copy in copies:
            self.ledger.join(copy.ledger)
        return out

    def refresh(
        self, values: Sequence[native.Ciphertext], level: int, scale: float
    ) -> list[native.Ciphertext]:
        """Bootstrapping. The ledger sees one operation; times go to the primitives inside."""
        self.ledger.refresh([Shadow(v.level, v.scale) for v in values], self.bootstrap, level)
        if self.refresher is not None:
            with self.trace.timed("bootstrap"):
                return self.refresher(values, level, scale)
        assert self.bootstrap is not None
        inside = replace(self, ledger=Ledger())
        return kernel.refresh(inside, kernel.prepare(self.bootstrap), values, level, scale)
