"""Refreshing values: slots to coefficients, a raised modulus, coefficients to slots, EvalMod.

Decision 7. A message m at level 0 has coefficients m_k = scale z_k below q_0; under the raised modulus they
are m_k + q_0 I_k. Back in slots, x_k = m_k / q_0 + I_k loses its integer by `approx.modulo`, once for the
real and once for the imaginary half. Written over the slot algebra, so that it is counted, simulated and run
alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import pi, sqrt

from cipherformer.approx.modulo import Cosine, fit_cosine
from cipherformer.errors import CompileError
from cipherformer.kernels import dft, poly
from cipherformer.kernels.algebra import SlotAlgebra, Transform, V
from cipherformer.targets.bootstrap import BootstrapSet

SCALE_TOLERANCE = 2.0**-31


@dataclass(frozen=True, eq=False, slots=True)
class Bootstrap:
    """Everything public that refreshing takes, made once.

    Args:
        name: of the set.
        input_level, output_level: of values before and after.
        top: level of the raised ciphertext.
        ratio: q_0 over the scale at level 0.
        to_coefficients, to_slots: the factors of the two maps, in order.
        cosine: of EvalMod.
        eval_scale: scale that EvalMod starts at.
        second_primes: primes that EvalMod's second level takes.
    """

    name: str
    input_level: int
    output_level: int
    top: int
    ratio: float
    to_coefficients: tuple[Transform, ...]
    to_slots: tuple[Transform, ...]
    cosine: Cosine
    eval_scale: float
    second_primes: int


@lru_cache(maxsize=4)
def prepare(settings: BootstrapSet) -> Bootstrap:
    """The transforms and the polynomial of a set."""
    target = settings.target()
    layers = split_layers(target.log_n - 1, settings.stc_levels)
    both = {
        inverse: tuple(
            dft.transforms(
                layers,
                inverse=inverse,
                slots=target.slots,
                name=f"{settings.name}-{'cts' if inverse else 'stc'}",
            )
        )
        for inverse in (False, True)
    }
    cosine = fit_cosine(settings.multiples, log_ratio=settings.log_ratio)
    return Bootstrap(
        name=settings.name,
        input_level=settings.input_level,
        output_level=settings.output_level,
        top=len(target.moduli) - 1,
        ratio=2.0**cosine.log_ratio,
        to_coefficients=both[False],
        to_slots=both[True],
        cosine=cosine,
        eval_scale=2.0**settings.eval_scale_bits,
        second_primes=len(settings.evalmod_bits) - cosine.levels + 1,
    )


def split_layers(total: int, stages: int) -> tuple[int, ...]:
    """Layers of butterflies in each stage, as even as possible, the larger ones first.

    >>> split_layers(10, 3)
    (4, 3, 3)
    """
    return tuple(total // stages + (i < total % stages) for i in range(stages))


def refresh(b: SlotAlgebra[V], boot: Bootstrap, values: Sequence[V], level: int, scale: float) -> list[V]:
    """One or two real values, |x| <= 1 in every slot, at `level` and `scale` with fresh levels.

    Two values travel as the real and the imaginary part of one ciphertext.

    Raises:
        CompileError: another number of values, or levels that this set does not have.
    """
    if len(values) not in (1, 2):
        raise CompileError(f"{len(values)} values in one refresh", fix="refresh one real value, or a pair")
    return halves(b, boot, values, level, scale, imaginary=len(values) == 2)


def refresh_complex(b: SlotAlgebra[V], boot: Bootstrap, value: V, level: int, scale: float) -> V:
    """A value with complex slots, real and imaginary parts in [-1, 1]."""
    real, imaginary = halves(b, boot, [value], level, scale, imaginary=True)
    return b.add(real, b.times_i(imaginary))


def refresh_twice(b: SlotAlgebra[V], boot: Bootstrap, value: V, level: int, bits: int = 8) -> V:
    """A real value with about `bits` more of precision: what the first refresh missed is refreshed, too.

    The result has the value's own scale, whose rounding noise is the limit. Source: Bae et al., "META-BTS:
    bootstrapping precision beyond the limit", CCS 2022.
    """
    scale = b.scale(value)
    (first,) = refresh(b, boot, [value], level, scale)
    missed = b.sub(value, b.drop(first, b.level(value)))
    (rest,) = refresh(b, boot, [b.relabel(missed, scale * 2.0**-bits)], level, scale * 2.0**-bits)
    return b.add(first, b.relabel(rest, scale))


def halves(
    b: SlotAlgebra[V], boot: Bootstrap, values: Sequence[V], level: int, scale: float, *, imaginary: bool
) -> list[V]:
    """The refreshed real part of values[0] + i values[1], and with `imaginary` the imaginary part, each a
    value of its own."""
    lowest = min(b.level(value) for value in values)
    if lowest < boot.input_level or level > boot.output_level:
        raise CompileError(
            f"a refresh from level {lowest} to level {level}",
            why=f"the set {boot.name} refreshes from {boot.input_level} to {boot.output_level}",
        )
    raised = b.raise_modulus(slots_to_coefficients(b, boot, values))
    x = coefficients_to_slots(b, boot, raised)
    parts = remove_multiples(b, boot, x, scale, imaginary=imaginary)
    return [b.drop(part, level) for part in parts]


def slots_to_coefficients(b: SlotAlgebra[V], boot: Bootstrap, values: Sequence[V]) -> V:
    """The slots of values[0] + i values[1] as coefficients, at level 0 and scale q_0 / ratio.

    The first factor repeats most often, so it takes the scale that differs from call to call; values of two
    scales meet after it.
    """
    first, *others = boot.to_coefficients
    wanted = b.modulus(0) / boot.ratio
    summed = wanted * b.modulus(boot.input_level)
    parts = [b.drop(value, boot.input_level) for value in values]
    if len(parts) == 2:
        parts[1] = b.times_i(parts[1])
        if abs(b.scale(parts[0]) / b.scale(parts[1]) - 1.0) < SCALE_TOLERANCE:
            parts = [b.add(*parts)]
    mapped = [b.relabel(b.apply(x, first, summed / b.scale(x)), summed) for x in parts]
    x = b.rescale(mapped[0] if len(mapped) == 1 else b.add(*mapped))
    for transform in others:
        x = b.apply(x, transform, float(b.modulus(b.level(x))), rescale=True)
    return b.relabel(x, wanted)


def coefficients_to_slots(b: SlotAlgebra[V], boot: Bootstrap, raised: V) -> V:
    """The coefficients over q_0, in slots, at the scale that EvalMod starts at."""
    x = b.relabel(raised, float(b.modulus(0)))
    wanted = boot.eval_scale / boot.cosine.half
    # Half of the sum with the conjugate is the real part: the sum is read at twice the scale.
    step = (wanted / 2.0 / b.scale(x)) ** (1.0 / len(boot.to_slots))
    for transform in boot.to_slots:
        x = b.apply(x, transform, b.modulus(b.level(x)) * step, rescale=True)
    return b.relabel(x, wanted / 2.0)


def remove_multiples(b: SlotAlgebra[V], boot: Bootstrap, x: V, scale: float, *, imaginary: bool) -> list[V]:
    """EvalMod of the real part of x, and with `imaginary` of the imaginary part."""
    mirrored = b.conjugate(x)
    parts = [b.add(x, mirrored)]
    if imaginary:
        parts.append(b.times_i(b.sub(mirrored, x)))
    halves = [b.relabel(part, 2.0 * b.scale(part)) for part in parts]
    return b.each(lambda algebra, half: evaluate_modulo(algebra, boot, half, scale), halves)


def evaluate_modulo(b: SlotAlgebra[V], boot: Bootstrap, x: V, scale: float) -> V:
    """x minus the nearest integer, times `ratio`, at `scale`.

    v = 2 u^2 - 1 is nearly -1 where x is near 0, and its error is divided by 4 u there: v gets a scale of
    several bits more than the rest, which T_2(v) loses again to two primes. (A sparse secret makes so
    little noise that it does without.)
    """
    cosine = boot.cosine
    u = b.add_scalar(b.relabel(x, b.scale(x) * cosine.half), -0.25 / cosine.half)
    v = double_angle(b, u)
    second = double_angle(b, v, rescalings=boot.second_primes)
    # Backwards from the wanted scale: a doubling squares the scale and divides it by a prime.
    end = scale * boot.ratio / (2.0 * pi) * cosine.gain
    bottom = b.level(second) + 1 - poly.chebyshev_depth(len(cosine.coefficients) - 1)
    for k in reversed(range(cosine.doublings)):
        end = sqrt(end * b.modulus(bottom - k))
    y = poly.chebyshev(b, v, cosine.coefficients, -1.0, 1.0, end, known={2: second})
    for _ in range(cosine.doublings):
        y = double_angle(b, y)
    return b.relabel(y, scale)


def double_angle(b: SlotAlgebra[V], y: V, *, rescalings: int = 1) -> V:
    """2 y^2 - 1."""
    square = b.multiply(y, y)
    square = b.add(square, square)
    for _ in range(rescalings):
        square = b.rescale(square)
    return b.add_scalar(square, -1.0)
