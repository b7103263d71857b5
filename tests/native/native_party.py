"""A client and a server in one place, for tests. The parameter sets are insecure on purpose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

import cipherformer._native as native

SCALE = 2.0**40


def make_parameters(
    log_n: int, levels: int, *, digit_size: int = 2, special: int = 2, hamming_weight: int = 0
) -> native.Parameters:
    """q_0 of 50 bits, `levels` primes of 40, `special` of 50: an insecure toy set."""
    primes = native.generate_primes(log_n, [50] + [40] * levels + [50] * special)
    return native.Parameters(
        log_n, primes[: levels + 1], primes[levels + 1 :], digit_size, hamming_weight, insecure=True
    )


@dataclass
class Party:
    """A client and a server in one place, for tests."""

    context: native.Context
    secret: native.SecretKey
    keys: native.KeySet
    evaluator: native.Evaluator
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))

    @property
    def slots(self) -> int:
        return self.context.params.slots

    @property
    def top(self) -> int:
        return self.context.params.max_level

    def real(self, size: int | None = None) -> np.ndarray:
        return self.rng.uniform(-1, 1, size or self.slots)

    def complex(self, size: int | None = None) -> np.ndarray:
        return self.real(size) + 1j * self.real(size)

    def encode(self, values: np.ndarray, level: int | None = None, scale: float = SCALE) -> native.Plaintext:
        return self.context.encode(values, self.top if level is None else level, scale)

    def encrypt(
        self, values: np.ndarray, level: int | None = None, scale: float = SCALE
    ) -> native.Ciphertext:
        return self.secret.encrypt(self.encode(values, level, scale))

    def decrypt(self, ciphertext: native.Ciphertext) -> np.ndarray:
        return self.context.decode(self.secret.decrypt(ciphertext))

    def error(self, ciphertext: native.Ciphertext, expected: np.ndarray) -> float:
        return float(np.abs(self.decrypt(ciphertext) - expected).max())


PartyMaker = Callable[..., Party]


def make_party(
    params: native.Parameters, rotations: Sequence[int] = (), *, threads: int = 1, kernels: str = "auto"
) -> Party:
    """Fresh keys at the highest level, for relinearisation, conjugation and the rotations."""
    context = native.Context(params, threads, kernels)
    secret = native.SecretKey(context)
    keys = native.KeySet(context)
    keys.add(secret.relinearisation_key(params.max_level))
    keys.add(secret.conjugation_key(params.max_level))
    for steps in rotations:
        keys.add(secret.rotation_key(steps, params.max_level))
    return Party(context, secret, keys, native.Evaluator(context, keys))
