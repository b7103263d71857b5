"""Encoded weights in the server's memory: which are kept compact, and what they take.

A diagonal of period s is encoded as 2s residues for each limb, ready for products, or kept as its 2s
coefficients, of which each use transforms 2s residues a limb. Results are the same bits, so this is the
server's choice and not the plan's; one rule serves the prediction and the server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cipherformer.kernels.algebra import Transform
from cipherformer.kernels.step import Step
from cipherformer.targets.ckks import CkksTarget
from cipherformer.targets.prices import Work

MAX_WEIGHT_BYTES = 2 << 30
WORD = 8


@dataclass(frozen=True, slots=True)
class Weights:
    """The encoded diagonals of a plan.

    Args:
        compact: (transform, level) of those that are kept as coefficients.
        held_bytes: of all; a compact coefficient counts 8 bytes, and takes 4 where it is below 2^31.
        expansions: by step, what transforming the compact ones costs a query.
    """

    compact: frozenset[tuple[str, int]]
    held_bytes: int
    expansions: Mapping[str, Work]


def plan_weights(
    steps: Sequence[Step],
    transforms: Mapping[str, Transform],
    target: CkksTarget,
    max_bytes: int = MAX_WEIGHT_BYTES,
) -> Weights:
    """Keeps the largest transforms compact until all fit `max_bytes`, or nothing is left to compact."""
    limbs: dict[tuple[str, int], int] = {}
    for step in steps:
        for name, level, _ in step.maps():
            raised = transforms[name].babies != (0,)
            special = len(target.special_moduli) if raised else 0
            limbs[name, level] = level + 1 + special
    words = {key: transforms[key[0]].diagonals.size * 2 for key in limbs}
    held = sum(WORD * words[key] * limbs[key] for key in limbs)
    compact: set[tuple[str, int]] = set()
    for key in sorted(limbs, key=lambda k: (-words[k] * limbs[k], k)):
        if held <= max_bytes or limbs[key] == 1:
            break
        compact.add(key)
        held -= WORD * words[key] * (limbs[key] - 1)
    expansions: dict[str, Work] = {}
    for step in steps:
        for name, level, times in step.maps():
            key = name, level
            if key in compact:
                spent = Work(transforms=times * limbs[key] * words[key] / (1 << target.log_n))
                expansions[step.name] = expansions.get(step.name, Work()) + spent
    return Weights(frozenset(compact), held, expansions)
