"""Choices of a compilation."""

from __future__ import annotations

from dataclasses import dataclass, field

from cipherformer.ops import ErrorBudget
from cipherformer.plan.weights import MAX_WEIGHT_BYTES
from cipherformer.targets.bootstrap import BootstrapSet
from cipherformer.targets.ckks import CkksTarget

MODES = ("latency", "throughput")


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
        max_weight_bytes: encoded weights in the server's memory, the largest kept compact; a plan within it
            is preferred to a faster one.
        flood_bits: hide the weights from clients: unused slots are cleared (one level more), and answers
            are re-randomised under an error that is uniform in +-2^flood_bits in each coefficient, which
            costs that much precision; -1 does not. SECURITY.md says what that promises.
        mode: `latency` for one input a query, or `throughput`: a query holds a batch that fills the slots.
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
    max_weight_bytes: int = MAX_WEIGHT_BYTES
    flood_bits: int = -1
    mode: str = "latency"
    insecure_target: CkksTarget | None = None
