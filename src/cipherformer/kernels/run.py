"""The one interpreter loop: runs the steps of a plan over any slot algebra."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cipherformer.errors import CompileError
from cipherformer.kernels import linear, outer, poly, reciprocal, stack
from cipherformer.kernels.algebra import SlotAlgebra, Transform
from cipherformer.kernels.step import Step

V = TypeVar("V")


def depth(step: Step) -> int:
    """Levels that a step consumes."""
    match step.kernel:
        case "input" | "scalar" | "refresh" | "part":
            return 0
        case "affine" | "contract" | "mul" | "mix" | "pairs" | "scores" | "attended":
            return 1
        case "outer":
            return outer.outer_depth(step.left)
        case "power":
            return poly.power_depth(step.exponent)
        case "polynomial":
            return poly.chebyshev_depth(len(step.coefficients) - 1)
        case "reciprocal":
            return reciprocal.reciprocal_depth(len(step.relaxations))
    raise CompileError(f"unknown kernel {step.kernel}", where=step.origin)


def execute(
    b: SlotAlgebra[V],
    steps: Sequence[Step],
    transforms: Mapping[str, Transform],
    vectors: Mapping[str, NDArray[np.float64]],
    inputs: dict[str, Any],
    outputs: Sequence[str],
    on_step: Callable[[Step], Any] = lambda step: None,
) -> dict[str, Any]:
    """Run steps in order; values are dropped after their last use.

    Args:
        b: the algebra.
        steps: with levels decided.
        transforms, vectors: public arrays.
        inputs: a value, or a stack, for each step of kernel `input`; taken out one by one.
        outputs: names to return.
        on_step: called before each step.
    """
    values: dict[str, Any] = {}  # bundles are lists
    last = {name: i for i, s in enumerate(steps) for name in s.inputs}
    for i, step in enumerate(steps):
        on_step(step)
        if step.kernel == "input":
            values[step.name] = inputs.pop(step.name)
        else:
            values[step.name] = _run_step(b, step, [values[i] for i in step.inputs], transforms, vectors)
        for name in dict.fromkeys(step.inputs):
            if last[name] == i and name not in outputs:
                del values[name]
    return {name: values[name] for name in outputs}


def grouped(steps: Sequence[Step], values: Sequence[V]) -> dict[str, Any]:
    """The ciphertexts of a query by input step: one, or a list for a stack."""
    rest = iter(values)
    return {
        s.name: [next(rest) for _ in range(s.stack)] if s.stack else next(rest)
        for s in steps
        if s.kernel == "input"
    }


def flat(values: Iterable[V | list[V]]) -> list[V]:
    """The ciphertexts of values and stacks, in order."""
    return [v for value in values for v in (value if isinstance(value, list) else [value])]


def _run_step(
    b: SlotAlgebra[V],
    step: Step,
    operands: list[Any],
    transforms: Mapping[str, Transform],
    vectors: Mapping[str, NDArray[np.float64]],
) -> V | list[V]:
    if step.kernel == "part":
        value: V = operands[0][step.index]
        return value
    if step.stack:
        return _run_stack(b, step, operands, vectors)
    dropped = [b.drop(x, step.level_in) for x in operands]
    if step.kernel == "refresh":
        return _refresh(b, step, dropped)
    return _kernel(b, step, dropped, transforms, vectors)


def _run_stack(
    b: SlotAlgebra[V], step: Step, operands: list[list[V]], vectors: Mapping[str, NDArray[np.float64]]
) -> list[V]:
    """A step whose value is a stack."""
    x = [[b.drop(v, step.level_in) for v in values] for values in operands]
    match step.kernel:
        case "mix":
            weights = [vectors[t.transform] for t in step.terms]
            y = stack.mix(b, step, [x[t.source] for t in step.terms], weights)
        case "pairs":
            y = stack.products(b, x[0], x[1], vectors[step.terms[0].transform])
        case "scores" | "attended":
            assert step.diagonals is not None
            kernel = stack.scores if step.kernel == "scores" else stack.attended
            y = kernel(b, x[0], x[1], step.diagonals)
        case "refresh":
            y = []
            for i in range(0, len(x[0]), 2):
                two = x[0][i : i + 2]
                both = step.with_(bounds=step.bounds * len(two), gains=step.gains * len(two))
                fresh = _refresh(b, both, two)
                y += fresh if isinstance(fresh, list) else [fresh]
        case _:
            y = [_kernel(b, step, [v], {}, vectors) for v in x[0]]
    return stack.with_bias(b, y, vectors[step.bias]) if step.bias else y


def _refresh(b: SlotAlgebra[V], step: Step, x: list[V]) -> V | list[V]:
    """Values as parts of their bounds go in; what comes out is multiplied by an integer and read as the value
    again, so neither costs a level."""
    parts = [b.relabel(v, b.scale(v) * bound) for v, bound in zip(x, step.bounds, strict=True)]
    fresh = b.refresh(parts, step.level, step.scale * step.bounds[0] / step.gains[0])
    out = []
    for v, bound, gain in zip(fresh, step.bounds, step.gains, strict=True):
        scaled = b.mul_scalar(v, float(gain), 1.0) if gain != 1 else v
        out.append(b.relabel(scaled, b.scale(scaled) * gain / bound))
    return out if len(out) > 1 else out[0]


def _kernel(
    b: SlotAlgebra[V],
    step: Step,
    x: list[V],
    transforms: Mapping[str, Transform],
    vectors: Mapping[str, NDArray[np.float64]],
) -> V:
    match step.kernel:
        case "affine":
            y = _affine(b, step, x, transforms)
        case "scalar":
            y = linear.rotate_sum(b, x[0], step.terms[0].pre)
            y = b.relabel(b.negate(y) if step.factor < 0 else y, b.scale(y) / abs(step.factor))
        case "contract":
            y = linear.rotate_sum(b, b.rescale(b.multiply(x[0], x[1])), step.sums)
        case "outer":
            y = outer.outer(b, x[0], x[1], step.left, step.right, transforms, step.sums, step.scale)
        case "mul":
            y = b.rescale(b.multiply(x[0], x[1]))
        case "power":
            y = poly.power(b, x[0], step.exponent)
        case "polynomial":
            y = poly.chebyshev(b, x[0], step.coefficients, *step.interval, step.scale)
        case "reciprocal":
            y = reciprocal.reciprocal(b, x[0], step.interval[1], step.relaxations)
        case _:
            raise CompileError(f"unknown kernel {step.kernel}", where=step.origin)
    return b.add_plain(y, vectors[step.bias]) if step.bias else y


def _affine(b: SlotAlgebra[V], step: Step, x: list[V], transforms: Mapping[str, Transform]) -> V:
    """Sum of linear maps; terms with the same sums afterwards share one rescaling and the rotations. A
    term that stands alone is rescaled in the same step."""
    groups: dict[tuple[int, ...], V] = {}
    shared = Counter(term.post for term in step.terms)
    for term in step.terms:
        source = linear.rotate_sum(b, x[term.source], term.pre)
        wanted = step.scale * b.modulus(step.level_in)
        alone = shared[term.post] == 1
        y = b.apply(source, transforms[term.transform], wanted / b.scale(source), rescale=alone)
        y = b.relabel(y, step.scale if alone else wanted)
        groups[term.post] = b.add(groups[term.post], y) if term.post in groups else y
    total: V | None = None
    for post, y in groups.items():
        y = linear.rotate_sum(b, y if shared[post] == 1 else b.rescale(y), post)
        total = y if total is None else b.add(total, y)
    assert total is not None
    return total
