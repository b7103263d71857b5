"""Parameter sets and cases of the engine benchmark. Every set has log QP below the 128-bit limit of its N."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

OPERATIONS = (
    "encode",
    "encrypt",
    "add",
    "multiply-plain",
    "multiply",
    "rescale",
    "rotate",
    "rotate-hoisted",
)
MATRIX = ("matvec256-encode", "matvec256")
WIDE_MATRIX = ("matvec768-encode", "matvec768")
HOISTED = 8  # rotations of one ciphertext that `rotate-hoisted` shares the decomposition over


@dataclass(frozen=True)
class Setting:
    """One parameter set with the operations timed in it.

    Args:
        log_n: ring dimension 2^log_n, 2^(log_n - 1) slots.
        limbs: primes of the ciphertext modulus: one of `first_bits`, the others of `scale_bits`.
        special: bits of the primes that key switching adds (cipherformer); peers choose their own.
        dnum: digits of hybrid key switching; `limbs / dnum` primes a digit, rounded up.
        operations: names out of OPERATIONS, MATRIX and WIDE_MATRIX.
        matrix_size, baby_step: of the matrix-vector products.
    """

    log_n: int
    limbs: int
    special: tuple[int, ...]
    operations: tuple[str, ...]
    first_bits: int = 50
    scale_bits: int = 40
    dnum: int = 3
    matrix_size: int = 256
    baby_step: int = 16

    def case(self, operation: str) -> str:
        """`rotate-n15-l15`; encoding is named by N alone, at the largest number of limbs."""
        return f"{operation}-n{self.log_n}" + ("" if operation == "encode" else f"-l{self.limbs}")

    def to_dict(self, operations: tuple[str, ...], threads: int) -> dict[str, Any]:
        """What a runner is told."""
        return asdict(self) | {
            "operations": operations,
            "threads": threads,
            "hoisted": HOISTED,
        }


SETTINGS = (
    Setting(13, 3, (50,), OPERATIONS + MATRIX, first_bits=45),
    Setting(14, 6, (50,) * 2, OPERATIONS + MATRIX),
    Setting(15, 15, (45,) * 5, OPERATIONS),
    Setting(15, 8, (48,) * 3, MATRIX),
    Setting(15, 8, (48,) * 3, WIDE_MATRIX, matrix_size=768, baby_step=32),
    Setting(16, 26, (45,) * 9, OPERATIONS),
    Setting(16, 8, (48,) * 3, MATRIX),
)
