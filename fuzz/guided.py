"""`python -m fuzz.guided TARGET [libFuzzer options] [CORPUS]`: one Python reader under coverage guidance.

Needs `atheris` (the `fuzz` extra). Half of the inputs are damaged by the target's own mutator and mended so
that they get past checksums, the rest by libFuzzer's.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable

import atheris

from fuzz.mutate import mutate as damage_bytes
from fuzz.targets import Target, targets


def checked(target: Target) -> Callable[[bytes], None]:
    """The reader; its refusals are fine, anything else is a finding."""

    def read(data: bytes) -> None:
        try:
            target.read(data)
        except target.refusals:
            return

    return read


def mutator(target: Target) -> Callable[[bytes, int, int], bytes]:
    """A mutator for libFuzzer."""

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        if seed % 2:
            return bytes(atheris.Mutate(data, max_size))
        rng = random.Random(seed)
        any_bytes = target.damage is damage_bytes  # other mutators need an input that is well formed
        start = data if any_bytes and data and rng.random() < 0.7 else rng.choice(target.seeds)
        damaged = target.damage(start, rng)
        return (target.repair(damaged) if target.repair else damaged)[:max_size]

    return mutate


def main() -> None:
    """Never returns: libFuzzer ends the process, with an error at a finding."""
    known = {t.name: t for t in targets()}
    if len(sys.argv) < 2 or sys.argv[1] not in known:
        raise SystemExit(f"usage: python -m fuzz.guided {'|'.join(known)} [libFuzzer options] [CORPUS]")
    target = known[sys.argv[1]]
    atheris.instrument_all()
    atheris.Setup([sys.argv[0], *sys.argv[2:]], checked(target), custom_mutator=mutator(target))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
