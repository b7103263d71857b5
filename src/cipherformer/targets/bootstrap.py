"""Parameter sets for bootstrapping, as frozen data, and the rings that hold them.

Slots to coefficients first: a value enters at `input_level`, its slots become coefficients, the modulus is
raised, coefficients become slots again, the multiples of q_0 are removed (EvalMod), and the value leaves at
`output_level`. The chain of primes, from level 0 upwards, is

    q_0 | slots to coefficients | levels left | EvalMod | coefficients to slots

Computation uses the levels up to `output_level` only: the primes above it have other sizes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from cipherformer.errors import ParameterError
from cipherformer.targets.ckks import CkksTarget, check_digits
from cipherformer.targets.primes import generate_primes

MARGIN = 2.0**-10
"""A refreshed value is at most 1 - MARGIN in absolute value."""


@dataclass(frozen=True, slots=True)
class BootstrapSet:
    """A ring with room for bootstrapping.

    Args:
        name: begins with `insecure` below 128 bits.
        log_n: log2 of the ring degree.
        first_bits: size of q_0.
        scale_bits: size of the scale and of the primes that computation uses.
        stc_levels: levels of slots to coefficients.
        levels_left: levels between a refresh and the next one's `input_level`.
        evalmod_bits, cts_bits: sizes of the primes of EvalMod and of coefficients to slots, lowest first.
        special_bits: sizes of the special primes.
        digit_size: primes in a digit of key switching.
        hamming_weight: of the secret; 0 for a uniform ternary one.
        ephemeral_weight: non-zeros of the ephemeral secret that the modulus is raised under.
        multiples: largest multiple of q_0 that EvalMod removes.
        log_ratio: a value of 1 is 2^-log_ratio of q_0 when the modulus is raised.
        eval_scale_bits: scale that EvalMod starts at, see `kernels.bootstrap.evaluate_modulo`.
        values_per_call: real values that one call refreshes.
        precision_bits, precision_bits_worst: -log2 of the mean and the largest error, for values in [-1, 1].
        failure_probability_log2: of one call.
        memory_bytes: of keys and transforms.
        seconds: of a call with one value, and with `values_per_call`, on two threads. For comparing sets;
            predictions come from the price table.
    """

    name: str
    log_n: int
    first_bits: int
    scale_bits: int
    stc_levels: int
    levels_left: int
    evalmod_bits: tuple[int, ...]
    cts_bits: tuple[int, ...]
    special_bits: tuple[int, ...]
    digit_size: int
    hamming_weight: int = 0
    ephemeral_weight: int = 32
    multiples: int = 14
    log_ratio: int = 10
    eval_scale_bits: int = 53
    values_per_call: int = 2
    precision_bits: float = 18.0
    precision_bits_worst: float = 15.0
    failure_probability_log2: float = -40.0
    memory_bytes: int = 0
    seconds: tuple[float, float] = (0.0, 0.0)

    @property
    def insecure(self) -> bool:
        """True for rings made for tests."""
        return self.name.startswith("insecure")

    @property
    def input_level(self) -> int:
        """Lowest level that a value may be refreshed at."""
        return self.stc_levels

    @property
    def output_level(self) -> int:
        """Level of a refreshed value, and the highest that a plan computes at."""
        return self.stc_levels + self.levels_left

    def target(self) -> CkksTarget:
        """The ring with its primes.

        Raises:
            ParameterError: if the set is not secure and its name does not say so.
        """
        chain = [self.first_bits, *[self.scale_bits] * self.output_level, *self.evalmod_bits, *self.cts_bits]
        primes = generate_primes(self.log_n, [*chain, *self.special_bits])
        target = CkksTarget(
            log_n=self.log_n,
            moduli=primes[: len(chain)],
            special_moduli=primes[len(chain) :],
            digit_size=self.digit_size,
            log_scale=self.scale_bits,
            insecure=self.insecure,
            hamming_weight=self.hamming_weight,
        )
        check_digits(target)
        if not self.insecure and target.security_bits < 128:
            raise ParameterError(f"the bootstrapping set {self.name} is below 128 bits of security")
        return target


DENSE = BootstrapSet(
    name="n16-dense",
    log_n=16,
    first_bits=50,
    scale_bits=40,
    stc_levels=3,
    levels_left=13,
    evalmod_bits=(50, 50, 50, 50, 50, 50, 31, 31, 50),
    cts_bits=(50, 50, 50),
    special_bits=(50,) * 9,
    digit_size=10,
    precision_bits=19.0,
    precision_bits_worst=16.0,
    failure_probability_log2=-72.0,
    memory_bytes=8_000_000_000,
    seconds=(2.2, 3.1),
)
"""Uniform ternary secret, 128 bits: log2(QP) 1702 of 1747. Precision 19.2 bits in the mean, 17.0 at worst.
Measured, with seconds and memory, by the case `bootstrap-n16-full` of `python -m benchmarks.engine`."""

SPARSE = replace(
    DENSE,
    name="n16-sparse",
    levels_left=9,
    evalmod_bits=(49,) * 8,
    cts_bits=(49, 49, 49),
    special_bits=(50,) * 8,
    digit_size=8,
    hamming_weight=192,
    log_ratio=11,
    eval_scale_bits=49,
    precision_bits=19.5,
    memory_bytes=6_800_000_000,
    seconds=(1.9, 2.5),
)
"""A secret of 192 non-zeros, 128 bits: log2(QP) 1469 of 1546. Rounding makes little noise under it, so
EvalMod does without small primes and q_0 is 2^11 times the scale. Precision 19.6 bits in the mean, 16.2 at
worst. Measured by the case `bootstrap-n16-sparse`."""

INSECURE = replace(
    DENSE,
    name="insecure-n11",
    log_n=11,
    special_bits=(50,) * 4,
    digit_size=3,
    memory_bytes=1 << 28,
    seconds=(0.05, 0.08),
)
"""For tests."""

SETS = {s.name: s for s in (DENSE, SPARSE, INSECURE)}


def choose_bootstrap(levels_between: int, precision_bits: float, slots: int) -> BootstrapSet:
    """The secure set with the fewest seconds for each level it gives back.

    Args:
        levels_between: levels that must lie between two refreshes.
        precision_bits: mean precision that is wanted.
        slots: that a value needs.

    Raises:
        ParameterError: if no set offers that.
    """
    fitting = [
        s
        for s in SETS.values()
        if not s.insecure
        and s.levels_left >= levels_between
        and s.precision_bits >= precision_bits
        and 1 << (s.log_n - 1) >= slots
    ]
    if not fitting:
        offers = "; ".join(
            f"{s.name}: {s.levels_left} levels, {s.precision_bits} bits, 2^{s.log_n - 1} slots"
            for s in SETS.values()
            if not s.insecure
        )
        raise ParameterError(
            f"no bootstrapping set leaves {levels_between} levels at {precision_bits} bits for {slots} slots",
            why=offers,
            fix="refresh more often, or ask for less precision",
        )
    return min(fitting, key=lambda s: s.seconds[1] / s.levels_left)


def bootstrap_set(name: str) -> BootstrapSet:
    """A set by its name.

    Raises:
        ParameterError: if there is none.
    """
    if name not in SETS:
        raise ParameterError(f"no bootstrapping set {name!r}", fix=f"sets: {', '.join(SETS)}")
    return SETS[name]
